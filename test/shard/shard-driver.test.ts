/** The loop of a shard worker, on the test's own thread; clients are other threads' rings. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { H_DOORBELL, H_SLEEPING } from '../../src/kernel/assembly/layout.js';
import { ShardDriver } from '../../src/shard/shard-driver.js';
import { put, TestShard } from './harness.js';
import type { KnockingClientData } from './knocking-client.js';

function openShard(): Promise<TestShard> {
  const fs = new MemoryFileSystem();
  fs.mkdir('/shard-000');
  return TestShard.open({ fs, directory: '/shard-000' });
}

async function driven() {
  const shard = await openShard();
  const driver = new ShardDriver(shard.kernel);
  return { shard, driver, running: driver.run(shard.shard) };
}

const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

async function until(condition: () => boolean): Promise<void> {
  const start = performance.now();
  while (!condition()) {
    if (performance.now() - start > 10_000) throw new Error('It does not come to pass');
    await pause(1);
  }
}

describe('the loop', () => {
  it('parks when nothing comes, and wakes when the doorbell rings', async () => {
    const { shard, driver, running } = await driven();
    const { i32 } = shard.kernel;
    await until(() => Atomics.load(i32, H_SLEEPING >>> 2) === 1);
    for (let round = 0; round < 20; round++) {
      const id = shard.client.write([put(`key-${round}`, 'v')]);
      // As a client does: publish, then look whether the worker sleeps.
      if (Atomics.load(i32, H_SLEEPING >>> 2) === 1) {
        Atomics.add(i32, H_DOORBELL >>> 2, 1);
        Atomics.notify(i32, H_DOORBELL >>> 2);
      }
      await until(() => shard.client.poll(id) !== undefined);
      if (round % 5 === 0) await pause(10);
    }
    driver.stop();
    await running;
    await shard.shard.close();
  });

  it('leaves the event loop its turns while it is busy', async () => {
    const { shard, driver, running } = await driven();
    let turns = 0;
    const count = (): void => {
      turns++;
      if (turns < 50) setImmediate(count);
    };
    setImmediate(count);
    const ids = Array.from({ length: 500 }, (_, i) => shard.client.write([put(`key-${i}`, 'v')]));
    driver.wake();
    await until(() => turns === 50);
    let answered = 0;
    await until(() => {
      driver.wake();
      for (const id of ids) if (shard.client.poll(id) !== undefined) answered++;
      return answered === 500;
    });
    driver.stop();
    await running;
    await shard.shard.close();
  });

  it('hears every request, whenever it comes', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'lightning-db-knocking-'));
    const script = join(directory, 'knocking-client.mjs');
    await build({
      entryPoints: [fileURLToPath(new URL('./knocking-client.ts', import.meta.url))],
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20.19',
      outfile: script,
      logLevel: 'error',
    });
    const shard = await openShard();
    const data: KnockingClientData = { memory: shard.kernel.memory, client: 2, rounds: 3000 };
    const worker = new Worker(script, { workerData: data });
    const message = (): Promise<unknown> =>
      new Promise((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
      });
    expect(await message()).toBe('ready');
    const answered = message();
    // Slices so long that a wake-up that is lost shows: the client gives up before one ends.
    const driver = new ShardDriver(shard.kernel, { sliceMs: 60_000 });
    const running = driver.run(shard.shard);
    const count = await answered;
    // At once: what is awaited before the driver ends waits for one of its slices to end.
    driver.stop();
    await running;
    await worker.terminate();
    expect(count).toBe(3000);
    await shard.shard.close();
    rmSync(directory, { recursive: true });
  });

  it('ends when it is told to while it is parked', async () => {
    const { shard, driver, running } = await driven();
    await until(() => Atomics.load(shard.kernel.i32, H_SLEEPING >>> 2) === 1);
    driver.stop();
    await running;
    await shard.shard.close();
  });

  it('rejects when a turn throws: the shard is not to be trusted then', async () => {
    const { shard, running } = await driven();
    const failed = expect(running).rejects.toThrow('broken');
    Object.defineProperty(shard.shard, 'turn', {
      value: () => {
        throw new Error('broken');
      },
    });
    await failed;
  });
});
