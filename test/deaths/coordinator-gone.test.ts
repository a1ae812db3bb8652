/** A database whose coordinator has died so often that it is not replaced any more. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { H_LATCH } from '../../src/kernel/assembly/layout.js';
import { LightningDb } from '../../src/lightning-db.js';
import { SHARD_FENCED } from '../../src/router/control-block.js';
import {
  stateOf,
  TRANSACTION_PREPARING,
  TRANSACTION_UNKNOWN,
} from '../../src/router/transaction-table.js';
import { eventually, message, REASON_OF_TEST, Scene, until } from './scene.js';

const outOfService = {
  code: 'LIGHTNING_SHARD_UNAVAILABLE',
  message: expect.stringContaining(REASON_OF_TEST),
};

let scene: Scene;
beforeEach(() => {
  scene = new Scene();
});
afterEach(() => scene.remove());

describe('a thread that dies while it has a shard', () => {
  /** It takes the latch of shard 0 as a client does that commits there, and ends. */
  const DIES = `
    const words = new Int32Array(data.memory.buffer);
    parentPort.postMessage('ready');
    Atomics.wait(data.go, 0, 0);
    // On offer: 1. Taken: 0x100 and the slot.
    while (Atomics.compareExchange(words, data.latch, 1, 0x100 + data.slot) !== 1);
    Atomics.store(data.go, 1, 1);
    process.exit(0);`;
  const WRITES = `
    parentPort.postMessage('ready');
    Atomics.wait(data.go, 0, 0);
    // Keeps the worker from parking: only one that blocks lends its shard.
    for (let i = 0; Atomics.load(data.go, 1) === 0; i++) await db.put(data.key, 'before ' + i);
    await db.put(data.key, 'after');
    Atomics.store(data.go, 2, 1);
    Atomics.notify(data.go, 2);
    await db.close();`;

  it('holds nobody up, though neither the coordinator nor the main thread notices', async () => {
    await scene.open();
    await scene.endCoordinator();
    const go = new Int32Array(new SharedArrayBuffer(12));
    const memory = scene.opened.supervisor.connections[0]?.memory;
    const key = scene.keyOf(0);
    const writer = scene.onThread(WRITES, { go, key });
    await message(writer);
    const slots = scene.control.activeClients();
    const slot = [1, 2, 3].find((free) => !slots.includes(free));
    const victim = scene.onThread(DIES, { go, memory, latch: H_LATCH >>> 2, slot });
    await message(victim);
    expect(scene.control.activeClients()).toContain(slot);
    const isOver = [writer, victim].map(
      (worker) => new Promise((resolve) => worker.once('exit', resolve)),
    );
    Atomics.store(go, 0, 1);
    Atomics.notify(go, 0);
    // This thread looks after nothing meanwhile.
    expect(Atomics.wait(go, 2, 0, 20_000)).not.toBe('timed-out');
    expect(scene.control.isClientActive(slot as number)).toBe(true);
    await Promise.all(isOver);
    expect(await scene.db.get(key)).toBe('after');
    await until(() => scene.control.activeClients().length === 1);
    await until(() => scene.control.retiredClients().length === 0);
  });
});

describe('without a coordinator', () => {
  it('slots, epochs and snapshots of threads that die are given back', async () => {
    await scene.open();
    await scene.db.put('a', '1');
    const early = scene.onThread(
      `db.snapshot(); parentPort.postMessage('ready'); setInterval(() => {}, 1000);`,
    );
    await message(early);
    const { control } = scene;
    for (let death = 0; death < 3; death++) await scene.killCoordinator();
    // Somebody has left, and the coordinator dies before it lets go of the slot.
    control.retireClient(control.claimClient(987_655));
    await scene.killCoordinator();
    const late = scene.onThread(
      `db.snapshot(); parentPort.postMessage('ready'); setInterval(() => {}, 1000);`,
    );
    await message(late);
    // A thread that died between claiming a slot and saying so.
    control.claimClient(987_654);
    const slots = control.activeClients().slice(1);
    const { shards } = scene.opened.session.client;
    for (const { kernel } of shards) for (const slot of slots) kernel.exports.readerEnter(slot);
    const epochs = shards.map(({ kernel }) => kernel.exports.retire());
    expect(control.openSnapshots().open).toBe(2);
    await Promise.all([early.terminate(), late.terminate()]);
    await until(() => control.activeClients().length === 1);
    await until(() => control.retiredClients().length === 0);
    expect(control.openSnapshots().open).toBe(0);
    const isPast = shards.map(({ kernel }, i) => kernel.exports.epochReached(epochs[i] as number));
    expect(isPast).toEqual([1, 1]);
  });

  it('threads join, ask, hear of shards that are restarted, and leave', async () => {
    await scene.open();
    const early = await LightningDb.attach(scene.db.share());
    await scene.endCoordinator();
    const late = await LightningDb.attach(scene.db.share());
    await early.put('a', 'to be flushed');
    for (const attached of [early, late]) {
      const stats = await attached.stats();
      expect(stats.background.fencedReason).toBe(REASON_OF_TEST);
      expect(stats.shards).toHaveLength(2);
      await expect(attached.flush()).rejects.toMatchObject(outOfService);
    }
    const key = scene.keyOf(0);
    await early.put(key, '1');
    await scene.engine.kill('shard 0', 'throw');
    await eventually(() => early.put(key, '2'));
    expect(await eventually(() => late.get(key))).toBe('2');
    await expect(late.flush()).rejects.toMatchObject(outOfService);
    await early.close();
    await late.close();
    await until(() => scene.control.activeClients().length === 1);
  });

  it('writes go on until memory is full, then they are refused with the reason; none is lost', async () => {
    await scene.open({ memtableSize: 256 * 1024 });
    await scene.endCoordinator();
    const told = new Map<string, string>();
    let refusal: unknown;
    for (let n = 0; refusal === undefined; n++) {
      const value = `${n} ${'v'.repeat(1000)}`;
      await scene.db.put(scene.keyOf(0, n), value).then(
        () => told.set(scene.keyOf(0, n), value),
        (error: unknown) => {
          refusal = error;
        },
      );
    }
    expect(refusal).toMatchObject(outOfService);
    expect(told.size).toBeGreaterThan(100);
    await scene.db.put(scene.keyOf(1), 'has room');
    for (const [key, value] of told) expect(scene.db.getSync(key) === value).toBe(true);
    await scene.db.close();
    await scene.open();
    for (const [key, value] of told) expect(scene.db.getSync(key) === value).toBe(true);
    expect(scene.db.getSync(scene.keyOf(1))).toBe('has room');
    await scene.useAll('again');
  });

  it('no write is taken that would have to be durable after an interval, or is to be now', async () => {
    await scene.open({ walSyncMode: { periodic: { intervalMs: 5 } } });
    await scene.db.put('a', '1');
    await scene.endCoordinator();
    await until(() => scene.control.shardState(0) !== 1 && scene.control.shardState(1) !== 1);
    await expect(scene.db.put(scene.keyOf(0), 'x')).rejects.toMatchObject({
      code: 'LIGHTNING_READ_ONLY',
      message: expect.stringContaining(REASON_OF_TEST),
    });
    expect(scene.db.getSync('a')).toBe('1');
    await scene.db.close();
    await scene.open();
    await expect(scene.db.put('a', '2', { sync: true })).resolves.not.toThrow();
    await scene.endCoordinator();
    await expect(scene.db.put('a', '3', { sync: true })).rejects.toMatchObject({
      details: { outcome: 'unknown' },
      message: expect.stringContaining(REASON_OF_TEST),
    });
  });

  it('a commit that was not decided is aborted, and its keys are free', async () => {
    await scene.open();
    const { transactions } = scene.control;
    const slot = transactions.claim(1);
    const word = transactions.begin(slot, 2 ** 40, 3, 0);
    expect(stateOf(transactions.word(slot))).toBe(TRANSACTION_PREPARING);
    await scene.endCoordinator();
    await until(() => stateOf(transactions.word(slot)) !== TRANSACTION_PREPARING);
    expect(transactions.word(slot)).not.toBe(word);
    scene.db.snapshot().close();
    await scene.db.put(scene.keyOf(0), '1');
  });

  it('one whose decision may be in the log stays unknown, and no shard writes behind it', async () => {
    await scene.open();
    await scene.db.put(scene.keyOf(0), 'before');
    const { control } = scene;
    const { transactions } = control;
    for (let death = 0; death < 3; death++) await scene.killCoordinator();
    const slot = transactions.claim(1);
    const word = transactions.begin(slot, 2 ** 40, 3, 0);
    transactions.setSequence(slot, control.allocateDecisions(1), control.nextTimestamp(0));
    expect(transactions.decide(slot, word)).toBe(true);
    await scene.engine.kill('coordinator', 'throw');
    await until(() => stateOf(transactions.word(slot)) === TRANSACTION_UNKNOWN);
    // Its number holds up no snapshot.
    scene.db.snapshot().close();
    // The shards hear of it a moment later.
    let refusal: unknown;
    while (refusal === undefined) {
      refusal = await eventually(() => scene.db.put(scene.keyOf(0), 'behind')).catch((it) => it);
    }
    expect(refusal).toMatchObject({ code: 'LIGHTNING_READ_ONLY' });
    expect(['before', 'behind']).toContain(scene.db.getSync(scene.keyOf(0)));
  });
});

describe('a shard whose worker dies while a commit of its is unknown', () => {
  it('stays away: its requests are refused with the reason, the others are served', async () => {
    await scene.open();
    const key = scene.keyOf(0);
    await scene.db.put(key, 'before');
    await scene.db.put(scene.keyOf(1), 'before');
    const { control } = scene;
    const { transactions } = control;
    // As the coordinator leaves it whose write of the decision failed.
    const slot = transactions.claim(1);
    const word = transactions.begin(slot, 2 ** 40, 1, 0);
    transactions.setSequence(slot, control.lastSequence(), 0);
    expect(transactions.decide(slot, word)).toBe(true);
    transactions.doubt(slot, word);
    const pending = scene.db.put(key, 'under way').catch((error: unknown) => error);
    await scene.engine.kill('shard 0', 'throw');
    await pending;
    await until(() => control.shardState(0) === SHARD_FENCED);
    const away = {
      code: 'LIGHTNING_SHARD_UNAVAILABLE',
      message: expect.stringContaining('A decision that the shard needs was not completed'),
    };
    await expect(scene.db.put(key, 'x')).rejects.toMatchObject(away);
    await expect(scene.writeBoth(1, 'x')).rejects.toMatchObject({ code: away.code });
    expect((await scene.db.stats()).shards[0]?.fencedReason).toMatch(/reopen the database/);
    expect(await scene.db.get(scene.keyOf(1))).toBe('before');
    await scene.db.close();
    await scene.open();
    expect(['before', 'under way']).toContain(scene.db.getSync(key));
  });
});
