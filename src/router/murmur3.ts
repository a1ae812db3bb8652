/**
 * MurmurHash3 x86_32 with seed 0 (Austin Appleby, public domain): what chooses a key's shard.
 * `docs/FORMAT.md`, "Routing". Fixed for ever: data lies where this says.
 */

/**
 * Hash of the first `length` bytes. `words` and `bytes` are two views of the same memory, which
 * starts at a word boundary. Words are little-endian, as every platform that Node runs on.
 */
export function murmur3(words: Int32Array, bytes: Uint8Array, length: number): number {
  const blocks = length >>> 2;
  let hash = 0;
  for (let i = 0; i < blocks; i++) {
    let k = Math.imul(words[i] as number, 0xcc9e2d51);
    k = (k << 15) | (k >>> 17);
    hash ^= Math.imul(k, 0x1b873593);
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  const rest = length & 3;
  if (rest !== 0) {
    const tail = blocks << 2;
    let k = bytes[tail] as number;
    if (rest > 1) k |= (bytes[tail + 1] as number) << 8;
    if (rest > 2) k |= (bytes[tail + 2] as number) << 16;
    k = Math.imul(k, 0xcc9e2d51);
    k = (k << 15) | (k >>> 17);
    hash ^= Math.imul(k, 0x1b873593);
  }
  hash ^= length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The shard of a key with this hash. */
export function shardOf(hash: number, shards: number): number {
  return Math.floor((hash * shards) / 4294967296);
}
