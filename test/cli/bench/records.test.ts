import { describe, expect, it } from 'vitest';
import { ANY_VERSION, Permutation, Records } from '../../../src/cli/bench/records.js';

describe('a permutation', () => {
  it.each([1, 2, 17, 1000, 4096, 100_003])('of %i meets every index once', (count) => {
    const permutation = new Permutation(count, 7);
    const met = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      const at = permutation.at(i);
      met[at] = (met[at] ?? 0) + 1;
    }
    expect(met.every((times) => times === 1)).toBe(true);
  });

  it('works up to the most records there can be', () => {
    const permutation = new Permutation(2 ** 30, 7);
    const ids = Array.from({ length: 1000 }, (_, i) => permutation.at(2 ** 30 - 1 - i));
    expect(new Set(ids).size).toBe(1000);
    expect(ids.every((id) => id >= 0 && id < 2 ** 30)).toBe(true);
  });

  it('spreads neighbours', () => {
    const permutation = new Permutation(100_000, 7);
    let ascending = 0;
    for (let i = 0; i < 1000; i++) if (permutation.at(i + 1) > permutation.at(i)) ascending++;
    expect(ascending).toBeGreaterThan(350);
    expect(ascending).toBeLessThan(650);
  });
});

describe('records', () => {
  const records = new Records(1000);

  it('keep what one lane holds, however many others make', () => {
    const [slow, fast] = [records.lane(0, 256), records.lane(1, 256)];
    const [key, value] = [slow.key(7), slow.value(7, 1)];
    for (let i = 0; i < 10_000; i++) {
      fast.key(i % 1000);
      fast.value(i % 1000, 2);
    }
    records.verifyKey(key, 7);
    records.verifyWhole(value, 7, 1);
    fast.verifyWhole(value, 7, 1);
  });

  it('have keys in the order of their ids', () => {
    const ids = [0, 1, 9, 10, 99_999_999, 100_000_000, 2 ** 30 - 1];
    const keys = ids.map((id) => records.key(id).toString('latin1'));
    expect([...keys].sort()).toEqual(keys);
    expect(keys[5]).toBe('user:000100000000:profile:00000000-abcdefghijklmno');
    ids.forEach((id, index) => {
      records.verifyKey(Buffer.from(keys[index] ?? '', 'latin1'), id);
    });
  });

  it('have missing keys between theirs', () => {
    const missing = records.missingKey(5).toString('latin1');
    expect(missing > records.key(5).toString('latin1')).toBe(true);
    expect(missing < records.key(6).toString('latin1')).toBe(true);
    expect(() => records.verifyKey(records.missingKey(5), 5)).toThrow('record 5');
  });

  it('have values that say which record and version they are', () => {
    const value = Buffer.from(records.value(123_456_789, 3));
    records.verify(value, 123_456_789, 3);
    records.verify(value, 123_456_789, ANY_VERSION);
    records.verifyWhole(value, 123_456_789, 3);
    expect(() => records.verify(value, 123_456_788, 3)).toThrow('record 123456788');
    expect(() => records.verify(value, 123_456_789, 4)).toThrow('Wrong value');
    expect(() => records.verify(undefined, 123_456_789, 3)).toThrow('nothing');
    expect(() => records.verify(value.subarray(1), 123_456_789, 3)).toThrow('Wrong value');
  });

  it('have values of which every byte is compared when asked for', () => {
    const value = Buffer.from(records.value(7, 0));
    for (const at of [6, 50, 98, 106, 150, 198]) {
      const damaged = Buffer.from(value);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      expect(() => records.verifyWhole(damaged, 7, 0)).toThrow('Wrong value of record 7');
    }
  });

  it('are the same for the same seed', () => {
    const [one, two, other] = [new Records(50, 1), new Records(50, 1), new Records(50, 2)];
    expect(one.value(3, 0).equals(two.value(3, 0))).toBe(true);
    expect(one.value(3, 0).equals(other.value(3, 0))).toBe(false);
  });

  it('leave the keys and values of a batch alone', () => {
    const keys = Array.from({ length: 1000 }, (_, id) => records.key(id));
    const values = Array.from({ length: 1000 }, (_, id) => records.value(id, 1));
    keys.forEach((key, id) => {
      records.verifyKey(key, id);
    });
    values.forEach((value, id) => {
      records.verifyWhole(value, id, 1);
    });
  });
});
