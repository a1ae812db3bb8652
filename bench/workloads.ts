/**
 * The engine's own workloads, with db_bench's names where it has one. Each verifies what it reads
 * and returns the number of operations it did.
 */

import type { LightningDb } from 'lightning-db';
import { type DataSet, Random } from './data-set.js';

export async function fillRandom(db: LightningDb, data: DataSet, version = 0): Promise<number> {
  const batchSize = 1000;
  let pending: Promise<void> = Promise.resolve();
  for (let i = 0; i < data.count; ) {
    const batch = db.batch();
    const end = Math.min(i + batchSize, data.count);
    for (; i < end; i++) batch.put(data.keys[i] as string, data.value(i, version));
    // One batch is encoded while the one before it is applied.
    const written = batch.write();
    await pending;
    pending = written;
  }
  await pending;
  return data.count;
}

function verify(data: DataSet, i: number, version: number, found: string | undefined): void {
  if (found !== data.value(i, version)) {
    throw new Error(`Wrong value for "${data.keys[i]}": ${found?.slice(0, 40)}`);
  }
}

export function readRandomSync(db: LightningDb, data: DataSet, reads: number, version = 0): number {
  const random = new Random(7);
  for (let n = 0; n < reads; n++) {
    const i = random.below(data.count);
    verify(data, i, version, db.getSync(data.keys[i] as string));
  }
  return reads;
}

export function readMissingSync(db: LightningDb, data: DataSet, reads: number): number {
  const random = new Random(8);
  for (let n = 0; n < reads; n++) {
    const i = random.below(data.count);
    if (db.getSync(`${data.keys[i]}.`) !== undefined)
      throw new Error('Found a key that is not there');
  }
  return reads;
}

/** A promise per read, `inFlight` at a time. */
export async function readRandomAwaited(
  db: LightningDb,
  data: DataSet,
  reads: number,
  inFlight: number,
  version = 0,
): Promise<number> {
  const random = new Random(9);
  if (inFlight === 1) {
    for (let n = 0; n < reads; n++) {
      const i = random.below(data.count);
      verify(data, i, version, await db.get(data.keys[i] as string));
    }
    return reads;
  }
  const indexes = new Uint32Array(inFlight);
  const promises: Promise<string | undefined>[] = new Array(inFlight);
  for (let n = 0; n < reads; n += inFlight) {
    for (let k = 0; k < inFlight; k++) {
      const i = random.below(data.count);
      indexes[k] = i;
      promises[k] = db.get(data.keys[i] as string);
    }
    const values = await Promise.all(promises);
    for (let k = 0; k < inFlight; k++) verify(data, indexes[k] as number, version, values[k]);
  }
  return reads;
}

export async function multiReadRandom(
  db: LightningDb,
  data: DataSet,
  reads: number,
  version = 0,
): Promise<number> {
  const random = new Random(10);
  const size = 256;
  const indexes = new Uint32Array(size);
  for (let n = 0; n < reads; n += size) {
    const keys: string[] = [];
    for (let k = 0; k < size; k++) {
      const i = random.below(data.count);
      indexes[k] = i;
      keys.push(data.keys[i] as string);
    }
    const values = await db.getMany(keys);
    for (let k = 0; k < size; k++) verify(data, indexes[k] as number, version, values[k]);
  }
  return reads;
}

/** Every entry once, in order, with the synchronous iterator. */
export function readSequential(db: LightningDb): number {
  let count = 0;
  let previous = '';
  for (const [key, value] of db.scanSync()) {
    if (key <= previous || value.length !== 200) throw new Error(`Wrong entry "${key}"`);
    previous = key;
    count++;
  }
  return count;
}

export async function readSequentialBatches(db: LightningDb): Promise<number> {
  let count = 0;
  for await (const entries of db.scan().batches()) count += entries.length;
  return count;
}

/** Puts with a promise each, `inFlight` at a time. */
export async function putAwaited(
  db: LightningDb,
  data: DataSet,
  puts: number,
  inFlight: number,
  version: number,
): Promise<number> {
  for (let n = 0; n < puts; n += inFlight) {
    const promises: Promise<void>[] = [];
    for (let k = n; k < Math.min(n + inFlight, puts); k++) {
      promises.push(db.put(data.keys[k] as string, data.value(k, version)));
    }
    await Promise.all(promises);
  }
  return puts;
}

export async function seekRandom(db: LightningDb, data: DataSet, seeks: number): Promise<number> {
  const random = new Random(11);
  for (let n = 0; n < seeks; n++) {
    const key = data.keys[random.below(data.count)] as string;
    let first: string | undefined;
    for (const [found] of db.scanSync({ gte: key, limit: 1 })) first = found;
    if (first !== key) throw new Error(`Seek to "${key}" found "${first}"`);
  }
  return seeks;
}
