/** `getBorrowedSync`: bytes that are good until its next call. */

import { LightningDb } from 'lightning-db';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TemporaryDirectory, temporaryDirectory } from './temporary-directory.js';

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => directory.remove());

describe('borrowed bytes', () => {
  it('are the value, whatever the encoding, of memory, of tables and of files of their own', async () => {
    const db = await LightningDb.open(directory.path, { shards: 2 });
    const sizes = [0, 1, 200, 4096, 4097, 100_000, 262_144, 262_145, 3_000_000];
    const textOf = (size: number): string => `${size}`.padEnd(size, 'ä'.repeat(7)).slice(0, size);
    for (const size of sizes) await db.put(`key-${size}`, textOf(size));
    const check = (): void => {
      for (const size of sizes) {
        expect(db.getBorrowedSync(`key-${size}`)?.toString()).toBe(textOf(size));
      }
      expect(db.getBorrowedSync('none')).toBeUndefined();
    };
    check();
    await db.flush();
    check();
    await db.delete('key-1');
    expect(db.getBorrowedSync('key-1')).toBeUndefined();
    await db.close();
  });

  it('stay as they are through writes and other reads, and change with the next', async () => {
    const db = await LightningDb.open(directory.path, { shards: 2, valueEncoding: 'buffer' });
    await db.put('a', Buffer.from('first'));
    await db.put('b', Buffer.from('other'));
    const a = db.getBorrowedSync('a');
    await db.put('a', Buffer.from('later'));
    expect(db.getSync('b')?.toString()).toBe('other');
    expect([...db.scanSync()]).toHaveLength(2);
    await db.getMany(['a', 'b']);
    expect(db.getBorrowedSync('none')).toBeUndefined();
    expect(a?.toString()).toBe('first');
    const b = db.getBorrowedSync('b');
    expect(b?.toString()).toBe('other');
    expect(a?.toString()).toBe('other');
    await db.close();
    expect(b?.toString()).toBe('other');
    expect(() => db.getBorrowedSync('a')).toThrow(
      expect.objectContaining({ code: 'LIGHTNING_CLOSED' }),
    );
  });

  it('are of the memory of this thread alone: writing to them changes nothing', async () => {
    const db = await LightningDb.open(directory.path, { shards: 1 });
    await db.put('a', 'value');
    const bytes = db.getBorrowedSync('a');
    expect(bytes?.buffer).toBeInstanceOf(ArrayBuffer);
    bytes?.fill(0);
    expect(db.getSync('a')).toBe('value');
    expect(db.getBorrowedSync('a')?.toString()).toBe('value');
    await db.close();
  });

  it('are as of the moment of a snapshot', async () => {
    const db = await LightningDb.open(directory.path, { shards: 2 });
    await db.put('a', 'old');
    const snapshot = db.snapshot();
    await db.put('a', 'new');
    expect(snapshot.getBorrowedSync('a')?.toString()).toBe('old');
    expect(db.getBorrowedSync('a')?.toString()).toBe('new');
    snapshot.close();
    expect(() => snapshot.getBorrowedSync('a')).toThrow();
    await db.close();
  });
});
