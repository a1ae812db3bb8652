/** Ranges of keys that a transaction has read: see `RangeList` in router/commit-request.ts. */

import {
  RANGE_END_INCLUSIVE,
  RANGE_HAS_END,
  RANGE_HAS_START,
  RANGE_START_EXCLUSIVE,
} from '../kernel/assembly/layout.js';

export interface HeldRange {
  readonly flags: number;
  /** Where the bounds stand in what was parsed, and copies of them. */
  readonly startAt: number;
  readonly start: Buffer;
  readonly endAt: number;
  readonly end: Buffer;
}

export function parseRanges(bytes: Buffer, from: number, count: number): HeldRange[] {
  const ranges: HeldRange[] = [];
  let at = from;
  for (let i = 0; i < count; i++) {
    const flags = bytes[at] as number;
    const startAt = at + 5;
    const startEnd = startAt + bytes.readUInt32LE(at + 1);
    const endAt = startEnd + 4;
    const endEnd = endAt + bytes.readUInt32LE(startEnd);
    ranges.push({
      flags,
      startAt,
      start: Buffer.from(bytes.subarray(startAt, startEnd)),
      endAt,
      end: Buffer.from(bytes.subarray(endAt, endEnd)),
    });
    at = endEnd;
  }
  return ranges;
}

export function isInRange(key: Uint8Array, range: HeldRange): boolean {
  const { flags, start } = range;
  if ((flags & RANGE_HAS_START) !== 0) {
    const order = Buffer.compare(key, start);
    if (order < 0 || (order === 0 && (flags & RANGE_START_EXCLUSIVE) !== 0)) return false;
  }
  return isBelowEnd(key, range);
}

/** Whether the range goes on at the key, as far as its end tells. */
export function isBelowEnd(key: Uint8Array, { flags, end }: HeldRange): boolean {
  if ((flags & RANGE_HAS_END) === 0) return true;
  const order = Buffer.compare(key, end);
  return order < 0 || (order === 0 && (flags & RANGE_END_INCLUSIVE) !== 0);
}

/** Whether the range and [smallest, largest] have a key in common, as far as the bounds tell. */
export function overlaps(range: HeldRange, smallest: Uint8Array, largest: Uint8Array): boolean {
  const { flags, start, end } = range;
  if ((flags & RANGE_HAS_START) !== 0 && Buffer.compare(largest, start) < 0) return false;
  return (flags & RANGE_HAS_END) === 0 || Buffer.compare(smallest, end) <= 0;
}
