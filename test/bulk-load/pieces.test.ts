/** However a text is cut into pieces, the outcome is that of reading it from front to back. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { bulkLoad } from '../../src/bulk-load/bulk-load.js';
import type { BulkLoadOptions } from '../../src/bulk-load/options.js';
import { parseCsv } from './csv-reference.js';
import { LocalTarget } from './local-target.js';

const directory = mkdtempSync(join(tmpdir(), 'lightning-pieces-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Outcome {
  readonly entries: Record<string, string>;
  readonly rejects: readonly string[];
}

let loads = 0;

async function load(
  text: string,
  how: { readonly name: string; readonly rangeBytes: number; readonly asStream: boolean },
  options: BulkLoadOptions,
): Promise<Outcome> {
  const path = join(directory, `${loads}-${how.name}`);
  const database = join(directory, `${loads++}`);
  const target = new LocalTarget(database, { shards: 1 });
  writeFileSync(path, text);
  const bytes = Buffer.from(text);
  const source = how.asStream
    ? (async function* () {
        yield bytes;
      })()
    : path;
  const rejects: string[] = [];
  await bulkLoad(
    target,
    source,
    {
      ...options,
      onError: 'skip',
      onReject: ({ line, reason }) => rejects.push(`${line}: ${reason}`),
    },
    { rangeBytes: how.rangeBytes, rangeBytesMin: 1 },
  );
  const entries = Object.fromEntries([...target.contents()].sort(([a], [b]) => (a < b ? -1 : 1)));
  rmSync(database, { recursive: true });
  rmSync(path);
  return { entries, rejects };
}

/** What the reference makes of a text with two columns and no header. */
function expectedOf(text: string): Outcome {
  const entries = new Map<string, string>();
  const rejects: string[] = [];
  for (const row of parseCsv(text)) {
    if (row.fault === undefined && row.fields.length === 2) {
      const [key, value] = row.fields;
      if (key?.text !== '' || key.quoted) {
        entries.set(key?.text ?? '', value?.text ?? '');
        continue;
      }
    }
    rejects.push('');
  }
  return {
    entries: Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1))),
    rejects,
  };
}

const csvOptions: BulkLoadOptions = {
  format: 'csv',
  header: false,
  delimiter: ',',
  key: 0,
  value: 1,
};

describe('separated values', () => {
  it.each([false, true])(
    'with any faults are read alike in any pieces (as a stream: %s)',
    async (asStream) => {
      const character = fc.constantFrom('a', 'b', ',', ',', '"', '\n', '\n', '\r\n', 'é');
      const line = fc.constantFrom('k1,v\n', 'k2,"x\ny"\n', 'k3,"""q"""\r\n', '"k,4",w\n', '\n');
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.oneof(character, line), { maxLength: 60 }),
          fc.integer({ min: 1, max: 40 }),
          async (parts, rangeBytes) => {
            // The first row says how many columns there are.
            const text = `first,row\n${parts.join('')}`;
            const outcome = await load(
              text,
              { name: 'a.csv', rangeBytes: rangeBytes + 20, asStream },
              csvOptions,
            );
            const expected = expectedOf(text);
            expect(outcome.entries).toEqual(expected.entries);
            expect(outcome.rejects).toHaveLength(expected.rejects.length);
            const whole = await load(
              text,
              { name: 'a.csv', rangeBytes: 1 << 20, asStream: false },
              csvOptions,
            );
            expect(outcome).toEqual(whole);
          },
        ),
        { numRuns: 60 },
      );
    },
  );
});

describe('lines of JSON', () => {
  it.each([false, true])(
    'with any faults are read alike in any pieces (as a stream: %s)',
    async (asStream) => {
      const line = fc.oneof(
        fc
          .tuple(fc.nat(50), fc.string({ unit: 'grapheme', maxLength: 10 }))
          .map(([key, value]) => JSON.stringify({ key: `k${key}`, value })),
        fc.constantFrom(
          '',
          '   ',
          '{',
          '"text"',
          '{"key":null,"value":1}',
          '{"key":1,"value":[1, 2]}',
        ),
      );
      await fc.assert(
        fc.asyncProperty(
          fc.array(line, { maxLength: 30 }),
          fc.constantFrom('\n', '\r\n'),
          fc.boolean(),
          fc.integer({ min: 1, max: 60 }),
          async (lines, end, ended, rangeBytes) => {
            const text = lines.join(end) + (ended ? end : '');
            const entries = new Map<string, string>();
            const rejects: number[] = [];
            lines.forEach((content, index) => {
              if (content.trim() === '') return;
              try {
                const { key, value } = JSON.parse(content);
                if (key === undefined || key === null || value === undefined)
                  throw new Error('fault');
                entries.set(String(key), typeof value === 'string' ? value : '[1, 2]');
              } catch {
                rejects.push(index + 1);
              }
            });
            const options = { format: 'ndjson' } as const;
            const outcome = await load(text, { name: 'a.ndjson', rangeBytes, asStream }, options);
            expect(new Map(Object.entries(outcome.entries))).toEqual(
              new Map([...entries].sort(([a], [b]) => (a < b ? -1 : 1))),
            );
            expect(outcome.rejects.map((reject) => Number.parseInt(reject, 10))).toEqual(rejects);
          },
        ),
        { numRuns: 60 },
      );
    },
  );
});

describe('an array of JSON', () => {
  it('is read alike in any pieces', async () => {
    const element = fc.tuple(
      fc.nat(50),
      fc.string({
        unit: fc.constantFrom('a', '"', '\\', '[', ']', '{', '}', ',', '\n', '漢'),
        maxLength: 12,
      }),
      fc.constantFrom('', ' ', '\n', '\r\n\t'),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(element, { maxLength: 30 }),
        fc.integer({ min: 1, max: 60 }),
        fc.boolean(),
        async (elements, rangeBytes, inArrays) => {
          const record = (key: string, value: unknown): string =>
            JSON.stringify(inArrays ? [key, value] : { key, value });
          const body = elements
            .map(([key, value, blank]) => `${blank}${record(`k${key}`, value)}${blank}`)
            .join(',');
          const text = ` [${body}] \n`;
          const expected = new Map(elements.map(([key, value]) => [`k${key}`, value]));
          const options = { format: 'json' } as const;
          const outcome = await load(text, { name: 'a.json', rangeBytes, asStream: true }, options);
          expect(new Map(Object.entries(outcome.entries))).toEqual(
            new Map([...expected].sort(([a], [b]) => (a < b ? -1 : 1))),
          );
          expect(outcome.rejects).toEqual([]);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('reports the line of an element that cannot be read', async () => {
    const text = '[\n{"key":"a","value":"1"},\n\n{"key":"b"},\n{"key":"c","value":"3"}\n]';
    for (const rangeBytes of [1, 10, 30, 1000]) {
      const outcome = await load(
        text,
        { name: 'a.json', rangeBytes, asStream: false },
        { format: 'json' },
      );
      expect(outcome).toEqual({
        entries: { a: '1', c: '3' },
        rejects: ['4: the value field "value" is missing'],
      });
    }
  });
});
