/**
 * Cache-line-blocked Bloom filter: a key's six bits are in one 64-byte line, so that a check costs
 * one cache miss (Putze, Sanders, Singler: "Cache-, Hash- and Space-Efficient Bloom Filters",
 * 2007).
 *
 * `filter` is the address of the first line, 64-byte aligned; `hash` is xxh64(key, 0).
 */

export const FILTER_LINE_BYTES: u32 = 64;
/** In front of the lines, in the file and in memory: their count, then zeros. */
export const FILTER_HEAD_BYTES: u32 = 64;

const MULTIPLIER: u32 = 0x9e3779b9;

// @ts-ignore: decorator
@inline
function lineOf(filter: u32, lines: u32, hash: u64): u32 {
  return filter + (<u32>(((hash >> 32) * <u64>lines) >> 32) << 6);
}

/** False: the key is not among those the filter was built from. */
export function filterMayContain(filter: u32, lines: u32, hash: u64): bool {
  const line = lineOf(filter, lines, hash);
  let x = <u32>hash;
  // The word and the bit in it from the top 9 bits; shifts take their count modulo 32.
  let all = load<u32>(line + ((x >> 28) << 2)) >> (x >> 23);
  x *= MULTIPLIER;
  all &= load<u32>(line + ((x >> 28) << 2)) >> (x >> 23);
  x *= MULTIPLIER;
  all &= load<u32>(line + ((x >> 28) << 2)) >> (x >> 23);
  x *= MULTIPLIER;
  all &= load<u32>(line + ((x >> 28) << 2)) >> (x >> 23);
  x *= MULTIPLIER;
  all &= load<u32>(line + ((x >> 28) << 2)) >> (x >> 23);
  x *= MULTIPLIER;
  all &= load<u32>(line + ((x >> 28) << 2)) >> (x >> 23);
  return (all & 1) != 0;
}

/** Zeroes `lines` lines and sets the bits of `count` hashes, u64 each at `hashes`. */
export function filterBuild(hashes: u32, count: u32, filter: u32, lines: u32): void {
  memory.fill(filter, 0, lines << 6);
  const end = hashes + (count << 3);
  for (let p = hashes; p < end; p += 8) {
    const hash = load<u64>(p);
    const line = lineOf(filter, lines, hash);
    let x = <u32>hash;
    for (let i = 0; i < 6; i++) {
      const word = line + ((x >> 28) << 2);
      store<u32>(word, load<u32>(word) | (<u32>1 << (x >> 23)));
      x *= MULTIPLIER;
    }
  }
}
