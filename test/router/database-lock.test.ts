import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LockedError } from '../../src/errors.js';
import { lockDatabase } from '../../src/router/database-lock.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'lightning-db-lock-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

const lock = (readOnly = false) => lockDatabase(directory, { readOnly });

describe('the lock of a database', () => {
  it('is held once, and names its holder', () => {
    const held = lock();
    expect(readFileSync(join(directory, 'LOCK'), 'latin1')).toBe(`${process.pid}\n`);
    expect(lock).toThrow(LockedError);
    expect(lock).toThrow(/this process/);
    try {
      lock();
    } catch (error) {
      expect((error as LockedError).details['pid']).toBe(process.pid);
    }
    held.release();
    held.release();
    lock().release();
  });

  it('keeps other processes out until it is released', () => {
    const script = `
      const { tryLock } = require('fs-native-extensions');
      const fd = require('fs').openSync(process.argv[1], 'r+');
      console.log(tryLock(fd, 1 << 20, 1, {}));`;
    const other = (): string =>
      execFileSync(process.execPath, ['-e', script, join(directory, 'LOCK')], {
        encoding: 'utf8',
      }).trim();
    const held = lock();
    expect(other()).toBe('false');
    held.release();
    expect(other()).toBe('true');
  });

  it('given up by a failed open leaves no file that it made', () => {
    lock().abandon();
    expect(existsSync(join(directory, 'LOCK'))).toBe(false);
    writeFileSync(join(directory, 'LOCK'), '1\n');
    lock().abandon();
    expect(existsSync(join(directory, 'LOCK'))).toBe(true);
  });

  it('does not hold on a file that has lost its name', () => {
    const held = lock();
    unlinkSync(join(directory, 'LOCK'));
    const again = lock();
    expect(lock).toThrow(LockedError);
    held.release();
    expect(lock).toThrow(LockedError);
    again.release();
  });

  it('for reading only writes nothing', () => {
    lock(true).release();
    expect(existsSync(join(directory, 'LOCK'))).toBe(false);
    writeFileSync(join(directory, 'LOCK'), '42\n');
    const held = lock(true);
    expect(readFileSync(join(directory, 'LOCK'), 'latin1')).toBe('42\n');
    expect(() => lock(true)).toThrow(/process 42/);
    held.release();
  });
});
