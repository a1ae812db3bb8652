/** Refuses options of a load that mean nothing, before anything is opened or read. */

import { InvalidArgumentError } from '../errors.js';
import { describe, integerOption, invalidOption } from '../options.js';
import { parseSelector } from './formats/template.js';
import { LOAD_MEMORY_BYTES_MAX, LOAD_MEMORY_BYTES_MIN } from './load-memory.js';
import type { BulkLoadOptions } from './options.js';

/** Throws `InvalidArgumentError` naming the option. */
export function checkBulkLoadOptions(options: BulkLoadOptions): void {
  checkOneOf(options, 'format', ['csv', 'tsv', 'ndjson', 'json']);
  checkOneOf(options, 'compression', ['gzip', 'none']);
  checkOneOf(options, 'header', [true, false, 'auto']);
  checkOneOf(options, 'quotes', [true, false]);
  checkOneOf(options, 'onError', ['stop', 'skip']);
  checkDelimiter(options.delimiter);
  if (options.key !== undefined) parseSelector('key', options.key);
  if (options.value !== undefined) parseSelector('value', options.value);
  integerOption('rejectsMax', options.rejectsMax, { min: 0, max: 1_000_000 });
  integerOption('progressIntervalMs', options.progressIntervalMs, {
    min: 0,
    max: 3_600_000,
    unit: 'ms',
  });
  integerOption('memoryBytes', options.memoryBytes, {
    min: LOAD_MEMORY_BYTES_MIN,
    max: LOAD_MEMORY_BYTES_MAX,
    unit: 'bytes',
  });
  for (const name of ['onReject', 'onProgress'] as const) {
    if (options[name] !== undefined && typeof options[name] !== 'function') {
      throw invalidOption(name, options[name], 'a function');
    }
  }
  if (options.signal !== undefined && !(options.signal instanceof AbortSignal)) {
    throw invalidOption('signal', options.signal, 'an AbortSignal');
  }
  if (options.rejectsFile !== undefined && typeof options.rejectsFile !== 'string') {
    throw invalidOption('rejectsFile', options.rejectsFile, 'a path');
  }
  for (const name of ['onReject', 'rejectsFile'] as const) {
    if (options[name] !== undefined && options.onError !== 'skip') {
      throw new InvalidArgumentError(`Option "${name}" needs the option onError: 'skip'`, {
        details: { option: name },
      });
    }
  }
}

function checkOneOf(
  options: BulkLoadOptions,
  name: keyof BulkLoadOptions,
  allowed: readonly unknown[],
): void {
  const value = options[name];
  if (value === undefined || allowed.includes(value)) return;
  throw invalidOption(name, value, `one of ${allowed.map((one) => describe(one)).join(', ')}`);
}

function checkDelimiter(delimiter: unknown): void {
  if (delimiter === undefined) return;
  if (typeof delimiter === 'string' && /^[^"\r\n\u0080-\uffff]$/.test(delimiter)) return;
  throw invalidOption(
    'delimiter',
    delimiter,
    'one ASCII character that is no quotation mark and no end of a line',
  );
}
