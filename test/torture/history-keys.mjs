/** The keys of the histories, and where they lie. */

export const HOT_KEYS = 260;
export const FILL_KEYS = 6000;

export const hotKey = (n) => `hot:${String(n).padStart(5, '0')}`;
export const fillKey = (n) => `fill:${String(n).padStart(5, '0')}`;

/** A mark of the lane on every shard, in their order. */
export function MARKS(lane, shards) {
  const marks = [];
  for (let i = 0; marks.filter(Boolean).length < shards; i++) {
    const key = `mark:${lane}:${i}`;
    marks[shardOfKey(key, shards)] ??= key;
  }
  return marks;
}

const places = new Map();

/** As `src/router/murmur3.ts`; docs/FORMAT.md, "Routing". */
export function shardOfKey(key, shards) {
  let hash = places.get(key);
  if (hash === undefined) {
    hash = murmur3(Buffer.from(key));
    if (places.size < 50_000) places.set(key, hash);
  }
  return Math.floor((hash * shards) / 4294967296);
}

function murmur3(bytes) {
  let hash = 0;
  const whole = bytes.length & ~3;
  const mixed = (k) => {
    const product = Math.imul(k, 0xcc9e2d51);
    return Math.imul((product << 15) | (product >>> 17), 0x1b873593);
  };
  for (let at = 0; at < whole; at += 4) {
    hash ^= mixed(bytes.readInt32LE(at));
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  let rest = 0;
  for (let i = bytes.length - 1; i >= whole; i--) rest = (rest << 8) | bytes[i];
  if (bytes.length > whole) hash ^= mixed(rest);
  hash ^= bytes.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
