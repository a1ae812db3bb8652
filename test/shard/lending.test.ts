/** Commits by a client while the shard is lent, in one thread: the shard "sleeps" when the test says so. */

import { describe, expect, it } from 'vitest';
import type { ResolvedConfig } from '../../src/config.js';
import { type FileHandle, type FileSystem, fileError } from '../../src/file-system/file-system.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import {
  H_LATCH,
  OP_PUT,
  RECORD_FLAG_MORE,
  RECORD_FLAG_SYNC,
  REQUEST_GET,
  REQUEST_PREPARE,
  REQUEST_WRITE,
} from '../../src/kernel/assembly/layout.js';
import { LATCH_LENDABLE, LATCH_OWNED } from '../../src/kernel/latch.js';
import { LENT_WRITING, LENT_WRITTEN, LentShard } from '../../src/kernel/lent-shard.js';
import {
  encodePrepareHead,
  newPrepareHead,
  PREPARE_ALONE,
  PREPARE_HEAD_BYTES,
  type PrepareHead,
} from '../../src/protocol/prepare.js';
import { ControlBlock } from '../../src/router/control-block.js';
import type { DirectCommit } from '../../src/router/direct-commit.js';
import { shardStats } from '../../src/shard/shard-stats.js';
import { del, encodeOperations, put, TestShard } from './harness.js';

const DIRECTORY = '/shard-000';

function emptyPlace() {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  return fs;
}

interface Lent {
  readonly fs: MemoryFileSystem;
  readonly shard: TestShard;
  readonly direct: DirectCommit;
}

async function lentShard(
  config: Partial<ResolvedConfig> = {},
  wrap: (fs: FileSystem) => FileSystem = (fs) => fs,
): Promise<Lent> {
  const fs = emptyPlace();
  const control = ControlBlock.create(1);
  // The client's slot has a thread.
  control.claimClient(7);
  const shard = await TestShard.open({ fs: wrap(fs), directory: DIRECTORY, config, control });
  return { fs, shard, direct: shard.directCommit(1) };
}

/** What recovery makes of the files as they are. */
async function recovered(fs: MemoryFileSystem): Promise<TestShard> {
  fs.crash('all');
  return TestShard.open({ fs, directory: DIRECTORY });
}

function latch({ kernel }: TestShard): number {
  return Atomics.load(kernel.i32, H_LATCH >>> 2);
}

/** A thread that stopped in the middle: it has the latch, and its slot is taken from it. */
function leaveDead(shard: TestShard, client: number): void {
  shard.control.retireClient(client);
  Atomics.store(shard.kernel.i32, H_LATCH >>> 2, 0x100 + client);
}

class Died extends Error {}

describe('a client that has borrowed the shard', () => {
  it('commits its requests one by one, in their order, with all that a commit brings about', async () => {
    const { shard, direct, fs } = await lentShard();
    const { client } = shard;
    await client.put('a', 'from the worker');
    const before = shardStats(shard.shard);
    const ids = [
      client.write([put('a', '1'), put('b', '1')]),
      client.write([put('a', '2')]),
      client.write([del('b')]),
    ];
    expect(client.commitDirect(direct)).toBe('all');
    const sequences = ids.map((id) => client.poll(id)?.payload.readDoubleLE(0) as number);
    expect(sequences).toEqual([
      before.lastSequence + 1,
      before.lastSequence + 2,
      before.lastSequence + 3,
    ]);
    const after = shardStats(shard.shard);
    expect(after.lastSequence).toBe(sequences[2]);
    expect(after.wal.directGroups - before.wal.directGroups).toBe(1);
    expect(after.wal.groups - before.wal.groups).toBe(1);
    expect(after.wal.commits - before.wal.commits).toBe(3);
    expect(after.wal.operations - before.wal.operations).toBe(4);
    const grown = after.wal.bytesWritten - before.wal.bytesWritten;
    expect(after.wal.bytes - before.wal.bytes).toBe(grown);
    expect(fs.fileSize(shard.shard.state.commit.wal?.path as string)).toBe(after.wal.bytes);
    expect(shard.control.hasPendingSequences(0)).toBe(false);
    expect([await client.get('a'), await client.get('b')]).toEqual(['2', undefined]);
    await client.put('c', 'from the worker');
    const again = await recovered(fs);
    expect(await again.client.getMany(['a', 'b', 'c'])).toEqual([
      '2',
      undefined,
      'from the worker',
    ]);
  });

  it('goes on from memtable to memtable and from segment to segment with the worker', async () => {
    const small = { arenaBytes: 64 * 1024, memtableBytes: 128 * 1024 };
    const { shard, direct, fs } = await lentShard(small);
    const { client } = shard;
    client.direct = direct;
    const state = new Map<string, string>();
    for (let i = 0; i < 600; i++) {
      const [key, value] = [`key-${(i * 37) % 101}`, `${i}:${'v'.repeat((i * 131) % 900)}`];
      await client.put(key, value);
      state.set(key, value);
    }
    await shard.settle();
    const { wal, flushes } = shardStats(shard.shard);
    expect(flushes.done).toBeGreaterThan(3);
    expect(wal.directGroups).toBeGreaterThan(500);
    expect(wal.directGroups).toBeLessThan(600);
    for (const [key, value] of state) expect(await client.get(key)).toBe(value);
    const again = await recovered(fs);
    for (const [key, value] of state) expect(await again.client.get(key)).toBe(value);
  });

  it.each([
    ['a read', REQUEST_GET, Buffer.concat([Buffer.alloc(8).fill(0), Buffer.from('a')]), 0],
    [
      'a write that is to be durable',
      REQUEST_WRITE,
      encodeOperations([put('b', '2')]),
      RECORD_FLAG_SYNC,
    ],
    ['a prepare', REQUEST_PREPARE, prepare({ slot: PREPARE_ALONE }), 0],
    ['a malformed write', REQUEST_WRITE, Buffer.from([OP_PUT, 200, 200, 1]), 0],
    ['a large write', REQUEST_WRITE, encodeOperations([put('b', 'v'.repeat(40_000))]), 0],
  ])('leaves %s and what follows it to the worker', async (_what, kind, payload, flags) => {
    const { shard, direct } = await lentShard();
    const { client } = shard;
    await client.put('a', '0');
    const first = client.write([put('a', '1')]);
    const other = client.send(kind, 1, payload, flags);
    const last = client.write([put('a', '3')]);
    expect(client.commitDirect(direct)).toBe('rest');
    expect(latch(shard)).toBe(LATCH_OWNED);
    expect(client.poll(first)).toBeDefined();
    expect([client.poll(other), client.poll(last)]).toEqual([undefined, undefined]);
    await client.wait(last);
    await client.wait(other).catch(() => undefined);
    expect(await client.get('a')).toBe('3');
  });

  it('leaves what may not fit the memtable to the worker', async () => {
    const { shard, direct } = await lentShard({ arenaBytes: 64 * 1024, memtableBytes: 128 * 1024 });
    const { client } = shard;
    const operations = Array.from({ length: 80 }, (_, i) => put(`key-${i}`, 'v'));
    const id = client.write(operations);
    expect(client.commitDirect(direct)).toBe('rest');
    await client.wait(id);
    expect(shardStats(shard.shard).wal.directGroups).toBe(0);
  });

  it('takes no requests of others', async () => {
    const { shard, direct } = await lentShard();
    const id = shard.client.write([put('a', '1')]);
    const other = shard.directCommit(2);
    expect(shard.client.commitDirect(other)).toBe('all');
    expect(shard.client.poll(id)).toBeUndefined();
    expect(shard.client.commitDirect(direct)).toBe('all');
    expect(shard.client.poll(id)).toBeDefined();
  });
});

describe('a shard is not lent', () => {
  it('in mode sync, and when that was not wanted', async () => {
    for (const config of [{ walSync: 'sync' as const }, { directCommits: false }]) {
      const { shard } = await lentShard(config);
      expect(shard.shard.lending.offer()).toBe(false);
    }
  });

  it('while a request has come in part only', async () => {
    const { shard } = await lentShard();
    shard.client.send(REQUEST_WRITE, 1, Buffer.alloc(8), RECORD_FLAG_MORE);
    shard.shard.turn();
    expect(shard.shard.lending.offer()).toBe(false);
  });

  it('while it holds what others have prepared', async () => {
    const { shard } = await lentShard();
    const { transactions } = shard.control;
    const slot = transactions.claim(1);
    const word = transactions.begin(slot, 1, 1, 0);
    shard.client.send(REQUEST_PREPARE, 1, prepare({ slot, word, id: 1 }));
    shard.shard.turn();
    expect(shard.shard.lending.offer()).toBe(false);
    // Also when nothing of its client is under way any more.
    shard.shard.releaseClient(1);
    expect(shard.shard.lending.offer()).toBe(false);
  });

  it('while writes are refused', async () => {
    const { shard } = await lentShard();
    shard.shard.state.becomeReadOnly(new Error('broken'));
    expect(shard.shard.lending.offer()).toBe(false);
  });

  it('once it is closed', async () => {
    const { shard } = await lentShard();
    await shard.shard.close();
    expect(shard.shard.lending.offer()).toBe(false);
  });
});

describe('a write of a borrower that fails', () => {
  it('for want of room is cut back and refused; the shard stays on offer', async () => {
    const { shard, direct, fs } = await lentShard();
    const { client } = shard;
    client.direct = direct;
    await client.put('a', '1');
    fs.failOnce(1, 'ENOSPC', 'write');
    await expect(client.put('a', '2')).rejects.toMatchObject({ code: 'LIGHTNING_NO_SPACE' });
    expect(shard.control.hasPendingSequences(0)).toBe(false);
    expect(await client.get('a')).toBe('1');
    const { commit } = shard.shard.state;
    expect(fs.fileSize(commit.wal?.path as string)).toBe(commit.wal?.bytes);
    await client.put('b', '3');
    expect(commit.lentGroups).toBe(2);
    const again = await recovered(fs);
    expect(await again.client.getMany(['a', 'b'])).toEqual(['1', '3']);
  });

  it('since the file may not grow goes on in another file', async () => {
    const { shard, direct, fs } = await lentShard();
    const { client } = shard;
    client.direct = direct;
    await client.put('a', '1');
    const segment = shard.shard.state.commit.wal?.segment as number;
    fs.failOnce(1, 'EFBIG', 'write');
    await expect(client.put('a', '2')).rejects.toMatchObject({ code: 'LIGHTNING_NO_SPACE' });
    await client.put('b', '3');
    expect(shard.shard.state.commit.wal?.segment).toBeGreaterThan(segment);
    const again = await recovered(fs);
    expect(await again.client.getMany(['a', 'b'])).toEqual(['1', '3']);
  });

  it('otherwise ends writing, and every barrier', async () => {
    const { shard, direct, fs } = await lentShard();
    const { client } = shard;
    client.direct = direct;
    await client.put('a', '1');
    fs.failOnce(1, 'EIO', 'write');
    const refused = client.put('a', '2');
    await expect(refused).rejects.toMatchObject({
      code: 'LIGHTNING_READ_ONLY',
      details: { outcome: 'unknown' },
    });
    expect(await client.get('a')).toBe('1');
    await expect(client.put('a', '3')).rejects.toMatchObject({ code: 'LIGHTNING_READ_ONLY' });
    expect(shard.shard.state.readOnlyReason?.message).toContain('EIO');
    await expect(shard.shard.syncLog()).rejects.toThrow();
  });

  it('to open its log leaves the write to the worker', async () => {
    const opening = { fails: false };
    const { shard, direct } = await lentShard({}, (fs) => {
      const open = fs.open.bind(fs);
      fs.open = (path, mode) => {
        if (opening.fails) throw fileError({ code: 'EMFILE' }, 'open', path);
        return open(path, mode);
      };
      return fs;
    });
    opening.fails = true;
    const id = shard.client.write([put('a', '1')]);
    expect(shard.client.commitDirect(direct)).toBe('rest');
    await shard.client.wait(id);
    expect(await shard.client.get('a')).toBe('1');
  });
});

describe('a borrower that dies', () => {
  const dying =
    (when: { dies: boolean }) =>
    (fs: FileSystem): FileSystem =>
      new Proxy(fs, {
        get: (target, name) => {
          if (name !== 'open') return Reflect.get(target, name).bind(target);
          return (...args: Parameters<FileSystem['open']>) => {
            const file = target.open(...args);
            const write = file.write.bind(file);
            file.write = (bytes, position) => {
              if (!when.dies) return write(bytes, position);
              write(bytes.subarray(0, bytes.length >> 1), position);
              throw new Died();
            };
            return file satisfies FileHandle;
          };
        },
      });

  it('while it writes leaves a log that is cut back, and no number pending', async () => {
    const when = { dies: false };
    const { shard, direct, fs } = await lentShard({}, dying(when));
    const { client } = shard;
    await client.put('a', '1');
    client.write([put('a', '2')]);
    expect(shard.shard.lending.offer()).toBe(true);
    when.dies = true;
    direct.commit({ committed: () => expect.unreachable(), failed: () => {} });
    when.dies = false;
    expect(new LentShard(shard.kernel).phase).toBe(LENT_WRITING);
    expect(shard.control.hasPendingSequences(0)).toBe(true);
    leaveDead(shard, 1);
    shard.shard.lending.takeBack();
    expect(shard.control.hasPendingSequences(0)).toBe(false);
    const { wal } = shard.shard.state.commit;
    expect(fs.fileSize(wal?.path as string)).toBe(wal?.bytes);
    expect(await client.get('a')).toBe('1');
    await client.put('b', '3');
    const again = await recovered(fs);
    expect(await again.client.getMany(['a', 'b'])).toEqual(['1', '3']);
  });

  it.each([
    ['before it applies', false],
    ['after it has applied', true],
  ])('%s what is in the log leaves it to be applied', async (_when, isApplied) => {
    const { shard, fs } = await lentShard();
    const { client, control } = shard;
    await client.put('a', '1');
    const kernel = shard.instantiate();
    const { groupApply } = kernel.exports;
    const exports = {
      ...kernel.exports,
      groupApply: () => {
        if (isApplied) groupApply();
        throw new Died();
      },
    };
    const direct = shard.directCommit(1, 0, Object.assign(Object.create(kernel), { exports }));
    client.write([put('a', '2'), put('b', '2'), put('b', '3')]);
    expect(shard.shard.lending.offer()).toBe(true);
    direct.commit({ committed: () => expect.unreachable(), failed: () => {} });
    expect(new LentShard(shard.kernel).phase).toBe(LENT_WRITTEN);
    leaveDead(shard, 1);
    expect(shard.shard.lending.takeBack()).toBe(true);
    expect(control.hasPendingSequences(0)).toBe(false);
    expect([await client.get('a'), await client.get('b')]).toEqual(['2', '3']);
    const { memtables, commit } = shard.shard.state;
    expect(commit.lastSequence).toBe(control.lastSequence());
    expect(memtables.keys(memtables.active)).toBe(2);
    await client.put('c', '4');
    const again = await recovered(fs);
    expect(await again.client.getMany(['a', 'b', 'c'])).toEqual(['2', '3', '4']);
  });

  it('before it has begun leaves everything as it was', async () => {
    const { shard } = await lentShard();
    expect(shard.shard.lending.offer()).toBe(true);
    expect(latch(shard)).toBe(LATCH_LENDABLE);
    leaveDead(shard, 1);
    expect(shard.shard.lending.takeBack()).toBe(false);
    expect(latch(shard)).toBe(LATCH_OWNED);
    await shard.client.put('a', '1');
  });
});

function prepare(head: Partial<PrepareHead>): Buffer {
  const bytes = Buffer.alloc(PREPARE_HEAD_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  encodePrepareHead({ ...newPrepareHead(), ...head }, view, 0);
  return Buffer.concat([bytes, encodeOperations([put('b', '2')])]);
}
