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
});
