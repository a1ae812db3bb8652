/**
 * XXH64 (Yann Collet, xxHash specification 0.1.1) in plain JavaScript, for headers, manifests and
 * other small things that are read before, or without, a kernel. Blocks and WAL groups are hashed by
 * the kernel, which is a hundred times faster.
 */

const PRIME_1 = 0x9e3779b185ebca87n;
const PRIME_2 = 0xc2b2ae3d27d4eb4fn;
const PRIME_3 = 0x165667b19e3779f9n;
const PRIME_4 = 0x85ebca77c2b2ae63n;
const PRIME_5 = 0x27d4eb2f165667c5n;
const MASK = 0xffff_ffff_ffff_ffffn;
const PLACEMENT_FACTOR = 0x9e3779b97f4a7c15n;

function rotate(value: bigint, bits: bigint): bigint {
  return ((value << bits) | (value >> (64n - bits))) & MASK;
}

function round(accumulator: bigint, lane: bigint): bigint {
  return (rotate((accumulator + lane * PRIME_2) & MASK, 31n) * PRIME_1) & MASK;
}

function merge(accumulator: bigint, value: bigint): bigint {
  return ((accumulator ^ round(0n, value)) * PRIME_1 + PRIME_4) & MASK;
}

/** The hash of `bytes`, as an unsigned 64-bit number. */
export function xxh64(bytes: Uint8Array, seed = 0n): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = bytes.length;
  let at = 0;
  let hash: bigint;
  if (length >= 32) {
    let v1 = (seed + PRIME_1 + PRIME_2) & MASK;
    let v2 = (seed + PRIME_2) & MASK;
    let v3 = seed & MASK;
    let v4 = (seed - PRIME_1) & MASK;
    for (; at + 32 <= length; at += 32) {
      v1 = round(v1, view.getBigUint64(at, true));
      v2 = round(v2, view.getBigUint64(at + 8, true));
      v3 = round(v3, view.getBigUint64(at + 16, true));
      v4 = round(v4, view.getBigUint64(at + 24, true));
    }
    hash = (rotate(v1, 1n) + rotate(v2, 7n) + rotate(v3, 12n) + rotate(v4, 18n)) & MASK;
    for (const lane of [v1, v2, v3, v4]) hash = merge(hash, lane);
  } else {
    hash = (seed + PRIME_5) & MASK;
  }
  hash = (hash + BigInt(length)) & MASK;
  for (; at + 8 <= length; at += 8) {
    hash ^= round(0n, view.getBigUint64(at, true));
    hash = (rotate(hash, 27n) * PRIME_1 + PRIME_4) & MASK;
  }
  if (at + 4 <= length) {
    hash ^= (BigInt(view.getUint32(at, true)) * PRIME_1) & MASK;
    hash = (rotate(hash, 23n) * PRIME_2 + PRIME_3) & MASK;
    at += 4;
  }
  for (; at < length; at++) {
    hash ^= (BigInt(view.getUint8(at)) * PRIME_5) & MASK;
    hash = (rotate(hash, 11n) * PRIME_1) & MASK;
  }
  hash ^= hash >> 33n;
  hash = (hash * PRIME_2) & MASK;
  hash ^= hash >> 29n;
  hash = (hash * PRIME_3) & MASK;
  return hash ^ (hash >> 32n);
}

/** The seed that makes bytes valid only at `offset` of file number `fileId`. */
export function placementSeed(fileId: number, offset: number): bigint {
  return (BigInt(fileId) * PLACEMENT_FACTOR + BigInt(offset)) & MASK;
}
