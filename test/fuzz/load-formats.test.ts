/** Hostile text in a bulk load: each record is loaded or rejected, and the load comes to its end. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { bulkLoad } from '../../src/bulk-load/bulk-load.js';
import type { BulkLoadOptions } from '../../src/bulk-load/options.js';
import { LightningError } from '../../src/errors.js';
import { LocalTarget } from '../bulk-load/local-target.js';
import { INPUTS, Mutator, SEED } from './mutations.js';

const directory = mkdtempSync(join(tmpdir(), 'lightning-db-fuzz-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const FORMATS: readonly [string, BulkLoadOptions, string][] = [
  [
    'csv',
    { format: 'csv', key: 'id' },
    'id,name\n1,"a ""quoted"" one"\n2,plain\r\n3,"over\ntwo lines"\n',
  ],
  ['tsv', { format: 'tsv', key: 'id' }, 'id\tname\n1\tone\n2\ttwo\n'],
  ['ndjson', { format: 'ndjson', key: 'id' }, '{"id":"1","x":[1,2,{"y":"\\u00e9"}]}\n{"id":"2"}\n'],
  ['json', { format: 'json', key: 'id' }, '[{"id":"1","text":"\\"}"},{"id":"2","n":-1.5e3}]'],
];

describe('hostile text', () => {
  it.each(FORMATS)(
    'as %s',
    async (format, options, sample) => {
      const mutator = new Mutator(SEED);
      const samples = [Buffer.from(sample), Buffer.from('","\n\\\r\t{}[]:\ufeff\u0000')];
      let loaded = 0;
      let refused = 0;
      for (let i = 0; i < INPUTS / 60; i++) {
        const text = mutator.mutate(samples);
        const path = join(directory, `${format}-${i}`);
        const target = new LocalTarget(path, { shards: 1 });
        const source = (async function* () {
          const cut = Math.floor(text.length / 2);
          yield text.subarray(0, cut);
          yield text.subarray(cut);
        })();
        try {
          const { records, duplicates } = await bulkLoad(target, source, {
            ...options,
            onError: 'skip',
          });
          expect(target.contents().size).toBe(records - duplicates);
          loaded++;
        } catch (error) {
          if (!(error instanceof LightningError)) {
            throw new Error(`Input ${i}, seed ${SEED}: ${text.toString('hex')}`, { cause: error });
          }
          refused++;
        }
        rmSync(path, { recursive: true, force: true });
      }
      expect(loaded).toBeGreaterThan(0);
      expect(loaded + refused).toBeGreaterThan(INPUTS / 61);
    },
    3_600_000,
  );
});
