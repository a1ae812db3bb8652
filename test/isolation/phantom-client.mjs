/**
 * Clients that look at a range before they add to it: a room is taken by at most `places` guests, and
 * whoever finds it full goes on. Rooms are ranges of keys, guests keys of their own, so two clients
 * that overbook a room write nothing in common: only the ranges that they read give them away.
 */

import { parentPort, workerData } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';
import { shardOfKey } from '../torture/history-keys.mjs';

const { handle, client, lanes, isolation, rooms, places, attempts, arrived, threads } = workerData;
const { shards, onlyShard } = workerData;
const db = await LightningDb.attach(handle);

Atomics.add(arrived, 0, 1);
while (Atomics.load(arrived, 0) < threads) await new Promise((resolve) => setTimeout(resolve, 1));

let state = client * 7919 + 1;
const below = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};
let next = 0;
let conflicts = 0;

/** A key that lies where it is wanted. */
function newGuest(prefix) {
  for (;;) {
    const guest = `${prefix}${String(below(1000)).padStart(4, '0')}-${client}-${next++}`;
    if (onlyShard === undefined || shardOfKey(guest, shards) === onlyShard) return guest;
  }
}

async function book() {
  const prefix = `room:${below(rooms)}:`;
  const guest = newGuest(prefix);
  const tx = db.begin({ isolation });
  const reverse = below(2) === 1;
  let guests = 0;
  if (below(2) === 0) {
    for (const _ of tx.scanSync({ prefix, reverse, limit: places })) guests++;
  } else {
    for await (const _ of tx.scan({ prefix, reverse })) if (++guests === places) break;
  }
  if (below(3) === 0) await new Promise((resolve) => setImmediate(resolve));
  if (guests < places) tx.put(guest, 'here');
  await tx.commit().catch((error) => {
    if (error.code !== 'LIGHTNING_CONFLICT') throw error;
    conflicts++;
  });
}

async function lane() {
  for (let n = 0; n < attempts; n++) await book();
}

await Promise.all(Array.from({ length: lanes }, lane));
await db.close();
parentPort.postMessage(conflicts);
