/** The client's side with shards on threads of their own: waiting, waking, dying. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { resolveConfig } from '../../src/config.js';
import { ShardUnavailableError } from '../../src/errors.js';
import type { LightningDb } from '../../src/lightning-db.js';
import { Client } from '../../src/router/client.js';
import { ControlBlock, SHARD_SERVING } from '../../src/router/control-block.js';
import { Session } from '../../src/router/session.js';
import { databaseOver, kernelModule } from './fake-database.js';
import { fakeShardMemory } from './fake-shard.js';
import type { FakeWorkerData } from './fake-worker.js';

let directory: string;
let script: string;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'lightning-db-fake-'));
  script = join(directory, 'fake-worker.mjs');
  await build({
    entryPoints: [fileURLToPath(new URL('./fake-worker.ts', import.meta.url))],
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    outfile: script,
    logLevel: 'error',
  });
});
afterAll(() => {
  rmSync(directory, { recursive: true });
});

interface Threads {
  readonly db: LightningDb;
  readonly session: Session;
  readonly run: Int32Array;
  end(): Promise<void>;
}

let threads: Threads;
afterEach(async () => {
  await threads.end();
});

async function start(shards: number, ringBytes: number): Promise<Threads> {
  const module = await kernelModule();
  const control = ControlBlock.create(shards);
  const slot = control.claimClient(0);
  const run = new Int32Array(new SharedArrayBuffer(4)).fill(1);
  const exits: Promise<unknown>[] = [];
  const connections = [];
  for (let shard = 0; shard < shards; shard++) {
    const rings = { requestRingBytes: ringBytes, responseRingBytes: ringBytes };
    const memory = fakeShardMemory({ shard, arenaBytes: 64 << 20, ...rings });
    const data: FakeWorkerData = {
      module,
      memory,
      control: control.buffer,
      shard,
      clients: [slot],
      run,
    };
    const worker = new Worker(script, { workerData: data });
    exits.push(new Promise((resolve) => worker.once('exit', resolve)));
    while (control.shardState(shard) !== SHARD_SERVING) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    connections.push({ memory, generation: control.shardGeneration(shard) });
  }
  const client = new Client(control, slot, module, connections);
  const session = new Session(client, resolveConfig({ shards }), {});
  const db = databaseOver(session);
  threads = {
    db,
    session,
    run,
    end: async () => {
      await db.close();
      Atomics.store(run, 0, 0);
      await Promise.all(exits);
    },
  };
  return threads;
}

/** From now on the kernel finds nothing in memory: every read goes to the shard. */
function missEverything(session: Session): void {
  for (const shard of session.client.shards) {
    const { exports } = shard.kernel;
    shard.kernel = Object.create(shard.kernel, {
      exports: { value: { ...exports, get: () => 2 } },
    });
  }
}

describe('shards on other threads', () => {
  it.each([256, 512, 65536])(
    'take and answer everything through rings of %i bytes',
    async (ringBytes) => {
      const { db } = await start(2, ringBytes);
      for (let round = 0; round < 5; round++) {
        const puts = [];
        for (let i = 0; i < 2000; i++)
          puts.push(db.put(`key-${i}`, `${round}-${i}-`.repeat(i % 30)));
        await Promise.all(puts);
        for (let i = 0; i < 2000; i += 7) {
          expect(db.getSync(`key-${i}`)).toBe(`${round}-${i}-`.repeat(i % 30));
        }
      }
      const batch = db.batch();
      for (let i = 0; i < 5000; i++) batch.put(`batch-${i}`, `${i}`);
      await batch.write();
      expect([...db.scanSync({ prefix: 'batch-', values: false })].length).toBe(5000);
    },
  );

  it('answer one awaited operation after the other', async () => {
    const { db } = await start(2, 1 << 16);
    for (let i = 0; i < 3000; i++) {
      await db.put(`k${i % 50}`, `${i}`);
      if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 3));
      expect(db.getSync(`k${i % 50}`)).toBe(`${i}`);
    }
  });

  it('leave the event loop its turns while one operation after the other is awaited', async () => {
    const { db } = await start(2, 1 << 16);
    for (let round = 0; round < 20; round++) {
      let isDue = false;
      setTimeout(() => {
        isDue = true;
      }, 2);
      // Ends only when the timer has had its turn.
      for (let i = 0; !isDue; i++) await db.put(`k${i % 50}`, `${i}`);
    }
    expect(db.getSync('k0')).toBeDefined();
  });

  it('answer many that await one after the other, each at its own pace', async () => {
    const { db, session } = await start(2, 4096);
    const clients = Array.from({ length: 17 }, async (_, client) => {
      for (let i = 0; i < 150; i++) {
        await db.put(`client-${client}`, `${i}`);
        for (let hops = (i * client) % 5; hops > 0; hops--) await Promise.resolve();
        if ((i + client) % 40 === 0) await new Promise((resolve) => setTimeout(resolve, i % 4));
        expect(db.getSync(`client-${client}`)).toBe(`${i}`);
      }
    });
    await Promise.all(clients);
    expect(session.client.pending()).toBe(0);
  });

  it('are waited for by a read on the thread; answers to others come afterwards', async () => {
    const { db, session } = await start(2, 512);
    const large = 'w'.repeat(50_000);
    await db.put('large', large);
    for (let i = 0; i < 100; i++) await db.put(`k${i}`, `${i}`);
    missEverything(session);
    const order: string[] = [];
    const puts = Array.from({ length: 200 }, (_, i) =>
      db.put(`k${i % 100}`, `new ${i}`).then(() => order.push(`put ${i}`)),
    );
    const later = db.get('large').then((value) => order.push(`get ${value?.length}`));
    expect(db.getSync('large') === large).toBe(true);
    expect(db.getSync('none')).toBeUndefined();
    expect(db.hasSync('k5')).toBe(true);
    expect(db.getManySync(['large', 'none', 'large'])).toEqual([large, undefined, large]);
    expect(order).toEqual([]);
    await Promise.all([...puts, later]);
    expect(order.length).toBe(201);
    // Each shard answers in order.
    expect(order.filter((entry) => entry.startsWith('put')).length).toBe(200);
    expect(session.client.pending()).toBe(0);
  });

  it('may be waited for several times over, and decoders run afterwards', async () => {
    const { db, session } = await start(1, 4096);
    const batch = db.batch();
    for (let i = 0; i < 1500; i++) batch.put(`k${i}`, `${i}`);
    await batch.write();
    missEverything(session);
    const calls: string[] = [];
    const valueEncoding = {
      encode: (text: string) => Buffer.from(text),
      decode: (bytes: Uint8Array) => {
        calls.push('decoded');
        return `${Buffer.from(bytes)}/${db.getSync('k1')}`;
      },
    };
    const first = db.get('k0', { valueEncoding });
    const keys = Array.from({ length: 1500 }, (_, i) => `k${i}`);
    expect(db.getManySync(keys)).toEqual(keys.map((key) => key.slice(1)));
    expect(calls).toEqual([]);
    expect(await first).toBe('0/1');
  });

  it('that die end a wait on the thread', async () => {
    const { db, session, run } = await start(1, 512);
    await db.put('a', '1');
    missEverything(session);
    const pending = db.get('a');
    Atomics.store(run, 0, 2);
    expect(() => db.getSync('a')).toThrow(ShardUnavailableError);
    await expect(pending.then((value) => value ?? 'none')).rejects.toThrow(ShardUnavailableError);
  });

  it('that die end a promise', async () => {
    const { db, run } = await start(1, 512);
    Atomics.store(run, 0, 2);
    await expect(db.put('a', '1')).rejects.toThrow(ShardUnavailableError);
  });
});
