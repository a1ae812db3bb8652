import { expect, it } from 'vitest';
import { resultTable } from '../../../src/cli/bench/result-table.js';
import { measurement, store } from './result-fixture.js';

it('a table of results says beside a name what is to be said of it', () => {
  const lines = resultTable(
    store('lightning-db', [
      measurement('tx', 1e5, { note: '17.25 % conflicts' }),
      measurement('readrandom sync', 1e6),
    ]),
  );
  expect(lines.filter((line) => line.endsWith('  tx (17.25 % conflicts)'))).toHaveLength(1);
  expect(lines.filter((line) => line.endsWith('  readrandom sync'))).toHaveLength(1);
});
