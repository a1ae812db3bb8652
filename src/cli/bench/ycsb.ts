/**
 * YCSB's core workloads (Cooper et al., "Benchmarking cloud serving systems with YCSB", SoCC 2010).
 * 64 clients on one thread: writes are awaited, reads and scans take the store's synchronous form
 * where there is one.
 */

import { type KeyChoice, latest, zipfian } from './key-choice.js';
import { ANY_VERSION, Random, type Records } from './records.js';
import type { WorkloadContext } from './workloads.js';

export type YcsbName = 'a' | 'b' | 'c' | 'd' | 'e' | 'f';

interface Mix {
  /** In what the name says besides reads, in hundredths. */
  readonly share: number;
  readonly read: 'get' | 'scan';
  readonly write: 'update' | 'insert' | 'read-modify-write';
  readonly choice: 'zipfian' | 'latest';
  readonly text: string;
}

export const YCSB: Readonly<Record<YcsbName, Mix>> = {
  a: mix(50, 'get', 'update', 'zipfian', '50 % reads, 50 % updates'),
  b: mix(5, 'get', 'update', 'zipfian', '95 % reads, 5 % updates'),
  c: mix(0, 'get', 'update', 'zipfian', 'reads only'),
  d: mix(5, 'get', 'insert', 'latest', '95 % reads of the latest, 5 % inserts'),
  e: mix(5, 'scan', 'insert', 'zipfian', '95 % scans of 1 to 100, 5 % inserts'),
  f: mix(50, 'get', 'read-modify-write', 'zipfian', '50 % reads, 50 % read-modify-writes'),
};

function mix(
  share: number,
  read: Mix['read'],
  write: Mix['write'],
  choice: Mix['choice'],
  text: string,
): Mix {
  return { share, read, write, choice, text };
}

const LANES = 64;
const SCAN_ENTRIES_MAX = 100;

/** Ids that were inserted, and up to which of them all are acknowledged. */
export class Inserted {
  readonly #early = new Set<number>();
  #next: number;
  #acknowledged: number;

  constructor(count: number) {
    this.#next = count;
    this.#acknowledged = count - 1;
  }

  take(): number {
    return this.#next++;
  }

  acknowledge(id: number): void {
    this.#early.add(id);
    while (this.#early.delete(this.#acknowledged + 1)) this.#acknowledged++;
  }

  /** Every id up to this one can be read. */
  newest(): number {
    return this.#acknowledged;
  }
}

export async function ycsb(
  { store, records, pace, seed }: WorkloadContext,
  name: YcsbName,
  inserted: Inserted,
): Promise<void> {
  const { share, read, write, choice } = YCSB[name];
  const choose: KeyChoice =
    choice === 'zipfian'
      ? zipfian(records.count, seed)
      : latest(records.count, seed, () => inserted.newest());
  const random = new Random(seed + 1);
  const { histogram } = pace;
  const timed = histogram !== undefined;

  const get = async (own: Records, id: number): Promise<void> => {
    own.verify(await store.get(own.key(id)), id, ANY_VERSION);
  };
  const readOne = async (own: Records, id: number): Promise<void> => {
    if (read === 'scan') await scanFrom(store, own, id, 1 + random.below(SCAN_ENTRIES_MAX));
    else if (store.getSync === undefined) await get(own, id);
    else own.verify(store.getSync(own.key(id)), id, ANY_VERSION);
  };
  const insert = async (own: Records): Promise<void> => {
    const id = inserted.take();
    await store.put(own.key(id), own.value(id, 0));
    inserted.acknowledge(id);
  };
  const writeOne = async (own: Records, id: number): Promise<void> => {
    if (write === 'insert') return insert(own);
    if (write === 'read-modify-write') await readOne(own, id);
    await store.put(own.key(id), own.value(id, 1));
  };

  let going = true;
  let operations = 0;
  const lane = async (own: Records): Promise<void> => {
    while (going) {
      const id = choose();
      const startMs = timed ? performance.now() : 0;
      if (random.below(100) < share) await writeOne(own, id);
      else if (read === 'get' && store.getSync !== undefined) {
        // No promise where none is needed.
        own.verify(store.getSync(own.key(id)), id, ANY_VERSION);
      } else await readOne(own, id);
      if (timed) histogram.record((performance.now() - startMs) * 1e6);
      if (++operations >= 64) {
        going = going && pace.more(operations);
        operations = 0;
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, (_, index) => lane(records.lane(index, LANES))));
  pace.more(operations);
}

/** Reads `entries` from record `id` on; those that were there from the start follow one another. */
async function scanFrom(
  store: WorkloadContext['store'],
  records: Records,
  id: number,
  entries: number,
): Promise<void> {
  let next = id;
  const visit = (key: Uint8Array, value: Uint8Array): void => {
    if (next < records.count) {
      records.verifyKey(key, next);
      records.verify(value, next, ANY_VERSION);
    }
    next++;
  };
  const from = records.key(id);
  if (store.scanSync !== undefined) store.scanSync(from, entries, visit);
  else await store.scan(from, entries, visit);
  if (next - id < Math.min(entries, records.count - id)) {
    throw new Error(`A scan from record ${id} met ${next - id} of ${entries} records`);
  }
}
