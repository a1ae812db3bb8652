import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { clusterTables, divideByKey } from '../../src/bulk-load/table-clusters.js';
import { table as tableInfo } from '../version/table.js';

const ids = (clusters: ReturnType<typeof clusterTables>): (number | number[][])[] =>
  clusters.map(({ kept, runs }) => kept?.id ?? (runs ?? []).map((run) => run.map(({ id }) => id)));

const textOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();

describe('clusters', () => {
  it('keep tables that overlap nothing', () => {
    const runs = [[tableInfo(1, 'a', 'b'), tableInfo(2, 'c', 'd')], [tableInfo(3, 'e', 'f')]];
    expect(ids(clusterTables(runs, new Set([1, 2, 3])))).toEqual([1, 2, 3]);
  });

  it('join tables that overlap, directly or through others', () => {
    const runs = [
      [tableInfo(1, 'a', 'd'), tableInfo(2, 'e', 'h')],
      [tableInfo(3, 'c', 'f')],
      [tableInfo(4, 'x', 'y')],
    ];
    expect(ids(clusterTables(runs, new Set([1, 2, 3, 4])))).toEqual([[[1, 2], [3]], 4]);
  });

  it('rewrite tables that are not as final ones are, together with their neighbours', () => {
    const runs = [
      [tableInfo(1, 'a', 'b'), tableInfo(2, 'c', 'd')],
      [tableInfo(3, 'e', 'f'), tableInfo(4, 'g', 'h')],
    ];
    expect(ids(clusterTables(runs, new Set([3])))).toEqual([[[1, 2]], 3, [[4]]]);
  });

  it('of any tables hold each once and do not overlap', () => {
    const letter = fc.nat(25).map((n) => String.fromCharCode(97 + n));
    const run = fc.uniqueArray(letter, { maxLength: 10 }).map((letters) => {
      const sorted = [...letters].sort();
      return Array.from({ length: sorted.length >> 1 }, (_, i) => [
        sorted[2 * i],
        sorted[2 * i + 1],
      ]);
    });
    fc.assert(
      fc.property(fc.array(run, { maxLength: 5 }), fc.array(fc.nat(30)), (spans, final) => {
        let id = 0;
        const runs = spans.map((tables) =>
          tables.map(([from, to]) => tableInfo(id++, from as string, to as string)),
        );
        const clusters = clusterTables(runs, new Set(final));
        const all = clusters.map(({ kept, runs }) => (kept ? [kept] : (runs ?? []).flat()));
        expect(
          all
            .flat()
            .map((table) => table.id)
            .sort((a, b) => a - b),
        ).toEqual([...Array(id).keys()]);
        let last: string | undefined;
        for (const tables of all) {
          const keys = tables
            .flatMap(({ smallest, largest }) => [textOf(smallest), textOf(largest)])
            .sort();
          if (last !== undefined) expect((keys[0] as string) > last).toBe(true);
          last = keys.at(-1);
        }
      }),
    );
  });
});

describe('ranges of a merge', () => {
  it('cover all keys without a gap', () => {
    const tables = ['a', 'c', 'e', 'g', 'i', 'k'].map((key, i) => tableInfo(i, key, `${key}z`));
    const spans = divideByKey(tables, 3).map(({ start, end }) => [
      start && textOf(start),
      end && textOf(end),
    ]);
    expect(spans).toEqual([
      [undefined, textOf(tables[2]?.smallest)],
      [textOf(tables[2]?.smallest), textOf(tables[4]?.smallest)],
      [textOf(tables[4]?.smallest), undefined],
    ]);
    expect(divideByKey(tables.slice(0, 1), 4)).toEqual([{ start: undefined, end: undefined }]);
  });
});
