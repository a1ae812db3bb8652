/** Reads that are under way when the snapshot, or the transaction, that they belong to ends. */

import { LightningDb } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ReadsInFlight } from '../../src/router/reads-in-flight.js';
import { type TemporaryDirectory, temporaryDirectory } from '../api/temporary-directory.js';

const COUNT = 20_000;
const key = (i: number): string => `k${String(i).padStart(8, '0')}`;
const valueAt = (round: string, i: number): string =>
  `${round} ${'x'.repeat(300)}${(i * 2654435761) >>> 0}`;

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => directory.remove());

async function fill(db: LightningDb, round: string): Promise<void> {
  const batch = db.batch();
  for (let i = 0; i < COUNT; i++) batch.put(key(i), valueAt(round, i));
  await batch.write();
  await db.flush();
}

interface Moment {
  get(key: string): Promise<string | undefined>;
  has(key: string): Promise<boolean>;
  getMany(keys: readonly string[]): Promise<(string | undefined)[]>;
}

/** Reads all there is without waiting, ends what is read, and merges the old versions away. */
async function readAndEnd(db: LightningDb, moment: Moment, end: () => void): Promise<void> {
  await fill(db, 'two');
  const values: Promise<string | undefined>[] = [];
  const found: Promise<boolean>[] = [];
  for (let n = 0; n < COUNT; n++) {
    const i = (n * 7919) % COUNT;
    if (n % 2 === 0) values.push(moment.get(key(i)));
    else found.push(moment.has(key(i)));
  }
  const many = moment.getMany(Array.from({ length: COUNT }, (_, i) => key(i)));
  end();
  await db.compact();
  const read = await Promise.all(values);
  expect(read.filter((value) => value?.startsWith('one ') !== true)).toEqual([]);
  expect((await Promise.all(found)).filter((isThere) => !isThere)).toEqual([]);
  expect((await many).filter((value) => value?.startsWith('one ') !== true)).toEqual([]);
  expect((await db.stats()).snapshots).toMatchObject({ open: 0 });
}

describe('reads under way', () => {
  it('find what the snapshot shows, although it was closed', async () => {
    const db = await LightningDb.open(directory.path, { shards: 1, cacheSize: 4 << 20 });
    await fill(db, 'one');
    const snapshot = db.snapshot();
    await readAndEnd(db, snapshot, () => snapshot.close());
    await db.close();
  });

  it('find what the transaction shows, although it was rolled back', async () => {
    const db = await LightningDb.open(directory.path, { shards: 1, cacheSize: 4 << 20 });
    await fill(db, 'one');
    const transaction = db.begin();
    await transaction.get('none');
    await readAndEnd(db, transaction, () => transaction.rollback());
    await db.close();
  });

  it('keep a slot until the last of them is answered, and not beyond the end of the client', async () => {
    const reads = new ReadsInFlight();
    const released: string[] = [];
    const answers: (() => void)[] = [];
    const start = (snapshot: number): Promise<void> =>
      reads.add(snapshot, new Promise<void>((resolve) => answers.push(resolve)));
    reads.afterReadsOf(7, () => released.push('unread'));
    expect(released).toEqual(['unread']);
    const started = [start(7), start(7), start(8)];
    reads.afterReadsOf(7, () => released.push('seven'));
    answers[0]?.();
    await started[0];
    expect(released).toEqual(['unread']);
    answers[1]?.();
    await started[1];
    expect(released).toEqual(['unread', 'seven']);
    reads.afterReadsOf(8, () => released.push('eight'));
    reads.forget();
    answers[2]?.();
    await started[2];
    expect(released).toEqual(['unread', 'seven']);
  });
});
