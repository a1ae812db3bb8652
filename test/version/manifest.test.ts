import { describe, expect, it } from 'vitest';
import { CorruptionError, IoError, NoSpaceError, ReadOnlyError } from '../../src/errors.js';
import { MemoryFileSystem, PowerLossError } from '../../src/file-system/memory.js';
import { Manifest, readCurrent, readManifest } from '../../src/version/manifest.js';
import { Version } from '../../src/version/version.js';
import { table } from './table.js';

function options(seed = 1) {
  const fs = new MemoryFileSystem(seed);
  fs.mkdir('/shard');
  fs.syncDirectory('/');
  return { fs, directory: '/shard', shard: 2 };
}

function reread(opened: ReturnType<typeof options>): Version {
  const number = readCurrent(opened);
  if (number === undefined) throw new Error('There is no manifest');
  return readManifest(opened, number).version;
}

const edit = (id: number) => ({
  added: [{ order: id, tables: [table(id, 'a', 'z')] }],
  lastSequence: id * 10,
});

describe('the manifest', () => {
  it('gives back the version that its edits make', () => {
    const opened = options();
    expect(readCurrent(opened)).toBeUndefined();
    const manifest = Manifest.create(opened, Version.EMPTY, 1);
    for (let id = 10; id < 20; id++) manifest.append(edit(id));
    manifest.append({ removed: [10, 11] });
    expect(reread(opened)).toEqual(manifest.version);
    expect(manifest.version.tableCount).toBe(8);
  });

  it('has every appended edit after power loss', () => {
    const opened = options();
    const manifest = Manifest.create(opened, Version.EMPTY, 1);
    const version = manifest.append(edit(10));
    opened.fs.crash('synced');
    expect(reread(opened)).toEqual(version);
  });

  it('cut off anywhere in the last frame is the version before it', () => {
    const opened = options();
    const manifest = Manifest.create(opened, Version.EMPTY, 1);
    const before = manifest.append(edit(10));
    const { bytes, path } = manifest;
    manifest.append(edit(11));
    for (let end = manifest.bytes - 1; end >= bytes; end--) {
      const file = opened.fs.open(path, 'r+');
      file.truncate(end);
      file.close();
      expect(reread(opened)).toEqual(before);
    }
  });

  it('damaged anywhere before the last frame is corruption', () => {
    const opened = options();
    const manifest = Manifest.create(opened, Version.EMPTY, 1);
    manifest.append(edit(10));
    const { bytes, path } = manifest;
    manifest.append(edit(11));
    for (let at = 0; at < bytes; at++) {
      opened.fs.corrupt(path, at, (byte) => byte ^ 0x10);
      expect(() => reread(opened), `byte ${at}`).toThrow(CorruptionError);
      opened.fs.corrupt(path, at, (byte) => byte ^ 0x10);
    }
    expect(reread(opened)).toEqual(manifest.version);
  });

  it('refuses a CURRENT that is damaged or names a manifest that is not there', () => {
    const opened = options();
    const manifest = Manifest.create(opened, Version.EMPTY, 1);
    for (let at = 0; at < 24; at++) {
      opened.fs.corrupt('/shard/CURRENT', at, (byte) => byte ^ 1);
      expect(() => readCurrent(opened)).toThrow(CorruptionError);
      opened.fs.corrupt('/shard/CURRENT', at, (byte) => byte ^ 1);
    }
    opened.fs.unlink(manifest.path);
    expect(() => reread(opened)).toThrow(CorruptionError);
  });

  it('goes on in a new file with the same version', () => {
    const opened = options();
    const manifest = Manifest.create(opened, Version.EMPTY, 1);
    manifest.append(edit(10));
    const old = manifest.roll(20);
    expect(old).toBe('/shard/0000000001.manifest');
    opened.fs.unlink(old);
    manifest.append(edit(21));
    opened.fs.crash('synced');
    expect(readCurrent(opened)).toBe(20);
    expect(reread(opened)).toEqual(manifest.version);
  });

  it('takes back an edit that does not fit on the disk, and takes edits again later', () => {
    const opened = options();
    const manifest = Manifest.create(opened, Version.EMPTY, 1);
    const before = manifest.version;
    opened.fs.failAt(1, 'ENOSPC');
    expect(() => manifest.append(edit(10))).toThrow(NoSpaceError);
    expect(reread(opened)).toEqual(before);
    manifest.append(edit(11));
    expect(reread(opened)).toEqual(manifest.version);
  });

  it('takes no more edits after a failed sync', () => {
    const opened = options();
    const manifest = Manifest.create(opened, Version.EMPTY, 1);
    opened.fs.failAt(2, 'EIO');
    expect(() => manifest.append(edit(10))).toThrow(IoError);
    expect(manifest.isPoisoned).toBe(true);
    expect(() => manifest.append(edit(11))).toThrow(ReadOnlyError);
  });

  it('stays with the old file when there is no room for a new one', () => {
    for (let k = 1; k <= 9; k++) {
      const opened = options(k);
      const manifest = Manifest.create(opened, Version.EMPTY, 1);
      manifest.append(edit(10));
      opened.fs.failAt(k, 'ENOSPC');
      try {
        manifest.roll(20);
      } catch {
        // Which call failed decides whether it goes on in the old file or not at all.
      }
      opened.fs.clearFaults();
      try {
        manifest.append(edit(11));
      } catch (error) {
        expect(error).toBeInstanceOf(ReadOnlyError);
      }
      opened.fs.crash('synced');
      expect(reread(opened).runs).toEqual(manifest.version.runs);
    }
  });

  it.each(['ENOSPC', 'EIO'])(
    'does not go on in the old file when CURRENT, after %s, cannot be read',
    (errno) => {
      for (let k = 1; k <= 9; k++) {
        const opened = options(k);
        const manifest = Manifest.create(opened, Version.EMPTY, 1);
        opened.fs.failAt(k, errno);
        opened.fs.failReads('CURRENT', 'EIO');
        try {
          manifest.roll(20);
        } catch {
          // What counts is what it takes afterwards.
        }
        opened.fs.clearFaults();
        try {
          manifest.append(edit(11));
        } catch (error) {
          expect(error).toBeInstanceOf(ReadOnlyError);
        }
        opened.fs.crash('all');
        expect(reread(opened).runs, `call ${k}`).toEqual(manifest.version.runs);
      }
    },
  );

  it('is whole whenever the power fails', () => {
    for (let k = 1; k < 40; k++) {
      const opened = options(k);
      let acknowledged = 0;
      opened.fs.crashAt(k);
      try {
        const manifest = Manifest.create(opened, Version.EMPTY, 1);
        for (let id = 10; id < 14; id++) {
          manifest.append(edit(id));
          acknowledged = id;
        }
        opened.fs.unlink(manifest.roll(20));
        manifest.append(edit(21));
        acknowledged = 21;
      } catch (error) {
        expect(error).toBeInstanceOf(PowerLossError);
      }
      opened.fs.crash('random');
      if (readCurrent(opened) === undefined) {
        expect(acknowledged).toBe(0);
        continue;
      }
      const orders = reread(opened).runs.map((run) => run.order);
      if (acknowledged > 0) expect(orders).toContain(acknowledged);
      // Nothing is there without all that came before it.
      expect([...orders].reverse()).toEqual([10, 11, 12, 13, 21].slice(0, orders.length));
    }
  });
});
