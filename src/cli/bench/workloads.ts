/**
 * The workloads, with db_bench's names where it has one. Each verifies what it reads. `timed` is
 * true in the pass that records latencies; it is a constant while a loop runs.
 */

import { type KeyChoice, uniform } from './key-choice.js';
import { CHUNK, type Pace } from './pace.js';
import { ANY_VERSION, type Records } from './records.js';
import type { BenchClient, BenchStore } from './store.js';

/** What a workload works on. */
export interface WorkloadContext {
  readonly store: BenchStore;
  readonly records: Records;
  readonly pace: Pace;
  /** Which records are read. */
  readonly choose: KeyChoice;
  /** The version that all records have; ANY_VERSION when they differ. */
  readonly version: number;
  readonly seed: number;
}

const BATCH_OPERATIONS = 1000;
const MANY_KEYS = 256;

const nanosSince = (startMs: number): number => (performance.now() - startMs) * 1e6;

/** Writes `count` records in batches of 1000, the next being made while one is written. */
export async function writeBatches(
  { store, records, pace }: Pick<WorkloadContext, 'records' | 'pace'> & { store: BenchClient },
  idAt: (index: number) => number,
  version: number,
  operation: 'put' | 'delete' = 'put',
): Promise<void> {
  const { histogram, operationsMax } = pace;
  let before: Promise<unknown> = Promise.resolve();
  let operations = 0;
  for (let index = 0; ; ) {
    const startMs = performance.now();
    const first = index;
    const end = Math.min(index + BATCH_OPERATIONS, operationsMax);
    const written = store.writeBatch((sink) => {
      for (; index < end; index++) {
        const id = idAt(index);
        if (operation === 'put') sink.put(records.key(id), records.value(id, version));
        else sink.delete(records.key(id));
      }
    });
    if (histogram !== undefined) written.then(() => histogram.record(nanosSince(startMs)), ignore);
    await before;
    before = written;
    const more = pace.more(operations);
    operations = end - first;
    if (!more || index >= operationsMax) break;
  }
  await before;
  pace.more(operations);
}

/** The promise is awaited elsewhere. */
function ignore(): void {}

/** `lanes` clients, each of which awaits its put before it makes the next. */
export async function awaitedPuts(
  { store, records, pace, choose }: WorkloadContext,
  lanes: number,
  version: number,
): Promise<void> {
  const { histogram } = pace;
  const timed = histogram !== undefined;
  const every = lanes === 1 ? 16 : 64;
  let going = true;
  let operations = 0;
  const lane = async (own: Records): Promise<void> => {
    while (going) {
      const id = choose();
      const startMs = timed ? performance.now() : 0;
      await store.put(own.key(id), own.value(id, version));
      if (timed) histogram.record(nanosSince(startMs));
      if (++operations >= every) {
        going = going && pace.more(operations);
        operations = 0;
      }
    }
  };
  await Promise.all(Array.from({ length: lanes }, (_, index) => lane(records.lane(index, lanes))));
  pace.more(operations);
}

type ReadContext = Omit<WorkloadContext, 'store' | 'seed'>;

export function readRandomSync(client: BenchClient, context: ReadContext): void {
  if (client.getSync === undefined) throw new Error('This store has no synchronous get');
  readEach((key) => client.getSync?.(key), context);
}

function readEach(
  read: (key: Buffer) => Uint8Array | undefined,
  { records, pace, choose, version }: ReadContext,
): void {
  const { histogram } = pace;
  const timed = histogram !== undefined;
  do {
    for (let n = 0; n < CHUNK; n++) {
      const id = choose();
      const startMs = timed ? performance.now() : 0;
      const found = read(records.key(id));
      records.verify(found, id, version);
      if (timed) histogram.record(nanosSince(startMs));
    }
  } while (pace.more(CHUNK));
}

/** Reads that copy as little as the store can do with: its own borrowed form, else `getSync`. */
export function readBorrowedSync(client: BenchClient, context: ReadContext): void {
  const { getSync, getBorrowedSync } = client;
  const read = getBorrowedSync ?? getSync;
  if (read === undefined) throw new Error('This store has no synchronous get');
  readEach((key) => read.call(client, key), context);
}

export function readMissingSync({ store, records, pace, choose }: WorkloadContext): void {
  const { histogram } = pace;
  const timed = histogram !== undefined;
  if (store.getSync === undefined) throw new Error('This store has no synchronous get');
  do {
    for (let n = 0; n < CHUNK; n++) {
      const id = choose();
      const startMs = timed ? performance.now() : 0;
      if (store.getSync(records.missingKey(id)) !== undefined) throw foundMissing(id);
      if (timed) histogram.record(nanosSince(startMs));
    }
  } while (pace.more(CHUNK));
}

function foundMissing(id: number): Error {
  return new Error(`Found a key that was never written, next to record ${id}`);
}

/** `lanes` clients, each of which awaits its get before it makes the next. */
export async function awaitedGets(
  { store, records, pace, choose, version }: WorkloadContext,
  lanes: number,
  missing = false,
): Promise<void> {
  const { histogram } = pace;
  const timed = histogram !== undefined;
  let going = true;
  let operations = 0;
  const lane = async (own: Records): Promise<void> => {
    while (going) {
      const id = choose();
      const startMs = timed ? performance.now() : 0;
      const found = await store.get(missing ? own.missingKey(id) : own.key(id));
      if (!missing) own.verify(found, id, version);
      else if (found !== undefined) throw foundMissing(id);
      if (timed) histogram.record(nanosSince(startMs));
      if (++operations >= 64) {
        going = going && pace.more(operations);
        operations = 0;
      }
    }
  };
  await Promise.all(Array.from({ length: lanes }, (_, index) => lane(records.lane(index, lanes))));
  pace.more(operations);
}

/** 256 keys a call, `lanes` calls at a time. */
export async function multiReadRandom(
  { store, records, pace, choose, version }: WorkloadContext,
  lanes = 1,
): Promise<void> {
  const { histogram } = pace;
  let going = true;
  const lane = async (): Promise<void> => {
    const ids = new Uint32Array(MANY_KEYS);
    const keys: Buffer[] = new Array(MANY_KEYS);
    while (going) {
      for (let k = 0; k < MANY_KEYS; k++) {
        const id = choose();
        ids[k] = id;
        keys[k] = records.key(id);
      }
      const startMs = performance.now();
      const values = await store.getMany(keys);
      for (let k = 0; k < MANY_KEYS; k++) records.verify(values[k], ids[k] as number, version);
      histogram?.record(nanosSince(startMs));
      going = going && pace.more(MANY_KEYS);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

/** Every entry once, in order; again and again while there is time. */
export async function readSequential(
  { store, records, pace, version }: WorkloadContext,
  form: 'sync' | 'async',
): Promise<void> {
  do {
    let next = 0;
    const visit = (key: Uint8Array, value: Uint8Array): void => {
      records.verifyKey(key, next);
      records.verify(value, next, version);
      if ((++next & 0xfff) === 0) pace.more(0x1000);
    };
    if (form === 'sync' && store.scanSync !== undefined) {
      store.scanSync(undefined, Number.POSITIVE_INFINITY, visit);
    } else {
      await store.scan(undefined, Number.POSITIVE_INFINITY, visit);
    }
    if (next !== records.count) throw new Error(`A scan met ${next} of ${records.count} records`);
  } while (pace.more(records.count & 0xfff));
}

/** Every byte of every record. */
export async function checkAll(
  store: BenchStore,
  records: Records,
  version: number,
): Promise<void> {
  let next = 0;
  await store.scan(undefined, Number.POSITIVE_INFINITY, (key, value) => {
    records.verifyKey(key, next);
    records.verifyWhole(value, next, version);
    next++;
  });
  if (next !== records.count) throw new Error(`A scan met ${next} of ${records.count} records`);
}

/** Positions a scan at a record that exists and reads it. */
export async function seekRandom({
  store,
  records,
  pace,
  choose,
  version,
}: WorkloadContext): Promise<void> {
  const { histogram } = pace;
  const timed = histogram !== undefined;
  const sync = store.scanSync !== undefined;
  let id = 0;
  const visit = (key: Uint8Array, value: Uint8Array): void => {
    records.verifyKey(key, id);
    records.verify(value, id, version);
    id = -1;
  };
  do {
    for (let n = 0; n < 16; n++) {
      id = choose();
      const startMs = timed ? performance.now() : 0;
      if (sync) store.scanSync?.(records.key(id), 1, visit);
      else await store.scan(records.key(id), 1, visit);
      if (id !== -1) throw new Error(`A seek to record ${id} found nothing`);
      if (timed) histogram.record(nanosSince(startMs));
    }
  } while (pace.more(16));
}

/**
 * Open loop: an operation is due every 1/rate seconds whether or not those before it are done, and
 * its latency counts from when it was due, so that a stall shows in all it delayed.
 */
export async function openLoop(
  { store, records, pace, seed }: WorkloadContext,
  operation: 'get' | 'put',
  perSecond: number,
): Promise<void> {
  const { histogram } = pace;
  const choose = uniform(records.count, seed);
  const intervalMs = 1000 / perSecond;
  let failure: unknown;
  let outstanding = 0;
  const run = async (dueMs: number): Promise<void> => {
    const id = choose();
    const key = records.key(id);
    if (operation === 'put') await store.put(key, records.value(id, 1));
    else records.verify(await store.get(key), id, ANY_VERSION);
    histogram?.record(nanosSince(dueMs));
  };
  let dueMs = pace.startedAtMs;
  for (let going = true; going && failure === undefined; ) {
    const nowMs = performance.now();
    let started = 0;
    for (; dueMs <= nowMs && outstanding < OUTSTANDING_MAX; dueMs += intervalMs) {
      outstanding++;
      started++;
      run(dueMs).then(
        () => outstanding--,
        (error: unknown) => {
          outstanding--;
          failure = error;
        },
      );
    }
    going = pace.more(started);
    // Timers are late by a millisecond and more; turns of the event loop are not.
    await new Promise((resolve) => setImmediate(resolve));
  }
  while (outstanding > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  if (failure !== undefined) throw failure;
}

/** Less than keys and values that take turns. */
const OUTSTANDING_MAX = 1024;
