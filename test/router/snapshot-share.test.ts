/** Snapshots that several threads read. */

import { Worker } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';

const READER = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { LightningDb } = require('lightning-db');
  LightningDb.attach(workerData.handle).then(async (db) => {
    const snapshot = db.snapshot(workerData.snapshot);
    parentPort.postMessage('open');
    await new Promise((resolve) => parentPort.once('message', resolve));
    const seen = [...snapshot.scanSync()];
    const again = db.snapshot(snapshot.share()).getSync('a');
    snapshot.close();
    parentPort.postMessage({ seen, again });
    await db.close();
  });`;

const directory = temporaryDirectory();
let db: LightningDb;
beforeAll(async () => {
  db = await LightningDb.open(directory.path, { shards: 2, cacheSize: 32 << 20 });
});
afterAll(async () => {
  await db.close();
  directory.remove();
});

describe('a snapshot that is shared', () => {
  it('is the same moment on every thread, also after the first has closed it', async () => {
    await db.batch().put('a', '1').put('b', '1').write();
    const snapshot = db.snapshot();
    await db.batch().put('a', '2').delete('b').put('c', '2').write();
    const workerData = { handle: db.share(), snapshot: snapshot.share() };
    const workers = [1, 2, 3].map(() => new Worker(READER, { eval: true, workerData }));
    const next = (worker: Worker): Promise<unknown> =>
      new Promise((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
      });
    expect(await Promise.all(workers.map(next))).toEqual(['open', 'open', 'open']);
    snapshot.close();
    await db.flush();
    await db.compact();
    const answers = workers.map(next);
    for (const worker of workers) worker.postMessage('go on');
    for (const answer of await Promise.all(answers)) {
      expect(answer).toEqual({
        seen: [
          ['a', '1'],
          ['b', '1'],
        ],
        again: '1',
      });
    }
    expect(db.getSync('a')).toBe('2');
  });

  it('cannot be taken over once it is closed, nor in another database', async () => {
    const snapshot = db.snapshot();
    const handle = snapshot.share();
    const second = db.snapshot(handle);
    snapshot.close();
    expect(second.getSync('a')).toBe('2');
    second.close();
    expect(() => db.snapshot(handle)).toThrow(/closed/);
    expect(() => snapshot.share()).toThrow(/closed/);
    const other = temporaryDirectory();
    const elsewhere = await LightningDb.open(other.path, { shards: 1, cacheSize: 16 << 20 });
    const foreign = elsewhere.snapshot();
    expect(() => db.snapshot(foreign.share())).toThrow(/of this database/);
    expect(() => db.snapshot({} as never)).toThrow(/of this database/);
    await elsewhere.close();
    other.remove();
  });

  it('shows its age in the statistics', async () => {
    expect((await db.stats()).snapshots).toMatchObject({ open: 0, oldestAgeMs: 0 });
    const snapshot = db.snapshot();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const adopted = db.snapshot(snapshot.share());
    snapshot.close();
    const { open, oldestAgeMs } = (await db.stats()).snapshots;
    expect(open).toBe(1);
    expect(oldestAgeMs).toBeGreaterThanOrEqual(15);
    adopted.close();
  });
});
