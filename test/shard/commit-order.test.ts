/** A shard applies commits in the order of their numbers, whatever is decided meanwhile. */

import { describe, expect, it } from 'vitest';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { ControlBlock } from '../../src/router/control-block.js';
import { createPlace, LocalDatabase } from '../durability/local-database.js';
import { put, TestClient, testConfig } from './harness.js';

/** Does something right after a shard has taken numbers: before its group is written, or applied. */
class HookedControl extends ControlBlock {
  onAllocated: (() => void) | undefined;

  override allocateSequences(shard: number, count: number): number {
    const first = super.allocateSequences(shard, count);
    const hook = this.onAllocated;
    this.onAllocated = undefined;
    hook?.();
    return first;
  }
}

/** Room in the memtable when the commits come; the decided one takes more. */
const ROOM_BYTES = 20_000;

/** A plain write gets its number, then a batch is decided; both write "key" on shard 0. */
async function meet(batchBytes: number) {
  const fs = new MemoryFileSystem(3);
  createPlace(fs, 2);
  const config = testConfig({ shards: 2, walSync: 'async' });
  let control: HookedControl | undefined;
  const plant = {
    name: 'a hook',
    control: ({ buffer }: ControlBlock) => {
      control = new HookedControl(buffer);
      return control;
    },
  };
  const db = await LocalDatabase.open({ fs, config, plant });
  const { shard, kernel, client } = db.shard(0);
  const { memtables } = shard.state;
  const filler = Array.from({ length: Math.ceil(batchBytes / 1000) }, (_, i) =>
    put(`more-${i}`, 'm'.repeat(1000)),
  );
  const { requests } = db.commitTogether([
    { shard: 0, operations: [put('key', 'decided'), ...filler] },
    { shard: 1, operations: [put('other', 'decided')] },
  ]);
  // The shards vote; nobody decides.
  for (let turn = 0; turn < 10; turn++) {
    client.poll(0);
    for (const one of db.shards) one.shard.turn();
  }
  const stranger = new TestClient(shard, kernel, 2);
  stranger.turnsMax = 1000;
  for (let i = 0; memtables.bytesFree(memtables.active) > ROOM_BYTES; i++) {
    await stranger.put(`fill-${i}`, 'f'.repeat(5000));
  }
  const { active } = memtables;
  if (control !== undefined) control.onAllocated = () => db.decide();
  const plain = await stranger.put('key', 'plain');
  const decided = await Promise.all(requests.map(({ shard, id }) => db.wait(shard, id, 1000)));
  return { db, fs, config, plain, decided, isSwitched: memtables.active !== active };
}

describe('a commit that is decided after a plain write has its number', () => {
  it.each([
    ['small', 25_000],
    ['in pieces', 300_000],
  ])(
    'is applied after it, also when the memtable is full between the two (%s)',
    async (_, bytes) => {
      const { db, fs, config, plain, decided, isSwitched } = await meet(bytes);
      expect(isSwitched).toBe(true);
      expect(decided).toEqual([plain + 1, plain + 1]);
      expect(await db.shard(0).client.get('key')).toBe('decided');
      expect(await db.shard(0).client.get('key', plain)).toBe('plain');
      await db.abandon();
      fs.crash('all');
      const again = await LocalDatabase.open({ fs, config });
      expect(await again.shard(0).client.get('key')).toBe('decided');
      await again.close();
    },
  );
});
