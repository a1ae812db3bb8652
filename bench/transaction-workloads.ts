/**
 * Workloads of transactions. Each runs `lanes` clients on this thread; a client awaits its commit
 * before it begins its next transaction. Operations are committed transactions; conflicts are run
 * again (`db.transaction`) and counted by the database, but for `conflictRate`, which counts itself.
 *
 * The database is opened with `keyEncoding` and `valueEncoding` 'buffer'. What `walSyncMode` it has
 * makes the difference between the workloads and their durable forms.
 */

import type { LightningDb, Transaction } from 'lightning-db';
import type { KeyChoice } from '../src/cli/bench/key-choice.js';
import type { Pace } from '../src/cli/bench/pace.js';
import { Random, type Records } from '../src/cli/bench/records.js';
import { KeyScratch } from '../src/router/key-scratch.js';
import { shardOf } from '../src/router/murmur3.js';

export interface TransactionContext {
  readonly db: LightningDb<Buffer, Buffer>;
  readonly records: Records;
  readonly pace: Pace;
  /** Which records are read and written. */
  readonly choose: KeyChoice;
  readonly shards: number;
  readonly seed: number;
}

type Tx = Transaction<Buffer, Buffer>;

export const LANES = 64;

/** Operations between two looks at the clock. */
const EVERY = 64;

async function run(
  { pace }: Pick<TransactionContext, 'pace'>,
  lanes: number,
  transaction: () => Promise<unknown>,
): Promise<void> {
  const { histogram } = pace;
  let going = true;
  let operations = 0;
  const lane = async (): Promise<void> => {
    while (going) {
      const startMs = histogram === undefined ? 0 : performance.now();
      await transaction();
      histogram?.record((performance.now() - startMs) * 1e6);
      if (++operations >= EVERY) {
        going = going && pace.more(operations);
        operations = 0;
      }
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  pace.more(operations);
}

/** One record is read and written: its shard commits alone. */
export function singleShard(context: TransactionContext, lanes = LANES): Promise<void> {
  const { db, records, choose } = context;
  return run(context, lanes, () => {
    const id = choose();
    return db.transaction(async (tx: Tx) => {
      verify(await tx.get(records.key(id)), id);
      tx.put(records.key(id), records.value(id, 1));
    });
  });
}

/** Two records of different shards are read and written: prepare, decision, commit. */
export function crossShard(context: TransactionContext, lanes = LANES): Promise<void> {
  const { db, records, choose, shards } = context;
  const scratch = new KeyScratch();
  const shardOfRecord = (id: number): number => {
    scratch.setBytes(records.key(id));
    return shardOf(scratch.hash, shards);
  };
  return run(context, lanes, () => {
    const first = choose();
    const shard = shardOfRecord(first);
    let second = choose();
    while (shards > 1 && shardOfRecord(second) === shard) second = choose();
    return db.transaction(async (tx: Tx) => {
      verify(await tx.get(records.key(first)), first);
      verify(await tx.get(records.key(second)), second);
      tx.put(records.key(first), records.value(first, 1));
      tx.put(records.key(second), records.value(second, 1));
    });
  });
}

/** YCSB F: half reads, half read-modify-writes, each of those in a transaction. */
export function ycsbF(context: TransactionContext, lanes = LANES): Promise<void> {
  const { db, records, choose, seed } = context;
  const random = new Random(seed);
  return run(context, lanes, () => {
    const id = choose();
    if (random.next() % 2 === 0) return db.get(records.key(id)).then((found) => verify(found, id));
    return db.transaction(async (tx: Tx) => {
      verify(await tx.get(records.key(id)), id);
      tx.put(records.key(id), records.value(id, 1));
    });
  });
}

export interface ConflictCounts {
  readonly attempts: number;
  readonly conflicts: number;
}

/** One record is read and written; conflicts are not run again. `choose` decides how many there are. */
export async function conflictRate(
  context: TransactionContext,
  lanes = LANES,
): Promise<ConflictCounts> {
  const { db, records, choose } = context;
  let attempts = 0;
  let conflicts = 0;
  await run(context, lanes, async () => {
    const id = choose();
    attempts++;
    const tx = db.begin();
    verify(await tx.get(records.key(id)), id);
    tx.put(records.key(id), records.value(id, 1));
    await tx.commit().catch((error) => {
      if (error.code !== 'LIGHTNING_CONFLICT') throw error;
      conflicts++;
    });
  });
  return { attempts, conflicts };
}

// ---- orders, in the manner of TPC-C ---------------------------------------------------

const DISTRICTS = 10;
const CUSTOMERS = 300;
const ITEMS = 10_000;
const STOCK = 100;

const numbered = (...parts: readonly (string | number)[]): Buffer =>
  Buffer.from(
    parts.map((p) => (typeof p === 'number' ? String(p).padStart(8, '0') : p)).join(':'),
    'latin1',
  );
const FILLER = 'x'.repeat(80);
const row = (...fields: readonly number[]): Buffer =>
  Buffer.from(`${fields.join(',')},${FILLER}`, 'latin1');
const fieldsOf = (found: Uint8Array | undefined): number[] => {
  if (found === undefined) throw new Error('A row is missing');
  return Buffer.from(found).toString('latin1').split(',').slice(0, -1).map(Number);
};

/** Writes what new orders need: warehouses, districts, customers, items, stock. */
export async function loadOrders(
  db: LightningDb<Buffer, Buffer>,
  warehouses: number,
): Promise<void> {
  let batch = db.batch();
  const put = async (key: Buffer, value: Buffer): Promise<void> => {
    batch.put(key, value);
    if (batch.length < 1000) return;
    await batch.write();
    batch = db.batch();
  };
  for (let item = 0; item < ITEMS; item++) await put(numbered('item', item), row(100 + item));
  for (let w = 0; w < warehouses; w++) {
    await put(numbered('warehouse', w), row(w % 20));
    for (let item = 0; item < ITEMS; item++) await put(numbered('stock', w, item), row(STOCK, 0));
    for (let d = 0; d < DISTRICTS; d++) {
      await put(numbered('district', w, d), row(d % 20, 1));
      for (let c = 0; c < CUSTOMERS; c++) await put(numbered('customer', w, d, c), row(c % 50));
    }
  }
  await batch.write();
}

/**
 * The new-order transaction of TPC-C, in its shape: a district's counter is taken one further, 5 to
 * 15 items are looked up and taken from stock (1 in 100 from another warehouse), and the order, its
 * lines and its entry in the queue are written. Serializable would be no different: whatever is read
 * is written, or never changes.
 */
export function newOrder(
  context: Omit<TransactionContext, 'records' | 'choose' | 'shards'>,
  warehouses: number,
  lanes = LANES,
): Promise<void> {
  const { db, seed } = context;
  const random = new Random(seed);
  return run(context, lanes, () => {
    const warehouse = random.below(warehouses);
    const district = random.below(DISTRICTS);
    const customer = random.below(CUSTOMERS);
    const lines = Array.from({ length: 5 + random.below(11) }, () => ({
      item: random.below(ITEMS),
      from: random.below(100) === 0 ? random.below(warehouses) : warehouse,
      quantity: 1 + random.below(10),
    }));
    return db.transaction(async (tx: Tx) => {
      const [tax = 0] = fieldsOf(await tx.get(numbered('warehouse', warehouse)));
      const [districtTax = 0, order = 0] = fieldsOf(
        await tx.get(numbered('district', warehouse, district)),
      );
      const [discount = 0] = fieldsOf(
        await tx.get(numbered('customer', warehouse, district, customer)),
      );
      tx.put(numbered('district', warehouse, district), row(districtTax, order + 1));
      let total = 0;
      for (const [n, { item, from, quantity }] of lines.entries()) {
        const [price = 0] = fieldsOf(await tx.get(numbered('item', item)));
        const [left = 0, sold = 0] = fieldsOf(await tx.get(numbered('stock', from, item)));
        const rest = left - quantity >= 10 ? left - quantity : left - quantity + 91;
        tx.put(numbered('stock', from, item), row(rest, sold + quantity));
        tx.put(
          numbered('line', warehouse, district, order, n),
          row(item, from, quantity, price * quantity),
        );
        total += price * quantity;
      }
      total *= (1 - discount / 100) * (1 + (tax + districtTax) / 100);
      const entry = row(customer, lines.length, Math.round(total));
      tx.put(numbered('order', warehouse, district, order), entry);
      tx.put(numbered('queue', warehouse, district, order), row(0));
    });
  });
}

/** Every order number below the district's counter was given out once, and no other. */
export async function checkOrders(db: LightningDb<Buffer, Buffer>): Promise<number> {
  let orders = 0;
  const snapshot = db.snapshot();
  for (const [key, found] of snapshot.scanSync({ prefix: Buffer.from('district:') })) {
    const [, next = 0] = fieldsOf(found);
    const prefix = Buffer.from(key.toString('latin1').replace('district', 'order'), 'latin1');
    let expected = 1;
    for (const order of snapshot.scanSync({ prefix, values: false })) {
      if (Number(order.toString('latin1').slice(-8)) !== expected++) throw new Error('Order lost');
    }
    if (expected !== next) throw new Error(`Order ${next - 1} of ${expected - 1} is missing`);
    orders += expected - 1;
  }
  snapshot.close();
  return orders;
}

/** The record may have been written by a transaction, or not yet. */
function verify(found: Uint8Array | undefined, id: number): void {
  if (found === undefined || found.length !== 200) throw new Error(`Record ${id} is missing`);
}
