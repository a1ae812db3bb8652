import { describe, expect, it } from 'vitest';
import { LightningError } from '../../src/errors.js';
import { replaceFile } from '../../src/file-system/file-system.js';
import { MemoryFileSystem, PowerLossError } from '../../src/file-system/memory.js';
import {
  decodeDatabaseFile,
  encodeDatabaseFile,
  openDatabaseFile,
  readDatabaseFile,
} from '../../src/version/database-file.js';

const OPTIONS = { createIfMissing: true, errorIfExists: false, readOnly: false };

function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (error instanceof LightningError) return error.code;
    throw error;
  }
  return 'none';
}

describe('openDatabaseFile', () => {
  it('creates a database, with missing directories above it, that survives power loss', () => {
    const fs = new MemoryFileSystem();
    const made = openDatabaseFile(fs, '/a/b/db', { ...OPTIONS, shards: 2 });
    expect(made).toMatchObject({ shards: 2, created: true });
    fs.crash('synced');
    expect(fs.readdir('/a/b/db')).toEqual(['DATABASE', 'coordinator', 'shard-000', 'shard-001']);
    const { id } = openDatabaseFile(fs, '/a/b/db', OPTIONS);
    expect(id).toBe(made.id);
  });

  it('syncs the name of a directory that was there before', () => {
    const fs = new MemoryFileSystem();
    fs.mkdir('/db');
    openDatabaseFile(fs, '/db', { ...OPTIONS, shards: 1 });
    fs.crash('synced');
    expect(openDatabaseFile(fs, '/db', OPTIONS).created).toBe(false);
  });

  it('can be repeated after a power loss at any moment', () => {
    for (let k = 1; k < 25; k++) {
      const fs = new MemoryFileSystem(k);
      fs.crashAt(k);
      try {
        openDatabaseFile(fs, '/x/db', { ...OPTIONS, shards: 3 });
      } catch (error) {
        expect(error).toBeInstanceOf(PowerLossError);
      }
      fs.crash('random');
      expect(openDatabaseFile(fs, '/x/db', { ...OPTIONS, shards: 3 }).shards).toBe(3);
    }
  });

  it('says what is wrong', () => {
    const fs = new MemoryFileSystem();
    const open = (path: string, options: object) => () =>
      openDatabaseFile(fs, path, { ...OPTIONS, ...options });
    expect(codeOf(open('/none', { createIfMissing: false }))).toBe('LIGHTNING_NOT_FOUND');
    expect(codeOf(open('/none', { readOnly: true }))).toBe('LIGHTNING_NOT_FOUND');
    open('/db', { shards: 4 })();
    expect(codeOf(open('/db', { errorIfExists: true }))).toBe('LIGHTNING_ALREADY_EXISTS');
    expect(codeOf(open('/db', { shards: 2 }))).toBe('LIGHTNING_INVALID_ARGUMENT');
    expect(open('/db', { shards: 2 })).toThrow(/has 4 shards and cannot be opened with 2/);
    expect(codeOf(open('/db', { shards: 4 }))).toBe('none');
    expect(codeOf(open('/db', { readOnly: true }))).toBe('none');

    fs.mkdir('/photos');
    replaceFile(fs, '/photos', 'cat.png', Buffer.from('meow'));
    expect(codeOf(open('/photos', { shards: 1 }))).toBe('LIGHTNING_NOT_A_DATABASE');
    expect(codeOf(open('/photos', { createIfMissing: false }))).toBe('LIGHTNING_NOT_A_DATABASE');
    replaceFile(fs, '/photos', 'DATABASE', Buffer.from('tables: 3'));
    expect(codeOf(open('/photos', {}))).toBe('LIGHTNING_NOT_A_DATABASE');
  });

  it('refuses a directory of shards whose DATABASE file is gone', () => {
    const fs = new MemoryFileSystem();
    openDatabaseFile(fs, '/db', { ...OPTIONS, shards: 1 });
    replaceFile(fs, '/db/shard-000', '0000000001.table', Buffer.from('data'));
    fs.unlink('/db/DATABASE');
    expect(codeOf(() => openDatabaseFile(fs, '/db', { ...OPTIONS, shards: 1 }))).toBe(
      'LIGHTNING_NOT_A_DATABASE',
    );
  });

  it('refuses a database with a shard missing', () => {
    const fs = new MemoryFileSystem();
    openDatabaseFile(fs, '/db', { ...OPTIONS, shards: 2 });
    fs.rename('/db/shard-001', '/db/elsewhere');
    expect(codeOf(() => openDatabaseFile(fs, '/db', OPTIONS))).toBe('LIGHTNING_CORRUPTION');
  });
});

describe('the DATABASE file', () => {
  const database = { id: '01234567-89ab-cdef-0123-456789abcdef', shards: 8, createdAtMs: 123 };

  it('comes back as it was written', () => {
    expect(decodeDatabaseFile(encodeDatabaseFile(database), 'f')).toEqual(database);
  });

  it('is refused when any byte differs or is missing', () => {
    const bytes = encodeDatabaseFile(database);
    const known = [
      'LIGHTNING_CORRUPTION',
      'LIGHTNING_NOT_A_DATABASE',
      'LIGHTNING_UNSUPPORTED_FORMAT',
    ];
    for (let i = 0; i < bytes.length; i++) {
      const damaged = Buffer.from(bytes);
      damaged[i] = (damaged[i] as number) ^ 0x20;
      expect(known).toContain(codeOf(() => decodeDatabaseFile(damaged, 'f')));
      expect(known).toContain(codeOf(() => decodeDatabaseFile(bytes.subarray(0, i), 'f')));
    }
  });

  it('of a newer release says so', () => {
    const bytes = encodeDatabaseFile(database);
    bytes.writeUInt32LE(2, 8);
    expect(codeOf(() => decodeDatabaseFile(bytes, 'f'))).toBe('LIGHTNING_UNSUPPORTED_FORMAT');
  });

  it('is undefined where there is none', () => {
    expect(readDatabaseFile(new MemoryFileSystem(), '/nowhere')).toBeUndefined();
  });
});
