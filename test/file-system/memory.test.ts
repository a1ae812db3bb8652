import { describe, expect, it } from 'vitest';
import { IoError, NoSpaceError } from '../../src/errors.js';
import { replaceFile } from '../../src/file-system/file-system.js';
import { MemoryFileSystem, PowerLossError } from '../../src/file-system/memory.js';

const text = (fs: MemoryFileSystem, path: string): string => fs.readFile(path).toString();

describe('a crash', () => {
  it('drops writes and names that were not synced', () => {
    const fs = new MemoryFileSystem();
    const file = fs.open('/a', 'create');
    file.write(Buffer.from('one'), 0);
    file.datasync();
    fs.syncDirectory('/');
    file.write(Buffer.from('two'), 3);
    fs.open('/b', 'create').close();
    fs.crash('synced');
    expect(text(fs, '/a')).toBe('one');
    expect(fs.readdir('/')).toEqual(['a']);
  });

  it('drops a file whose contents were synced but whose name was not', () => {
    const fs = new MemoryFileSystem();
    const file = fs.open('/a', 'create');
    file.write(Buffer.from('one'), 0);
    file.sync();
    fs.crash('synced');
    expect(fs.exists('/a')).toBe(false);
  });

  it('brings back a name whose removal was not synced', () => {
    const fs = new MemoryFileSystem();
    replaceFile(fs, '/', 'a', Buffer.from('one'));
    fs.unlink('/a');
    fs.crash('synced');
    expect(text(fs, '/a')).toBe('one');
  });

  it('loses what code left behind that forgets to sync the directory, and nothing else', () => {
    /** As `replaceFile`, with one step left out. */
    const replaceCarelessly = (fs: MemoryFileSystem, name: string, contents: string): void => {
      const file = fs.open(`/${name}.tmp`, 'create');
      file.write(Buffer.from(contents), 0);
      file.datasync();
      file.close();
      fs.rename(`/${name}.tmp`, `/${name}`);
    };
    const fs = new MemoryFileSystem();
    replaceFile(fs, '/', 'kept', Buffer.from('old'));
    replaceCarelessly(fs, 'kept', 'new');
    replaceCarelessly(fs, 'lost', 'new');
    expect([text(fs, '/kept'), text(fs, '/lost')]).toEqual(['new', 'new']);
    fs.crash('synced');
    expect(text(fs, '/kept')).toBe('old');
    expect(fs.readdir('/')).toEqual(['kept']);
    replaceFile(fs, '/', 'kept', Buffer.from('new'));
    replaceFile(fs, '/', 'lost', Buffer.from('new'));
    fs.crash('synced');
    expect([text(fs, '/kept'), text(fs, '/lost')]).toEqual(['new', 'new']);
  });

  it('loses a file moved to another directory when only one of them was synced', () => {
    for (const synced of ['/from', '/to']) {
      const fs = new MemoryFileSystem();
      for (const path of ['/from', '/to']) fs.mkdir(path);
      fs.syncDirectory('/');
      replaceFile(fs, '/from', 'a', Buffer.from('one'));
      fs.rename('/from/a', '/to/a');
      fs.syncDirectory(synced);
      fs.crash('synced');
      // Not synced where it went: nowhere. Not synced where it came from: in both places.
      expect([fs.exists('/from/a'), fs.exists('/to/a')]).toEqual(
        synced === '/from' ? [false, false] : [true, true],
      );
    }
  });

  it('of the process alone loses nothing', () => {
    const fs = new MemoryFileSystem();
    const file = fs.open('/a', 'create');
    file.write(Buffer.from('one'), 0);
    fs.crash('all');
    expect(text(fs, '/a')).toBe('one');
  });

  it('kills the handles from before it', () => {
    const fs = new MemoryFileSystem();
    const file = fs.open('/a', 'create');
    fs.crash('all');
    expect(() => file.write(Buffer.from('x'), 0)).toThrow(IoError);
  });

  it('in mode random keeps whole replacements or none, never half of a rename', () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 50; seed++) {
      const fs = new MemoryFileSystem(seed);
      replaceFile(fs, '/', 'a', Buffer.from('old'));
      const file = fs.open('/a.tmp', 'create');
      file.write(Buffer.from('new'), 0);
      file.datasync();
      fs.rename('/a.tmp', '/a');
      fs.crash('random');
      seen.add(text(fs, '/a'));
    }
    expect([...seen].sort()).toEqual(['new', 'old']);
  });

  it('in mode random may keep a later write and lose an earlier one', () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 100; seed++) {
      const fs = new MemoryFileSystem(seed);
      const file = fs.open('/a', 'create');
      file.sync();
      fs.syncDirectory('/');
      file.write(Buffer.from('1'), 0);
      file.write(Buffer.from('2'), 1);
      fs.crash('random');
      seen.add(text(fs, '/a'));
    }
    expect(seen).toContain('\u00002');
    expect(seen).toContain('12');
    expect(seen).toContain('');
  });
});

describe('a planned fault', () => {
  it('refuses the k-th mutating call and only that one', () => {
    const fs = new MemoryFileSystem();
    const file = fs.open('/a', 'create');
    fs.failAt(2, 'ENOSPC');
    file.write(Buffer.from('one'), 0);
    expect(() => file.write(Buffer.from('two'), 3)).toThrow(NoSpaceError);
    file.write(Buffer.from('two'), 3);
    expect(text(fs, '/a')).toBe('onetwo');
    fs.failAt(1, 'EIO');
    expect(() => file.datasync()).toThrow(IoError);
  });

  it('of the sync of a directory loses its names, however often it is synced again', () => {
    const fs = new MemoryFileSystem();
    replaceFile(fs, '/', 'a', Buffer.from('old'));
    const file = fs.open('/a.tmp', 'create');
    file.write(Buffer.from('new'), 0);
    file.datasync();
    fs.rename('/a.tmp', '/a');
    fs.failAt(1, 'EIO');
    expect(() => fs.syncDirectory('/')).toThrow(IoError);
    expect(text(fs, '/a')).toBe('new');
    fs.open('/later', 'create').close();
    fs.syncDirectory('/');
    fs.crash('synced');
    expect(text(fs, '/a')).toBe('old');
    expect(fs.readdir('/')).toEqual(['a', 'later']);
  });

  it('of reads hits the paths, and the places, that were named', () => {
    const fs = new MemoryFileSystem();
    replaceFile(fs, '/', 'a', Buffer.from('0123456789'));
    fs.failReads('/a', 'EIO', { from: 4, to: 6 });
    const file = fs.open('/a', 'r');
    expect(file.read(Buffer.alloc(4), 0)).toBe(4);
    expect(file.read(Buffer.alloc(10), 6)).toBe(4);
    expect(() => file.read(Buffer.alloc(5), 0)).toThrow(IoError);
    expect(() => fs.readFile('/a')).toThrow(IoError);
    fs.failReads('/a', 'EIO');
    expect(() => fs.open('/a', 'r')).toThrow(IoError);
    fs.clearFaults();
    expect(text(fs, '/a')).toBe('0123456789');
  });

  it('of reads hits the calls of that number, once or from then on', () => {
    const fs = new MemoryFileSystem();
    replaceFile(fs, '/', 'a', Buffer.from('0123456789'));
    const calls = [
      () => fs.open('/a', 'r'),
      () => fs.readFile('/a'),
      () => fs.fileSize('/a'),
      () => fs.exists('/a'),
      () => fs.readdir('/'),
    ];
    for (const k of calls.keys()) {
      fs.failReadOnce(k + 1, 'EIO');
      for (const [i, call] of calls.entries()) {
        if (i === k) expect(call).toThrow(IoError);
        else call();
      }
    }
    expect(fs.faultsHit).toBe(calls.length);
    fs.failReadsFrom(2, 'EIO');
    calls[0]?.();
    for (const call of calls) expect(call).toThrow(IoError);
    fs.clearFaults();
    for (const call of calls) call();
  });

  it('that lets a read fall short costs another call, and no byte', () => {
    const fs = new MemoryFileSystem();
    replaceFile(fs, '/', 'a', Buffer.from('0123456789'));
    const file = fs.open('/a', 'r');
    const before = fs.reads;
    fs.failReadOnce(1, 'SHORT');
    const target = Buffer.alloc(8);
    expect(file.read(target, 2)).toBe(8);
    expect(target.toString()).toBe('23456789');
    expect(fs.reads - before).toBe(2);
    fs.failReadsFrom(1, 'SHORT');
    expect(file.read(target, 1)).toBe(8);
    expect(target.toString()).toBe('12345678');
  });

  it('of the power refuses everything until the crash', () => {
    const fs = new MemoryFileSystem();
    fs.crashAt(1);
    expect(() => fs.open('/a', 'create')).toThrow(PowerLossError);
    expect(() => fs.readdir('/')).toThrow(PowerLossError);
    fs.crash();
    expect(fs.readdir('/')).toEqual([]);
  });

  it('of room ends when there is room again', () => {
    const fs = new MemoryFileSystem();
    const file = fs.open('/a', 'create');
    fs.limitRoom(4);
    file.write(Buffer.from('1234'), 0);
    expect(() => file.write(Buffer.from('5'), 4)).toThrow(NoSpaceError);
    file.write(Buffer.from('4321'), 0);
    fs.limitRoom(Number.POSITIVE_INFINITY);
    file.write(Buffer.from('5'), 4);
    expect(text(fs, '/a')).toBe('43215');
  });

  it('of room ends when a file gives some back', () => {
    const fs = new MemoryFileSystem();
    const file = fs.open('/a', 'create');
    fs.limitRoom(4);
    expect(() => file.write(Buffer.from('12345'), 0)).toThrow(NoSpaceError);
    expect(text(fs, '/a')).toBe('1234');
    file.truncate(1);
    expect(() => file.write(Buffer.from('12345'), 0)).toThrow(NoSpaceError);
    file.truncate(1);
    file.write(Buffer.from('234'), 1);
    expect(text(fs, '/a')).toBe('1234');
  });
});
