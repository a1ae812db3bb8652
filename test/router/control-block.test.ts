import { describe, expect, it } from 'vitest';
import {
  CLIENT_COUNT,
  ControlBlock,
  SEQUENCE_FIRST,
  SHARD_DOWN,
  SHARD_SERVING,
  SNAPSHOT_COUNT,
} from '../../src/router/control-block.js';

describe('sequence numbers', () => {
  it('are handed out once, in order, over all shards', () => {
    const control = ControlBlock.create(3);
    expect(control.allocateSequences(0, 1)).toBe(SEQUENCE_FIRST);
    expect(control.allocateSequences(1, 10)).toBe(SEQUENCE_FIRST + 1);
    expect(control.allocateSequences(2, 1)).toBe(SEQUENCE_FIRST + 11);
    expect(control.lastSequence()).toBe(SEQUENCE_FIRST + 11);
  });

  it('continue after what recovery has seen', () => {
    const control = ControlBlock.create(1);
    control.raiseSequence(1_000_000);
    control.raiseSequence(5);
    expect(control.allocateSequences(0, 2)).toBe(1_000_001);
    expect(control.stableSequence()).toBe(1_000_000);
  });

  it('are stable below everything that is under way', () => {
    const control = ControlBlock.create(2);
    const first = control.allocateSequences(0, 5);
    control.allocateSequences(1, 5);
    expect(control.stableSequence()).toBe(first - 1);
    control.sequencesApplied(1);
    expect(control.stableSequence()).toBe(first - 1);
    control.sequencesApplied(0);
    expect(control.stableSequence()).toBe(first + 9);
    expect(control.hasPendingSequences(0)).toBe(false);
  });

  it('stay stable when a slow shard publishes an old minimum', () => {
    const control = ControlBlock.create(2);
    control.allocateSequences(0, 10);
    control.sequencesApplied(0);
    const stable = control.stableSequence();
    // The first half of an allocation that began before the other one.
    const words = new BigInt64Array(control.buffer);
    const line = (1024 + CLIENT_COUNT * 128 + 128) >>> 3;
    words[line] = BigInt(SEQUENCE_FIRST);
    expect(control.hasPendingSequences(1)).toBe(true);
    expect(control.stableSequence()).toBe(stable);
    expect(control.acquireSnapshot(1)?.sequence).toBe(stable);
  });

  it('can be waited for', () => {
    const control = ControlBlock.create(1);
    const sequence = control.allocateSequences(0, 1);
    expect(control.waitStableSync(sequence, 5)).toBe(false);
    control.sequencesApplied(0);
    expect(control.waitStableSync(sequence, 5)).toBe(true);
  });
});

describe('time', () => {
  it('never stands still and never goes back', () => {
    const control = ControlBlock.create(1);
    expect(control.nextTimestamp(1000)).toBe(1000);
    expect(control.nextTimestamp(1000)).toBe(1001);
    expect(control.nextTimestamp(10)).toBe(1002);
    control.raiseTimestamp(5000);
    expect(control.nextTimestamp(2000)).toBe(5001);
    expect(control.lastTimestamp()).toBe(5001);
  });

  it('has epochs that only grow', () => {
    const control = ControlBlock.create(1);
    control.raiseEpoch(7);
    control.raiseEpoch(3);
    expect(control.epoch()).toBe(7);
  });
});

describe('snapshots', () => {
  it('take the stable sequence and are listed until they are released', () => {
    const control = ControlBlock.create(2);
    control.raiseSequence(500);
    const a = control.acquireSnapshot(1);
    control.allocateSequences(0, 1);
    const b = control.acquireSnapshot(2);
    control.sequencesApplied(0);
    const c = control.acquireSnapshot(1);
    expect([a?.sequence, b?.sequence, c?.sequence]).toEqual([500, 500, 501]);
    expect(control.liveSnapshots()).toEqual({ horizon: 501, snapshots: [500, 501] });
    expect(control.openSnapshots()).toMatchObject({ open: 3, oldest: 500 });
    control.releaseSnapshot(a?.slot as number);
    expect(control.liveSnapshots().snapshots).toEqual([500, 501]);
    control.releaseSnapshot(b?.slot as number);
    control.releaseSnapshot(c?.slot as number);
    expect(control.liveSnapshots()).toEqual({ horizon: 501, snapshots: [] });
  });

  it('that are just being taken keep everything', () => {
    const control = ControlBlock.create(1);
    control.raiseSequence(500);
    const taken = control.acquireSnapshot(3);
    const words = new BigInt64Array(control.buffer);
    const slots = (1024 + CLIENT_COUNT * 128 + 128) >>> 3;
    words[slots + (taken?.slot as number) * 4] = 3n;
    expect(control.liveSnapshots()).toEqual({ horizon: 0, snapshots: [] });
    control.releaseSnapshotsOf(2);
    expect(control.liveSnapshots().horizon).toBe(0);
    control.releaseSnapshotsOf(3);
    expect(control.liveSnapshots().horizon).toBe(500);
  });

  it('run out at their limit', () => {
    const control = ControlBlock.create(1);
    for (let i = 0; i < SNAPSHOT_COUNT; i++) expect(control.acquireSnapshot(5)).toBeDefined();
    expect(control.acquireSnapshot(5)).toBeUndefined();
    control.releaseSnapshotsOf(5);
    expect(control.openSnapshots().open).toBe(0);
  });
});

describe('clients', () => {
  it('claim slots, from 1 on, and give them back in two steps', () => {
    const control = ControlBlock.create(1);
    const slots = new Set<number>();
    for (let i = 1; i < CLIENT_COUNT; i++) slots.add(control.claimClient(100 + i));
    expect(slots.size).toBe(CLIENT_COUNT - 1);
    expect(slots.has(0)).toBe(false);
    expect(control.claimClient(1)).toBe(0);
    control.acquireSnapshot(7);
    expect(control.retireClient(7)).toBe(true);
    expect(control.retireClient(7)).toBe(false);
    expect(control.openSnapshots().open).toBe(0);
    expect(control.isClientActive(7)).toBe(false);
    expect(control.claimClient(1)).toBe(0);
    control.freeClient(7);
    expect(control.claimClient(0)).toBe(7);
    expect(control.activeClients().length).toBe(CLIENT_COUNT - 1);
  });

  it('are woken when a shard changes its state', async () => {
    const control = ControlBlock.create(2);
    const slot = control.claimClient(0);
    const { words, doorbell, waiting } = control.clientDoorbell(slot);
    Atomics.store(words, waiting, 1);
    const before = Atomics.load(words, doorbell);
    control.setShardState(1, SHARD_DOWN);
    expect(Atomics.load(words, doorbell)).toBe(before + 1);
    expect(control.shardState(1)).toBe(SHARD_DOWN);
    expect(control.nextShardGeneration(1)).toBe(1);
    control.setShardState(1, SHARD_SERVING);
    expect(control.shardGeneration(1)).toBe(1);
  });

  it('see the same block from anywhere', () => {
    const control = ControlBlock.create(4);
    const other = new ControlBlock(control.buffer);
    expect(other.shards).toBe(4);
    control.allocateSequences(2, 3);
    expect(other.lastSequence()).toBe(control.lastSequence());
    expect(() => new ControlBlock(new SharedArrayBuffer(64))).toThrow(/something else/);
  });
});
