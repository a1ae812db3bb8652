/** Worker threads that die, and opens that fail. Uses the built workers. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { resolveConfig } from '../../src/config.js';
import { CorruptionError, type LightningError } from '../../src/errors.js';
import { LightningDb } from '../../src/lightning-db.js';
import { SHARD_FENCED } from '../../src/router/control-block.js';
import { type OpenDatabase, openDatabase } from '../../src/router/open-database.js';

/** Every worker that was started, newest last, by name. */
const workers = vi.hoisted(() => new Map<string, Worker[]>());
vi.mock('node:worker_threads', async (original) => {
  const actual = await original<typeof import('node:worker_threads')>();
  class RecordedWorker extends actual.Worker {
    constructor(location: string | URL, options: { name?: string } = {}) {
      super(location, options);
      const name = options.name ?? '';
      workers.set(name, [...(workers.get(name) ?? []), this]);
    }
  }
  return { ...actual, Worker: RecordedWorker };
});

let directory: string;
let opened: OpenDatabase;
let db: LightningDb;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'lightning-db-supervisor-'));
  workers.clear();
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

async function open(): Promise<void> {
  opened = await openDatabase(join(directory, 'db'), resolveConfig({ shards: 2 }), {});
  const Constructor = LightningDb as unknown as new (backend: OpenDatabase) => LightningDb;
  db = new Constructor(opened);
}

async function kill(name: string): Promise<void> {
  const worker = workers.get(`lightning-db ${name}`)?.at(-1);
  const gone = new Promise((resolve) => worker?.once('exit', resolve));
  await worker?.terminate();
  await gone;
}

/** Does the work until it is not refused because something is away. */
async function eventually<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      const { code } = error as LightningError;
      // A flush that was under way when the coordinator died is given up, and tried again.
      const isAway = code === 'LIGHTNING_SHARD_UNAVAILABLE' || code === 'LIGHTNING_ABORTED';
      if (!isAway || attempt > 1000) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

function keyOf(shard: number, n = 0): string {
  const { client } = opened.session;
  for (let i = n * 1000; ; i++) {
    client.key.setText(`key-${i}`);
    if (client.route().shard === shard) return `key-${i}`;
  }
}

describe('a shard worker that dies', () => {
  it('is replaced; what was acknowledged is there, and the others go on meanwhile', async () => {
    await open();
    for (let i = 0; i < 200; i++) await db.put(`before-${i}`, `${i}`);
    await db.flush();
    for (let i = 200; i < 400; i++) await db.put(`before-${i}`, `${i}`);
    const key = keyOf(0);
    const pending = Array.from({ length: 100 }, (_, i) =>
      db.put(key, `${i}`).then(
        () => 'ok',
        ({ code, details }: LightningError) => `${code} ${details['outcome']}`,
      ),
    );
    await kill('shard 0');
    for (const outcome of await Promise.all(pending)) {
      expect(['ok', 'LIGHTNING_SHARD_UNAVAILABLE unknown']).toContain(outcome);
    }
    await db.put(keyOf(1), 'goes on');
    expect(db.getSync(keyOf(1))).toBe('goes on');
    await eventually(() => db.put(key, 'after'));
    expect(db.getSync(key)).toBe('after');
    for (let i = 0; i < 400; i++) expect(await db.get(`before-${i}`)).toBe(`${i}`);
    expect((await db.scan().toArray()).length).toBe(402);
    await db.flush();
    await db.compact();
    expect((await db.check()).problems).toEqual([]);
    await db.close();
    await open();
    expect(db.getSync(key)).toBe('after');
    await db.close();
  });

  it('is replaced for attached clients too, and never seems empty to them', async () => {
    await open();
    const key = keyOf(0);
    await db.put(key, 'there');
    const attached = await LightningDb.attach(db.share());
    await kill('shard 0');
    let reads = 0;
    let writes = 0;
    while (writes === 0) {
      try {
        expect(attached.getSync(key)).toBe('there');
        expect([...attached.scanSync()].length).toBe(1);
        reads++;
      } catch (error) {
        // The new worker serves, and this thread has not heard of it: what it has may be old.
        expect((error as LightningError).code).toBe('LIGHTNING_SHARD_UNAVAILABLE');
      }
      await attached.put(keyOf(0, 1), 'x').then(
        () => writes++,
        ({ code }: LightningError) => expect(code).toBe('LIGHTNING_SHARD_UNAVAILABLE'),
      );
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(reads).toBeGreaterThan(0);
    expect((await attached.stats()).clients).toBe(2);
    await attached.flush();
    expect(await attached.get(keyOf(0, 1))).toBe('x');
    await attached.close();
    while ((await db.stats()).clients > 1) await new Promise((resolve) => setTimeout(resolve, 1));
    await db.close();
  });

  it('again and again is fenced: the database goes on without it, and closes', async () => {
    await open();
    const [lost, kept] = [keyOf(0), keyOf(1)];
    await db.put(lost, 'written');
    for (let death = 0; death < 3; death++) {
      await kill('shard 0');
      await eventually(() => db.put(lost, `${death}`));
    }
    await kill('shard 0');
    const { control } = opened.session.client;
    while (control.shardState(0) !== SHARD_FENCED) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await expect(db.put(lost, 'x')).rejects.toMatchObject({
      code: 'LIGHTNING_SHARD_UNAVAILABLE',
      message: expect.stringContaining('its thread ended with code 1'),
    });
    const { shards } = await db.stats();
    expect(shards.map(({ fencedReason }) => fencedReason)).toEqual([
      'its thread ended with code 1',
      undefined,
    ]);
    const outOfService = {
      code: 'LIGHTNING_SHARD_UNAVAILABLE',
      message: expect.stringContaining('out of service'),
    };
    await expect(db.flush()).rejects.toMatchObject(outOfService);
    await db.put(kept, 'fine');
    // An attached thread is told the same.
    const attached = await LightningDb.attach(db.share());
    const seen = (await attached.stats()).shards;
    expect(seen.map(({ fencedReason }) => fencedReason)).toEqual([
      'its thread ended with code 1',
      undefined,
    ]);
    expect(seen[1]?.lastSequence).toBeGreaterThan(0);
    await expect(attached.flush()).rejects.toMatchObject(outOfService);
    await expect(attached.check()).rejects.toMatchObject(outOfService);
    await attached.close();
    db.snapshot().close();
    await db.close();
    await open();
    expect(db.getSync(lost)).toBe('2');
    expect(db.getSync(kept)).toBe('fine');
    await db.close();
  });
});

describe('a coordinator that dies', () => {
  it('is found by attached threads again, and takes back the slots of those that have died', async () => {
    await open();
    const attached = await LightningDb.attach(db.share());
    const { control } = opened.session.client;
    // A thread that died between claiming a slot and saying so, and one that nobody let go of.
    const unheard = control.claimClient(987_654);
    const retired = control.claimClient(987_655);
    control.retireClient(retired);
    const coordinator = control.coordinator.thread();
    await kill('coordinator');
    await attached.put('a', '1');
    expect((await attached.stats()).lastSequence).toBeGreaterThan(0);
    await attached.flush();
    expect(control.coordinator.thread()).not.toBe(coordinator);
    while (control.isClientActive(unheard) || control.retiredClients().length > 0) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(control.activeClients().length).toBe(2);
    await attached.close();
    while ((await db.stats()).clients > 1) await new Promise((resolve) => setTimeout(resolve, 1));
    const again = await LightningDb.attach(db.share());
    expect(await again.get('a')).toBe('1');
    await again.close();
    await db.close();
  });

  it('before it has answered attached threads: their calls are made to the next', async () => {
    await open();
    const attached = await LightningDb.attach(db.share());
    await attached.put('a', '1');
    const killed = kill('coordinator');
    const calls = Array.from({ length: 20 }, async () => (await attached.stats()).clients);
    calls.push(attached.flush().then(() => 2));
    await killed;
    expect(await Promise.all(calls)).toEqual(calls.map(() => 2));
    await attached.close();
    await db.close();
  });

  it('is replaced; background work goes on', async () => {
    await open();
    await db.put('a', '1');
    await kill('coordinator');
    await eventually(() => db.flush());
    await db.put('b', '2');
    await eventually(() => db.flush());
    expect((await db.stats()).total.tables).toBeGreaterThan(0);
    await db.close();
  });
});

describe('a shard worker and the coordinator', () => {
  it.each([0, 5, 20])('that die %i ms after one another are connected again', async (delayMs) => {
    for (const order of [
      ['coordinator', 'shard 0'],
      ['shard 0', 'coordinator'],
    ] as const) {
      await open();
      const key = keyOf(0);
      await db.put(key, '0');
      const first = kill(order[0]);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      await Promise.all([first, kill(order[1])]);
      for (let round = 1; round <= 2; round++) {
        await eventually(() => db.put(key, `${round}`));
        // Takes a job of the pool, and a decision over both shards.
        await eventually(() => db.flush());
        const batch = db.batch();
        batch.put(keyOf(0, 1), `${round}`).put(keyOf(1, 1), `${round}`);
        await eventually(() => batch.write());
      }
      expect(await db.getMany([key, keyOf(0, 1), keyOf(1, 1)])).toEqual(['2', '2', '2']);
      await db.close();
      rmSync(join(directory, 'db'), { recursive: true });
    }
  });
});

describe('an open that fails', () => {
  it('leaves no thread and no lock behind', async () => {
    await open();
    await db.put('a', '1');
    await db.close();
    const shard = join(directory, 'db', 'shard-001');
    const current = join(shard, 'CURRENT');
    const bytes = readFileSync(current);
    const broken = Buffer.from(bytes);
    broken[9] = (broken[9] as number) ^ 1;
    writeFileSync(current, broken);
    workers.clear();
    await expect(open()).rejects.toThrow(CorruptionError);
    expect(workers.size).toBe(3);
    for (const [worker] of workers.values()) expect(worker?.threadId).toBe(-1);
    writeFileSync(current, bytes);
    await open();
    expect(db.getSync('a')).toBe('1');
    await db.close();
    expect(readdirSync(directory)).toEqual(['db']);
  });
});
