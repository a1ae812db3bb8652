/**
 * A client on a thread of its own that makes one request after the other, with pauses of random
 * lengths between them, so that the shard worker is met at every point of its way to sleep and back.
 */

import { parentPort, workerData } from 'node:worker_threads';
import { H_DOORBELL, H_SLEEPING, REQUEST_WRITE } from '../../src/kernel/assembly/layout.js';
import { connectRing, requestRing, responseRing } from '../../src/ring/ring-location.js';
import { RingReader } from '../../src/ring/ring-reader.js';
import { RingWriter } from '../../src/ring/ring-writer.js';

export interface KnockingClientData {
  readonly memory: WebAssembly.Memory;
  readonly client: number;
  readonly rounds: number;
}

/** An answer that has not come by then will not come. */
const ANSWER_MS_MAX = 20_000;
/** A delete of the key "k". */
const OPERATION = Buffer.from([2, 1, 0x6b]);

const { memory, client, rounds } = workerData as KnockingClientData;
const bytes = Buffer.from(memory.buffer);
const i32 = new Int32Array(memory.buffer);
const rings = { bytes, i32, u32: new Uint32Array(memory.buffer) };
const requests = new RingWriter(rings, requestRing(rings, client));
const responses = new RingReader(rings, responseRing(rings, client));
connectRing(rings, client);

function knock(id: number): void {
  bytes.set(OPERATION, requests.reserve(OPERATION.length));
  requests.commit(REQUEST_WRITE, 0, id, 1, OPERATION.length);
  requests.publish();
  if (Atomics.load(i32, H_SLEEPING >>> 2) !== 0) ring();
}

function ring(): void {
  Atomics.add(i32, H_DOORBELL >>> 2, 1);
  Atomics.notify(i32, H_DOORBELL >>> 2);
}

function isAnswered(): boolean {
  const start = performance.now();
  while (!responses.next()) if (performance.now() - start > ANSWER_MS_MAX) return false;
  responses.release();
  return true;
}

function pause(round: number): void {
  // Now and then so long that the shard worker parks.
  if (round % 100 === 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 15);
  for (let looks = Math.random() * 2000; looks > 0; looks--) Atomics.load(i32, H_SLEEPING >>> 2);
}

// From here on the shard worker's thread may stand still.
parentPort?.postMessage('ready');
let answered = 0;
for (let round = 0; round < rounds; round++) {
  pause(round);
  knock(round);
  if (!isAnswered()) break;
  answered++;
}
parentPort?.postMessage(answered);
// The message comes through the event loop of the shard worker's thread, which rests now.
setInterval(ring, 2);
