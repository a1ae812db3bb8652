/** Reading, deciding and writing one key in one step: `db.putIf` and `db.update`. */

import { InvalidArgumentError } from '../errors.js';
import { checkOptionNames, integerOption, invalidOption } from '../options.js';
import { type Codec, encodeKey, encodeValue } from '../router/codec.js';
import type { Session } from '../router/session.js';
import type { Transaction } from './transaction.js';
import type { CheckedOptions } from './transaction-options.js';
import { runTransaction } from './transaction-run.js';
import type { Transactions } from './transactions.js';

/** What a key must be for `putIf` to write it. Exactly one. */
export type PutCondition<V> =
  /** There is no value. */
  | { readonly absent: true }
  /** The value is this one: its bytes are the same when it is encoded. */
  | { readonly equals: V }
  /** It was last written by this commit: what `commit` resolved with, or `getVersioned` said. */
  | { readonly version: number };

/** A value and the sequence number of the commit that wrote it. */
export interface Versioned<V> {
  readonly value: V;
  readonly version: number;
}

type Anything = Transaction<unknown, unknown>;
type Holds = (transaction: Anything, key: unknown) => Promise<boolean>;

/** Resolves with whether the condition held and the value was written. */
export async function putIf(
  owner: Transactions,
  key: unknown,
  value: unknown,
  condition: unknown,
  options: CheckedOptions,
): Promise<boolean> {
  const { session } = owner;
  session.checkOpen();
  owner.checkWritable();
  const holds = checkCondition(session, condition);
  const work = async (transaction: Anything): Promise<boolean> => {
    if (!(await holds(transaction, key))) {
      // A value that could not be written is a mistake in either case.
      encodeValue(session.valueCodec, value);
      return false;
    }
    transaction.put(key, value);
    return true;
  };
  return (await runTransaction(owner, work, options)) as boolean;
}

/** Writes what `change` makes of the value; undefined removes the key. Resolves with what was written. */
export function update(
  owner: Transactions,
  key: unknown,
  change: (value: unknown) => unknown,
  options: CheckedOptions,
): Promise<unknown> {
  owner.session.checkOpen();
  owner.checkWritable();
  const work = async (transaction: Anything): Promise<unknown> => {
    const after: unknown = await change(await transaction.get(key));
    if (after === undefined) transaction.delete(key);
    else transaction.put(key, after);
    return after;
  };
  return runTransaction(owner, work, options);
}

/** The value of a key and its version, as of one moment. */
export async function getVersioned(
  owner: Transactions,
  key: unknown,
  codec: Codec,
): Promise<Versioned<unknown> | undefined> {
  const { session, snapshots } = owner;
  const { client, keyCodec, reader } = session;
  session.checkOpen();
  encodeKey(client.key, keyCodec, key);
  const held = client.key.toBuffer();
  const snapshot = snapshots.tryTake() ?? (await snapshots.take());
  try {
    session.checkOpen();
    const { sequence } = snapshot.hold;
    client.key.setBytes(held);
    const version = await reader.version(sequence);
    if (version === undefined) return undefined;
    client.key.setBytes(held);
    return { value: await reader.get(codec, sequence), version };
  } finally {
    snapshots.giveBack(snapshot);
  }
}

function checkCondition(session: Session, condition: unknown): Holds {
  checkOptionNames(condition, ['absent', 'equals', 'version'], 'the condition');
  const given = Object.keys(condition);
  if (given.length !== 1) {
    throw new InvalidArgumentError(
      'Parameter "condition" must be one of { absent: true }, { equals } and { version }',
      { details: { parameter: 'condition' } },
    );
  }
  if ('absent' in condition) {
    if (condition['absent'] !== true) throw invalidOption('absent', condition['absent'], 'true');
    return async (transaction, key) => !(await transaction.has(key));
  }
  if ('version' in condition) {
    // 0: a merge of an earlier release did not keep the number.
    const range = { min: 0, max: Number.MAX_SAFE_INTEGER };
    const version = integerOption('version', condition['version'], range);
    if (version === undefined) throw invalidOption('version', undefined, 'a sequence number');
    return async (transaction, key) => (await transaction.versionOf(key)) === version;
  }
  const encoded = encodeValue(session.valueCodec, condition['equals']);
  const expected = typeof encoded === 'string' ? Buffer.from(encoded) : Buffer.from(encoded);
  return async (transaction, key) => {
    const stored = await transaction.get(key, { valueEncoding: 'buffer' });
    return stored?.equals(expected) === true;
  };
}
