import { describe, expect, it } from 'vitest';
import { EditConflictError, Version } from '../../src/version/version.js';
import {
  decodeVersionEdit,
  EditFormatError,
  encodeVersionEdit,
} from '../../src/version/version-edit.js';
import { table } from './table.js';

const layout = (version: Version): [number, number[]][] =>
  version.runs.map((run) => [run.order, run.tables.map((t) => t.id)]);

describe('Version.apply', () => {
  it('puts newer runs first and tables in key order', () => {
    const version = Version.EMPTY.apply({ added: [{ order: 1, tables: [table(1, 'a', 'm')] }] })
      .apply({ added: [{ order: 2, tables: [table(2, 'k', 'z'), table(3, 'a', 'j')] }] })
      .apply({ added: [{ order: 0, tables: [table(4, 'a', 'z')] }] });
    expect(layout(version)).toEqual([
      [2, [3, 2]],
      [1, [1]],
      [0, [4]],
    ]);
    expect(version.tableCount).toBe(4);
  });

  it('replaces merged tables and drops runs that became empty', () => {
    const version = Version.EMPTY.apply({
      added: [
        { order: 2, tables: [table(2, 'a', 'z')] },
        { order: 1, tables: [table(1, 'a', 'z')] },
        { order: 0, tables: [table(3, 'a', 'c'), table(4, 'd', 'f')] },
      ],
    });
    const merged = version.apply({
      removed: [1, 2, 3],
      added: [{ order: 0, tables: [table(5, 'a', 'c')] }],
    });
    expect(layout(merged)).toEqual([[0, [5, 4]]]);
    expect(layout(version)).toHaveLength(3);
  });

  it('moves a table between runs as it is', () => {
    const version = Version.EMPTY.apply({ added: [{ order: 1, tables: [table(1, 'a', 'c')] }] });
    expect(layout(version.apply({ moved: [{ table: 1, order: 0 }] }))).toEqual([[0, [1]]]);
  });

  it('refuses edits that do not fit', () => {
    const version = Version.EMPTY.apply({ added: [{ order: 1, tables: [table(1, 'b', 'm')] }] });
    const bad = [
      { removed: [2] },
      { removed: [1, 1] },
      { moved: [{ table: 9, order: 0 }] },
      { added: [{ order: 2, tables: [table(1, 'x', 'y')] }] },
      { added: [{ order: 1, tables: [table(2, 'm', 'z')] }] },
      { added: [{ order: 1, tables: [table(2, 'a', 'b')] }] },
    ];
    for (const edit of bad) expect(() => version.apply(edit)).toThrow(EditConflictError);
  });

  it('never lets counters run backwards', () => {
    const version = Version.EMPTY.apply({ nextFile: 9, lastSequence: 100, walMin: 4 });
    const later = version.apply({ nextFile: 5, lastSequence: 50, walMin: 3, linked: ['x'] });
    expect(later.state).toMatchObject({ nextFile: 9, lastSequence: 100, walMin: 4, linked: ['x'] });
  });

  it('survives the way through one edit', () => {
    const version = Version.EMPTY.apply({
      added: [{ order: 3, tables: [table(1, 'a', 'c')] }],
      nextFile: 2,
      nextOrder: 4,
      lastSequence: 77,
      lastTimestampUs: 1_700_000_000_000_000,
      lastEpoch: 12,
      walMin: 5,
      linked: ['load'],
    });
    const copy = Version.EMPTY.apply(decodeVersionEdit(encodeVersionEdit(version.toEdit())));
    expect(copy).toEqual(version);
  });
});

describe('decodeVersionEdit', () => {
  const decode = (json: string) => () => decodeVersionEdit(Buffer.from(json));

  it('refuses what it does not know exactly', () => {
    const good = encodeVersionEdit({ added: [{ order: 1, tables: [table(1, 'a', 'b')] }] });
    expect(decodeVersionEdit(good).added?.[0]?.tables[0]).toEqual(table(1, 'a', 'b'));
    const text = good.toString();
    for (const bad of [
      '',
      '{',
      '[]',
      'null',
      '{"colour":1}',
      '{"removed":1}',
      '{"removed":[-1]}',
      '{"removed":[1.5]}',
      '{"nextFile":"1"}',
      '{"added":[{"order":1}]}',
      text.replace('"id":1', '"id":"1"'),
      text.replace('"bytes":', '"bites":'),
      text.replace(/"smallest":"[^"]*"/, '"smallest":"*"'),
    ]) {
      expect(decode(bad), bad).toThrow(EditFormatError);
    }
  });
});
