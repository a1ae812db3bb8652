/** Tables that the medium takes while more of them is made. */

import { describe, expect, it } from 'vitest';
import type { FileHandle, FileSystem } from '../../src/file-system/file-system.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import type { TableInfo } from '../../src/sstable/table-info.js';
import { TableWriter } from '../../src/sstable/table-writer.js';
import { jobKernel, OP_PUT } from './table-model.js';

const MIB = 1024 * 1024;
const REGION = 65536;
const DIRECTORY = '/db';

const kernel = jobKernel();

interface Sync {
  readonly path: string;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Every sync waits for the test. */
function heldSyncs(): { fs: FileSystem; inner: MemoryFileSystem; syncs: Sync[] } {
  const inner = new MemoryFileSystem();
  inner.mkdir(DIRECTORY);
  const syncs: Sync[] = [];
  const held = (file: FileHandle): FileHandle => ({
    path: file.path,
    read: (target, position) => file.read(target, position),
    write: (bytes, position) => file.write(bytes, position),
    datasync: () => {
      throw new Error('the thread waits');
    },
    datasyncLater: () =>
      new Promise((resolve, reject) => {
        syncs.push({ path: file.path, resolve, reject });
      }),
    sync: () => file.sync(),
    truncate: (bytes) => file.truncate(bytes),
    size: () => file.size(),
    close: () => file.close(),
  });
  const fs: FileSystem = new Proxy(inner, {
    get(target, name) {
      if (name === 'open') {
        return (...args: Parameters<FileSystem['open']>) => held(target.open(...args));
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  return { fs, inner, syncs };
}

/** Builds tables of 4 MiB out of 10 MiB that do not compress. */
function writerOf(fs: FileSystem): TableWriter {
  const writer = new TableWriter(
    fs,
    kernel,
    { address: REGION, bytes: 32 * MIB },
    {
      directory: DIRECTORY,
      firstTableId: 1,
      tableIds: 9,
      tableBytesMax: 4 * MIB,
      blockBytes: 4096,
      compression: false,
      filterBitsPerKey: 10,
      syncBehindBytes: 2 * MIB,
    },
  );
  const at = REGION + 40 * MIB;
  for (let i = 0; i < 10_000; i++) {
    kernel.bytes.write(String(i).padStart(10, '0'), at, 'latin1');
    writer.run(() => kernel.exports.builderAdd(at, 10, OP_PUT, 1, at + 10, 1024));
  }
  return writer;
}

const named = (fs: MemoryFileSystem): string[] =>
  fs.readdir(DIRECTORY).filter((name) => name.endsWith('.table'));

describe('tables whose syncs are not waited for', () => {
  it('have their names when all of them are on the medium, and not before', async () => {
    const { fs, inner, syncs } = heldSyncs();
    const finished = writerOf(fs).finishLater();
    let tables: TableInfo[] | undefined;
    void finished.then((all) => {
      tables = all;
    });
    // Of each table what was written so far, and what is left.
    expect(new Set(syncs.map(({ path }) => path)).size).toBe(3);
    expect(syncs.length).toBeGreaterThan(5);
    const last = syncs.pop() as Sync;
    for (const { resolve } of syncs) resolve();
    await new Promise((resolve) => setImmediate(resolve));
    expect(named(inner)).toEqual([]);
    expect(tables).toBeUndefined();
    last.resolve();
    const all = await finished;
    expect(all.map(({ id }) => id)).toEqual([1, 2, 3]);
    expect(all.reduce((sum, { entries }) => sum + entries, 0)).toBe(10_000);
    expect(named(inner)).toHaveLength(3);
  });

  it('are worth nothing when one of the syncs fails, also one in the middle', async () => {
    const { fs, inner, syncs } = heldSyncs();
    const writer = writerOf(fs);
    const finished = writer.finishLater();
    for (const [i, { resolve, reject }] of syncs.entries()) {
      if (i === 2) reject(new Error('the medium is gone'));
      else resolve();
    }
    await expect(finished).rejects.toThrow('the medium is gone');
    expect(named(inner)).toEqual([]);
    writer.abort();
    expect(inner.readdir(DIRECTORY)).toEqual([]);
  });
});
