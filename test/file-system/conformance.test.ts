/** What every file system must do, checked on the node one and the one in memory. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { IoError } from '../../src/errors.js';
import { type FileSystem, isNotFound, replaceFile } from '../../src/file-system/file-system.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { nodeFileSystem } from '../../src/file-system/node.js';

const root = mkdtempSync(join(tmpdir(), 'lightning-files-'));
afterAll(() => rmSync(root, { recursive: true }));

const memory = new MemoryFileSystem();
memory.mkdir('/root');

const implementations: [name: string, fs: FileSystem, root: string][] = [
  ['node', nodeFileSystem, root],
  ['memory', memory, '/root'],
];

function errorOf(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  throw new Error('Nothing was thrown');
}

describe.each(implementations)('%s file system', (_name, fs, directory) => {
  it('reads back what was written, at any position, and reports the end of the file', () => {
    const file = fs.open(`${directory}/positions`, 'create');
    file.write(Buffer.from('world'), 6);
    file.write(Buffer.from('hello '), 0);
    const bytes = Buffer.alloc(20);
    expect(file.read(bytes, 0)).toBe(11);
    expect(bytes.toString('latin1', 0, 11)).toBe('hello world');
    expect(file.read(bytes, 8)).toBe(3);
    expect(file.read(bytes, 11)).toBe(0);
    expect(file.read(bytes, 100)).toBe(0);
    expect(file.size()).toBe(11);
    file.datasync();
    file.sync();
    file.close();
    file.close();
    expect(fs.fileSize(`${directory}/positions`)).toBe(11);
  });

  it('syncs later, also when the file is closed meanwhile', async () => {
    const file = fs.open(`${directory}/later`, 'create');
    file.write(Buffer.from('later'), 0);
    const synced = [file.datasyncLater(), file.datasyncLater()];
    file.close();
    await Promise.all(synced);
    expect(errorOf(() => file.write(Buffer.from('x'), 0))).toBeInstanceOf(IoError);
    expect(fs.readFile(`${directory}/later`).toString()).toBe('later');
  });

  it('a hole reads as zeros', () => {
    const file = fs.open(`${directory}/hole`, 'create');
    file.write(Buffer.from('x'), 3);
    file.close();
    expect([...fs.readFile(`${directory}/hole`)]).toEqual([0, 0, 0, 120]);
  });

  it('writes from shared memory and reads into it', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(8));
    shared.set([1, 2, 3, 4]);
    const file = fs.open(`${directory}/shared`, 'create');
    file.write(shared.subarray(0, 4), 0);
    shared.fill(9);
    expect(file.read(shared.subarray(4), 0)).toBe(4);
    expect([...shared]).toEqual([9, 9, 9, 9, 1, 2, 3, 4]);
    file.close();
  });

  it('"create" empties a file, "append" and "r+" keep it, "r" refuses writes', () => {
    const path = `${directory}/modes`;
    replaceFile(fs, directory, 'modes', Buffer.from('abc'));
    const append = fs.open(path, 'append');
    append.write(Buffer.from('d'), append.size());
    append.close();
    const edit = fs.open(path, 'r+');
    edit.write(Buffer.from('A'), 0);
    edit.truncate(3);
    edit.close();
    expect(fs.readFile(path).toString()).toBe('Abc');
    const read = fs.open(path, 'r');
    expect(errorOf(() => read.write(Buffer.from('x'), 0))).toBeInstanceOf(IoError);
    read.close();
    fs.open(path, 'create').close();
    expect(fs.fileSize(path)).toBe(0);
    fs.open(`${directory}/made by append`, 'append').close();
    expect(fs.exists(`${directory}/made by append`)).toBe(true);
  });

  it('lists, renames over, links and removes names', () => {
    const path = `${directory}/names`;
    expect(fs.mkdir(path)).toBe(true);
    expect(fs.mkdir(path)).toBe(false);
    replaceFile(fs, path, 'b', Buffer.from('1'));
    replaceFile(fs, path, 'a', Buffer.from('2'));
    expect(fs.readdir(path)).toEqual(['a', 'b']);
    fs.rename(`${path}/a`, `${path}/b`);
    expect(fs.readdir(path)).toEqual(['b']);
    expect(fs.readFile(`${path}/b`).toString()).toBe('2');
    fs.link(`${path}/b`, `${path}/c`);
    fs.unlink(`${path}/b`);
    expect(fs.readFile(`${path}/c`).toString()).toBe('2');
    expect(fs.exists(`${path}/b`)).toBe(false);
    expect(errorOf(() => fs.link(`${path}/c`, `${path}/c`))).toBeInstanceOf(IoError);
    fs.syncDirectory(path);
  });

  it('an error names the path, the call and the reason', () => {
    const path = `${directory}/missing`;
    for (const call of [
      () => fs.open(path, 'r'),
      () => fs.readFile(path),
      () => fs.unlink(path),
      () => fs.rename(path, `${path}2`),
      () => fs.readdir(path),
      () => fs.fileSize(path),
      () => fs.open(`${path}/below`, 'create'),
      () => fs.mkdir(`${path}/below`),
    ]) {
      const error = errorOf(call);
      expect(error).toBeInstanceOf(IoError);
      expect(isNotFound(error)).toBe(true);
      expect(String(error)).toContain(path);
    }
    expect((errorOf(() => fs.open(path, 'r')) as IoError).details).toEqual({
      path,
      syscall: 'open',
      errno: 'ENOENT',
    });
    replaceFile(fs, directory, 'a file', Buffer.alloc(0));
    expect(errorOf(() => fs.mkdir(`${directory}/a file`))).toBeInstanceOf(IoError);
  });
});

describe('node file system', () => {
  it('does not take what cannot be looked at for missing', () => {
    expect(nodeFileSystem.exists(`${root}/nothing`)).toBe(false);
    expect(nodeFileSystem.exists(`${root}/nothing/in/nothing`)).toBe(false);
    nodeFileSystem.open(`${root}/file`, 'create').close();
    expect(nodeFileSystem.exists(`${root}/file`)).toBe(true);
    expect(nodeFileSystem.exists(`${root}/file/below`)).toBe(false);
    // Refused by every system, whoever asks.
    expect(errorOf(() => nodeFileSystem.exists(`${root}/${'x'.repeat(5000)}`))).toBeInstanceOf(
      IoError,
    );
  });
});
