/** A short form of the stress program; run the program itself for the long one. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const PROGRAM = fileURLToPath(new URL('./stress.mjs', import.meta.url));

it('one writer and three readers see only what they may', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, '8', '3'], {
    timeout: 100_000,
  });
  const report = JSON.parse(stdout) as {
    writes: number;
    readers: { gets: number; scans: number }[];
  };
  expect(report.writes).toBeGreaterThan(1000);
  for (const reader of report.readers) {
    expect(reader.gets).toBeGreaterThan(1000);
    expect(reader.scans).toBeGreaterThan(0);
  }
}, 120_000);
