/** Keys that lie where a test wants them. */

import { KeyScratch } from '../../src/router/key-scratch.js';
import { shardOf } from '../../src/router/murmur3.js';

const scratch = new KeyScratch();

/** The shard of a key. */
export function shardOfKey(key: string, shards: number): number {
  scratch.setText(key);
  return shardOf(scratch.hash, shards);
}

/** Keys `name:0…` in ascending order, all on one shard, or each on another than the one before. */
export function placedKeys(
  name: string,
  count: number,
  shards: number,
  placement: 'one shard' | 'several shards',
): string[] {
  const keys: string[] = [];
  for (let i = 0; keys.length < count; i++) {
    const key = `${name}:${String(i).padStart(4, '0')}`;
    const wanted = placement === 'one shard' ? 0 : keys.length % shards;
    if (shardOfKey(key, shards) === wanted) keys.push(key);
  }
  return keys;
}
