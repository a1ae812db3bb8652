/**
 * Hashes: XXH64 (Yann Collet's specification) for checksums, filters and fingerprints, and
 * murmur3_x86_32 (Austin Appleby) for the routing of keys to shards.
 *
 * A checksum is two 32-bit halves at the host's side: `checksum` and `checksumPlaced` leave them
 * in `checksumLow` and `checksumHigh`. Most callers use `checksumWrite` and `checksumVerify`, which
 * keep the 64 bits inside.
 */

const P1: u64 = 0x9e3779b185ebca87;
const P2: u64 = 0xc2b2ae3d27d4eb4f;
const P3: u64 = 0x165667b19e3779f9;
const P4: u64 = 0x85ebca77c2b2ae63;
const P5: u64 = 0x27d4eb2f165667c5;

/** Multiplies the file id in a placement seed: see docs/FORMAT.md. */
const PLACEMENT: u64 = 0x9e3779b97f4a7c15;

// @ts-ignore: decorator
@inline
function round(acc: u64, lane: u64): u64 {
  return rotl<u64>(acc + lane * P2, 31) * P1;
}

// @ts-ignore: decorator
@inline
function mergeRound(acc: u64, lane: u64): u64 {
  return (acc ^ round(0, lane)) * P1 + P4;
}

/** XXH64 of `length` bytes. */
export function xxh64(ptr: u32, length: u32, seed: u64): u64 {
  let hash: u64;
  let p = ptr;
  let left = length;
  if (left >= 32) {
    let a = seed + P1 + P2;
    let b = seed + P2;
    let c = seed;
    let d = seed - P1;
    do {
      a = round(a, load<u64>(p));
      b = round(b, load<u64>(p, 8));
      c = round(c, load<u64>(p, 16));
      d = round(d, load<u64>(p, 24));
      p += 32;
      left -= 32;
    } while (left >= 32);
    hash = rotl<u64>(a, 1) + rotl<u64>(b, 7) + rotl<u64>(c, 12) + rotl<u64>(d, 18);
    hash = mergeRound(hash, a);
    hash = mergeRound(hash, b);
    hash = mergeRound(hash, c);
    hash = mergeRound(hash, d);
  } else {
    hash = seed + P5;
  }
  hash += length;
  while (left >= 8) {
    hash = rotl<u64>(hash ^ round(0, load<u64>(p)), 27) * P1 + P4;
    p += 8;
    left -= 8;
  }
  if (left >= 4) {
    hash = rotl<u64>(hash ^ (<u64>load<u32>(p) * P1), 23) * P2 + P3;
    p += 4;
    left -= 4;
  }
  while (left) {
    hash = rotl<u64>(hash ^ (<u64>load<u8>(p) * P5), 11) * P1;
    p++;
    left--;
  }
  hash = (hash ^ (hash >> 33)) * P2;
  hash = (hash ^ (hash >> 29)) * P3;
  return hash ^ (hash >> 32);
}

/** The seed that ties a checksum to a file and a place in it: see docs/FORMAT.md. */
export function placementSeed(fileId: f64, offset: f64): u64 {
  return <u64>fileId * PLACEMENT + <u64>offset;
}

let digest: u64 = 0;

/** XXH64 with a seed in two halves; the result is in `checksumLow` and `checksumHigh`. */
export function checksum(ptr: u32, length: u32, seedLow: u32, seedHigh: u32): void {
  digest = xxh64(ptr, length, (<u64>seedHigh << 32) | seedLow);
}

/** XXH64 with the placement seed; the result is in `checksumLow` and `checksumHigh`. */
export function checksumPlaced(ptr: u32, length: u32, fileId: f64, offset: f64): void {
  digest = xxh64(ptr, length, placementSeed(fileId, offset));
}

/** Low half of the last checksum of this instance; the host reads it with `>>> 0`. */
export function checksumLow(): u32 {
  return <u32>digest;
}

/** High half of the last checksum of this instance; the host reads it with `>>> 0`. */
export function checksumHigh(): u32 {
  return <u32>(digest >> 32);
}

/** Stores the placed checksum of `length` bytes right behind them. */
export function checksumWrite(ptr: u32, length: u32, fileId: f64, offset: f64): void {
  store<u64>(ptr + length, xxh64(ptr, length, placementSeed(fileId, offset)));
}

/** Whether the 8 bytes behind `length` bytes are their placed checksum. */
export function checksumVerify(ptr: u32, length: u32, fileId: f64, offset: f64): bool {
  return load<u64>(ptr + length) == xxh64(ptr, length, placementSeed(fileId, offset));
}

/** murmur3_x86_32 with seed 0. */
export function murmur32(ptr: u32, length: u32): u32 {
  let hash: u32 = 0;
  let p = ptr;
  let left = length;
  while (left >= 4) {
    hash = rotl<u32>(hash ^ (rotl<u32>(load<u32>(p) * 0xcc9e2d51, 15) * 0x1b873593), 13);
    hash = hash * 5 + 0xe6546b64;
    p += 4;
    left -= 4;
  }
  if (left) {
    let tail: u32 = load<u8>(p);
    if (left >= 2) tail |= <u32>load<u8>(p, 1) << 8;
    if (left == 3) tail |= <u32>load<u8>(p, 2) << 16;
    hash ^= rotl<u32>(tail * 0xcc9e2d51, 15) * 0x1b873593;
  }
  hash ^= length;
  hash = (hash ^ (hash >> 16)) * 0x85ebca6b;
  hash = (hash ^ (hash >> 13)) * 0xc2b2ae35;
  return hash ^ (hash >> 16);
}
