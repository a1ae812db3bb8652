/**
 * Checks of option objects that come from users: every refusal is an `InvalidArgumentError` that
 * names the option, what is allowed and what was found.
 */

import { InvalidArgumentError } from './errors.js';

/** Refuses anything but an object, and names that are not in `names`, suggesting the nearest. */
export function checkOptionNames(
  options: unknown,
  names: readonly string[],
  what: string,
): asserts options is Readonly<Record<string, unknown>> {
  checkObject(options, what);
  for (const name of Object.keys(options)) {
    if (names.includes(name)) continue;
    const nearest = nearestName(name, names);
    const hint =
      nearest === undefined ? `known: ${names.join(', ')}` : `did you mean "${nearest}"?`;
    throw new InvalidArgumentError(`Unknown option "${name}" in ${what}: ${hint}`, {
      details: { option: name, suggestion: nearest },
    });
  }
}

/** Refuses anything but an object. */
export function checkObject(
  options: unknown,
  what: string,
): asserts options is Readonly<Record<string, unknown>> {
  if (typeof options === 'object' && options !== null && !Array.isArray(options)) return;
  throw new InvalidArgumentError(`Cannot use ${describe(options)} as ${what}: pass an object`);
}

export interface IntegerRange {
  readonly min: number;
  readonly max: number;
  /** Named in the message: 'bytes', 'ms'. */
  readonly unit?: string;
}

/** The option's value, or undefined when it is not given. */
export function integerOption(
  name: string,
  value: unknown,
  { min, max, unit }: IntegerRange,
): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) {
    return value;
  }
  const suffix = unit === undefined ? '' : ` ${unit}`;
  throw invalidOption(name, value, `a whole number from ${min} to ${max}${suffix}`);
}

/** The option's value, or undefined when it is not given. */
export function booleanOption(name: string, value: unknown): boolean | undefined {
  if (value === undefined || typeof value === 'boolean') return value;
  throw invalidOption(name, value, 'true or false');
}

/** The error for an option whose value is not what is allowed. */
export function invalidOption(name: string, value: unknown, allowed: string): InvalidArgumentError {
  return new InvalidArgumentError(
    `Option "${name}" must be ${allowed}, but it is ${describe(value)}`,
    { details: { option: name } },
  );
}

/** A value as a message shows it: short, whatever it is. */
export function describe(value: unknown): string {
  if (typeof value === 'string') {
    return `"${value.length > 40 ? `${value.slice(0, 40)}…` : value}"`;
  }
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  return typeof value === 'bigint' ? `${value}n` : String(value);
}

/** The name closest to `name`, when it is close enough to be a slip, or one begins like the other. */
export function nearestName(name: string, names: readonly string[]): string | undefined {
  let nearest: string | undefined;
  let distanceMin = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of names) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < distanceMin) {
      distanceMin = distance;
      nearest = candidate;
    }
  }
  return nearest ?? names.find((candidate) => isPrefix(name, candidate));
}

function isPrefix(name: string, candidate: string): boolean {
  const [short = '', long = ''] = [name.toLowerCase(), candidate.toLowerCase()].sort(
    (left, right) => left.length - right.length,
  );
  return short.length >= 4 && long.startsWith(short);
}

/** Levenshtein's distance, one row at a time. Bounded: nobody types 64 characters wrong. */
function editDistance(left: string, right: string): number {
  if (left.length > 64 || right.length > 64) return Number.POSITIVE_INFINITY;
  let row = Array.from({ length: right.length + 1 }, (_, column) => column);
  for (let i = 1; i <= left.length; i++) {
    const next = [i];
    for (let j = 1; j <= right.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[right.length] ?? 0;
}
