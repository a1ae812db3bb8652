/** What a lookup on this thread has answered, and how the shard worker is asked when it could not. */

import { REQUEST_GET, SCRATCH_OUT } from '../kernel/assembly/layout.js';
import { GET_HEAD_BYTES } from '../protocol/requests.js';
import { type Codec, copyOf, decode } from './codec.js';
import type { KeyScratch } from './key-scratch.js';
import { privateCopy } from './private-bytes.js';
import type { ResponseSink } from './response-sink.js';
import type { ShardClient } from './shard-client.js';

/** Answers of the kernel's `get`. */
export const GET_ABSENT = 0;
export const GET_FOUND = 1;
export const GET_NEED_BLOCK = 2;
export const GET_FOUND_HELD = 3;

/** The value that a lookup copied out. */
export function decodeResult(shard: ShardClient, codec: Codec): unknown {
  const { resultWord } = shard;
  const words = shard.kernel.u32;
  const length = words[resultWord + 1] as number;
  if (codec.kind === 'buffer') return privateCopy(shard.values.view(length));
  const start = shard.scratch + SCRATCH_OUT;
  return decode(codec, shard.bytes, start, start + length, words[resultWord + 2] !== 0);
}

/** The value that a lookup holds in place. No user code runs before it is let go. */
export function decodeHeld(shard: ShardClient, codec: Codec): unknown {
  const words = shard.kernel.u32;
  const start = words[shard.resultWord] as number;
  const end = start + (words[shard.resultWord + 1] as number);
  let copy: Buffer;
  try {
    if (codec.kind !== 'custom') {
      return decode(codec, shard.bytes, start, end, words[shard.resultWord + 2] !== 0);
    }
    copy = copyOf(shard.bytes, start, end);
  } finally {
    shard.leave();
  }
  return codec.decode(copy);
}

/** Asks the shard worker for the value of the key in the scratch; with `first`, before what waits for room. */
export function requestValue(
  shard: ShardClient,
  key: KeyScratch,
  snapshot: number,
  sink: ResponseSink,
  first: boolean,
): void {
  const payload = Buffer.allocUnsafe(GET_HEAD_BYTES + key.length);
  payload.writeDoubleLE(snapshot, 0);
  payload.set(key.bytes.subarray(0, key.length), GET_HEAD_BYTES);
  shard.send(REQUEST_GET, 0, 0, payload, sink, first);
}
