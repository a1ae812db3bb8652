/** Options of transactions, and their checks. */

import { InvalidArgumentError } from '../errors.js';
import {
  TRANSACTION_RETRIES_DEFAULT,
  TRANSACTION_RETRIES_MAX,
  TRANSACTION_TIMEOUT_MS_DEFAULT,
  TRANSACTION_TIMEOUT_MS_MAX,
} from '../limits.js';
import { booleanOption, checkOptionNames, integerOption, invalidOption } from '../options.js';

/**
 * What other transactions may do meanwhile.
 * - `'snapshot'`: reads are as of the beginning; the commit fails when one of the keys it writes was
 *   written by another since. Two that read what the other writes may both commit (write skew).
 * - `'serializable'`: as if transactions ran one after the other: the commit also fails when what was
 *   read, keys or ranges, was written by another since.
 */
export type Isolation = 'snapshot' | 'serializable';

/** Options of `db.begin`. */
export interface BeginOptions {
  /** Default: `'snapshot'`. */
  readonly isolation?: Isolation | undefined;
  /** After so many milliseconds the transaction is rolled back. Default: 60,000. */
  readonly timeoutMs?: number | undefined;
}

/** Options of `db.transaction`. */
export interface TransactionOptions extends BeginOptions {
  /** How often the function is run again after a conflict, 0 to 1,000,000. Default: 100. */
  readonly maxRetries?: number | undefined;
  /** Milliseconds for all attempts together. Default: 60,000. */
  readonly timeoutMs?: number | undefined;
  /** Aborts the transaction: it rejects with `LIGHTNING_ABORTED`, unless its commit is under way. */
  readonly signal?: AbortSignal | undefined;
  /** Acknowledge only after the commit is on the medium, whatever `walSyncMode` says. */
  readonly sync?: boolean | undefined;
}

export interface CheckedOptions {
  readonly isolation: Isolation;
  readonly timeoutMs: number;
  readonly maxRetries: number;
  readonly signal: AbortSignal | undefined;
  readonly sync: boolean;
}

const DEFAULTS: CheckedOptions = {
  isolation: 'snapshot',
  timeoutMs: TRANSACTION_TIMEOUT_MS_DEFAULT,
  maxRetries: TRANSACTION_RETRIES_DEFAULT,
  signal: undefined,
  sync: false,
};

const BEGIN_NAMES = Object.keys({
  isolation: true,
  timeoutMs: true,
} satisfies Record<keyof BeginOptions, true>);

const TRANSACTION_NAMES = Object.keys({
  isolation: true,
  timeoutMs: true,
  maxRetries: true,
  signal: true,
  sync: true,
} satisfies Record<keyof TransactionOptions, true>);

/** Throws `InvalidArgumentError`. */
export function checkBeginOptions(options: unknown): CheckedOptions {
  return check(options, BEGIN_NAMES);
}

/** Throws `InvalidArgumentError`. */
export function checkTransactionOptions(options: unknown): CheckedOptions {
  return check(options, TRANSACTION_NAMES);
}

function check(options: unknown, names: readonly string[]): CheckedOptions {
  if (options === undefined) return DEFAULTS;
  checkOptionNames(options, names, 'the transaction options');
  const { isolation, signal } = options;
  if (isolation !== undefined && isolation !== 'snapshot' && isolation !== 'serializable') {
    throw invalidOption('isolation', isolation, "'snapshot' or 'serializable'");
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new InvalidArgumentError('Option "signal" must be an AbortSignal', {
      details: { option: 'signal' },
    });
  }
  return {
    isolation: isolation ?? DEFAULTS.isolation,
    timeoutMs:
      integerOption('timeoutMs', options['timeoutMs'], {
        min: 1,
        max: TRANSACTION_TIMEOUT_MS_MAX,
        unit: 'ms',
      }) ?? DEFAULTS.timeoutMs,
    maxRetries:
      integerOption('maxRetries', options['maxRetries'], {
        min: 0,
        max: TRANSACTION_RETRIES_MAX,
      }) ?? DEFAULTS.maxRetries,
    signal,
    sync: booleanOption('sync', options['sync']) ?? DEFAULTS.sync,
  };
}
