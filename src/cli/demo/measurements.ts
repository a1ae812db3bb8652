/**
 * What the demonstration measures, for any client thread. Every answer is compared with what the
 * table says it must be, inside the measured time.
 */

import type { LightningDb } from '../../index.js';
import { findNetwork, type NetworkTable } from './networks.js';

/** The part of a database that a client uses; an attached one has it too. */
export type ClientDb = Pick<
  LightningDb,
  'get' | 'getSync' | 'getMany' | 'scan' | 'scanSync' | 'batch'
>;

export interface MeasureContext {
  readonly db: ClientDb;
  readonly table: NetworkTable;
  /** Per record: the round of overwrites that wrote it last. Shared by all clients. */
  readonly rounds: Int32Array;
  /** This client overwrites the records whose number, divided by `clients`, leaves `client`. */
  readonly client: number;
  readonly clients: number;
  readonly seconds: number;
}

export interface Measured {
  readonly operations: number;
  readonly seconds: number;
}

export type MeasureName = 'sync' | 'in flight' | 'alone' | 'many' | 'lookup' | 'scan' | 'overwrite';

const IN_FLIGHT = 256;
const KEYS_PER_CALL = 256;
const BATCH_OPERATIONS = 1000;
const BATCHES_IN_FLIGHT = 4;
/** The clock is read once in so many operations. */
const CLOCK_EVERY = 256;

export async function measure(name: MeasureName, context: MeasureContext): Promise<Measured> {
  const startedAtMs = performance.now();
  const operations = await MEASURES[name](context, startedAtMs + context.seconds * 1000);
  return { operations, seconds: (performance.now() - startedAtMs) / 1000 };
}

const MEASURES: Readonly<
  Record<MeasureName, (context: MeasureContext, untilMs: number) => Promise<number>>
> = {
  async sync(context, untilMs) {
    const random = randomIndex(context);
    let operations = 0;
    while (performance.now() < untilMs) {
      for (let i = 0; i < CLOCK_EVERY; i++) {
        const index = random();
        check(context, index, context.db.getSync(context.table.keys[index] ?? ''));
      }
      operations += CLOCK_EVERY;
    }
    return operations;
  },

  async alone(context, untilMs) {
    const random = randomIndex(context);
    let operations = 0;
    while (performance.now() < untilMs) {
      for (let i = 0; i < CLOCK_EVERY; i++) {
        const index = random();
        check(context, index, await context.db.get(context.table.keys[index] ?? ''));
      }
      operations += CLOCK_EVERY;
    }
    return operations;
  },

  async 'in flight'(context, untilMs) {
    const random = randomIndex(context);
    let operations = 0;
    const lane = async (): Promise<void> => {
      while (performance.now() < untilMs) {
        for (let i = 0; i < CLOCK_EVERY; i++) {
          const index = random();
          check(context, index, await context.db.get(context.table.keys[index] ?? ''));
        }
        operations += CLOCK_EVERY;
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
    return operations;
  },

  async many(context, untilMs) {
    const random = randomIndex(context);
    let operations = 0;
    while (performance.now() < untilMs) {
      const indexes = Array.from({ length: KEYS_PER_CALL }, random);
      const values = await context.db.getMany(
        indexes.map((index) => context.table.keys[index] ?? ''),
      );
      for (let i = 0; i < KEYS_PER_CALL; i++) check(context, indexes[i] ?? 0, values[i]);
      operations += KEYS_PER_CALL;
    }
    return operations;
  },

  async lookup(context, untilMs) {
    const { db, table } = context;
    const random = randomIndex(context);
    let operations = 0;
    while (performance.now() < untilMs) {
      for (let i = 0; i < CLOCK_EVERY; i++) {
        const index = random();
        const [version, hex = ''] = (table.keys[index] ?? '').split(':');
        const network = findNetwork(db, { version: version === '4' ? 4 : 6, hex });
        if (network === undefined || network.first.hex !== hex) throw wrong(table.keys[index]);
      }
      operations += CLOCK_EVERY;
    }
    return operations;
  },

  async scan(context) {
    const { keys } = context.table;
    let index = 0;
    for await (const entries of context.db.scan().batches()) {
      for (const [key, value] of entries) {
        if (key !== keys[index]) throw wrong(key);
        check(context, index++, value);
      }
    }
    if (index !== keys.length)
      throw new Error(`A full scan met ${index} of ${keys.length} records`);
    return index;
  },

  async overwrite(context, untilMs) {
    const { db, table, rounds, clients } = context;
    const random = randomIndex(context);
    const round = clients;
    let operations = 0;
    const lane = async (): Promise<void> => {
      while (performance.now() < untilMs) {
        const batch = db.batch();
        const written: number[] = [];
        for (let i = 0; i < BATCH_OPERATIONS; i++) {
          const index = ownIndex(random(), context);
          batch.put(table.keys[index] ?? '', valueAt(table, index, round));
          written.push(index);
        }
        await batch.write();
        for (const index of written) Atomics.store(rounds, index, round);
        operations += BATCH_OPERATIONS;
      }
    };
    await Promise.all(Array.from({ length: BATCHES_IN_FLIGHT }, lane));
    return operations;
  },
};

/** A record near `index` that this client, and no other, overwrites. */
function ownIndex(index: number, { table, client, clients }: MeasureContext): number {
  const own = index - (index % clients) + client;
  return own < table.keys.length ? own : client;
}

/** The value of a record after the overwrites of `round`; 0: as loaded. */
function valueAt(table: NetworkTable, index: number, round: number): string {
  const value = table.values[index] ?? '';
  return round === 0 ? value : `${value}\t${round}`;
}

function check(context: MeasureContext, index: number, found: string | undefined): void {
  if (found === valueAt(context.table, index, context.rounds[index] ?? 0)) return;
  throw wrong(context.table.keys[index]);
}

function wrong(key: string | undefined): Error {
  const address = key === undefined ? '' : ` (${key})`;
  return new Error(`The database gave a wrong answer${address}: please report this`);
}

/** Record numbers by xorshift32, of one seed per client. */
function randomIndex({ table, client }: MeasureContext): () => number {
  const count = table.keys.length;
  let state = 0x9e3779b9 ^ (client + 1);
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % count;
  };
}
