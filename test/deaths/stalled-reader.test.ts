/**
 * A thread that stays inside a read, as one does that a debugger stops there: what it may be looking at is
 * kept, nobody else waits for it, and memory is given back when it goes on, or dies.
 */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LightningError } from '../../src/errors.js';
import { eventually, message, Scene } from './scene.js';

let scene: Scene;
beforeEach(async () => {
  scene = new Scene();
  await scene.open({ memtableSize: 256 * 1024, cacheSize: 8 << 20 });
});
afterEach(() => scene.remove());

const value = (n: number): string => `${n} ${'v'.repeat(1000)}`;
const key = (n: number): string => `key-${String(n).padStart(6, '0')}`;

/** Another thread enters a read on every shard, and stays there until it goes on or is ended. */
async function stall() {
  const before = scene.control.activeClients();
  const thread = scene.onThread(`parentPort.postMessage('ready'); setInterval(() => {}, 1000);`);
  await message(thread);
  const slot = scene.control.activeClients().find((client) => !before.includes(client)) as number;
  const kernels = scene.opened.session.client.shards.map(({ kernel }) => kernel);
  for (const { exports } of kernels) exports.readerEnter(slot);
  const goOn = (): void => {
    for (const { exports } of kernels) exports.readerLeave(slot);
  };
  return { slot, goOn, end: () => thread.terminate() };
}

/** Writes until it is refused; returns how many were not, and why. */
async function fill(from: number): Promise<{ end: number; refusal: LightningError }> {
  for (let end = from; ; end++) {
    try {
      await scene.db.put(key(end), value(end));
    } catch (error) {
      return { end, refusal: error as LightningError };
    }
    if (end > from + 50_000) throw new Error('Never refused');
  }
}

describe('a thread that stays inside a read', () => {
  it('keeps nobody from reading keys; scans that need more cache are refused with the reason', async () => {
    const count = 10_000;
    for (let n = 0; n < count; n += 500) {
      const batch = scene.db.batch();
      for (let i = n; i < n + 500; i++) batch.put(key(i), value(i));
      await batch.write();
    }
    await scene.db.compact();
    const { goOn, slot } = await stall();
    const isRight = async (n: number): Promise<boolean> =>
      scene.db.getSync(key(n)) === value(n) && (await scene.db.get(key(n + 1))) === value(n + 1);
    for (let n = 0; n < count; n += 7) expect(await isRight(n)).toBe(true);
    const refusal = {
      code: 'LIGHTNING_LIMIT_EXCEEDED',
      message: expect.stringContaining('inside a read'),
      details: expect.objectContaining({ client: slot }),
    };
    await expect(scene.db.scan().toArray()).rejects.toMatchObject(refusal);
    expect(() => [...scene.db.scanSync()]).toThrow(expect.objectContaining(refusal));
    for (let n = 0; n < count; n += 70) expect(await isRight(n)).toBe(true);
    goOn();
    const entries = await scene.db.scan().toArray();
    expect(entries.every(([k, v], n) => k === key(n) && v === value(n))).toBe(true);
    expect(entries.length).toBe(count);
  });

  it('has writes refused with the reason once memory is full, until it goes on', async () => {
    const { goOn, slot } = await stall();
    const { end, refusal } = await fill(0);
    expect(end).toBeGreaterThan(100);
    expect(refusal.code).toBe('LIGHTNING_LIMIT_EXCEEDED');
    expect(refusal.message).toMatch(/inside a read/);
    expect(refusal.details).toMatchObject({ client: slot });
    await expect(scene.db.flush()).rejects.toMatchObject({ code: 'LIGHTNING_LIMIT_EXCEEDED' });
    for (let n = 0; n < end; n += 17) expect(scene.db.getSync(key(n)) === value(n)).toBe(true);
    goOn();
    await eventually(() => scene.db.put('later', '1'), 'LIGHTNING_LIMIT_EXCEEDED');
    await scene.db.flush();
    for (let n = end; n < 3 * end; n++) await scene.db.put(key(n), value(n));
    for (let n = 0; n < 3 * end; n += 17) expect(scene.db.getSync(key(n)) === value(n)).toBe(true);
  });

  it('and dies: memory is given back', async () => {
    const { slot, end: endThread } = await stall();
    const { end } = await fill(0);
    await endThread();
    await eventually(() => scene.db.put('later', '1'), 'LIGHTNING_LIMIT_EXCEEDED');
    expect(scene.control.isClientActive(slot)).toBe(false);
    for (let n = end; n < 3 * end; n++) await scene.db.put(key(n), value(n));
  });

  it('is no scan whose consumer is stopped: it holds up nothing', async () => {
    for (let n = 0; n < 1000; n++) await scene.db.put(key(n), value(n));
    const go = new Int32Array(new SharedArrayBuffer(4));
    const thread = scene.onThread(
      `const seen = [];
      for await (const [key] of db.scan()) {
        if (seen.push(key) !== 10) continue;
        parentPort.postMessage('stopped');
        Atomics.wait(data.go, 0, 0);
      }
      parentPort.postMessage(seen.length);
      await db.close();`,
      { go },
    );
    await message(thread);
    for (let n = 1000; n < 4000; n++) await scene.db.put(key(n), value(n));
    await scene.db.compact();
    expect((await scene.db.scan().toArray()).length).toBe(4000);
    Atomics.store(go, 0, 1);
    Atomics.notify(go, 0);
    expect(await message(thread)).toBe(1000);
  });

  it('does not hold up a close', async () => {
    await stall();
    const { end } = await fill(0);
    await scene.db.close();
    await scene.open();
    for (let n = 0; n < end; n += 17) expect(scene.db.getSync(key(n)) === value(n)).toBe(true);
  });
});
