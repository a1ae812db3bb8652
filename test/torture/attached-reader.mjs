/** A thread that attaches, reads and writes, until it is terminated or told to leave. */

import { parentPort, workerData } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';

const { handle, name } = workerData;
const db = await LightningDb.attach(handle);
let isLeaving = false;
let reads = 0;
let writes = 0;
let failures = 0;
parentPort.on('message', async ({ what }) => {
  if (what === 'leave') isLeaving = true;
  if (what === 'stats') {
    try {
      const { clients } = await db.stats();
      parentPort.postMessage({ clients });
    } catch (error) {
      parentPort.postMessage({ error: `${error.code}: ${error.message}` });
    }
  }
  if (what === 'counts') parentPort.postMessage({ reads, writes, failures });
});
parentPort.postMessage({ attached: true });
for (let i = 0; !isLeaving; i++) {
  try {
    for (let n = 0; n < 50; n++) {
      db.getSync(`lane-${n % 6}/${String((i + n) % 60).padStart(3, '0')}`);
      reads++;
    }
    await db.put(`attached-${name}-${i % 20}`, String(i));
    writes++;
  } catch (error) {
    if (error.code !== 'LIGHTNING_SHARD_UNAVAILABLE') throw error;
    failures++;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await new Promise((resolve) => setImmediate(resolve));
}
await db.close();
parentPort.close();
