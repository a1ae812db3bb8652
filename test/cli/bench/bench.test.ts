import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OPEN_AFTER_KILL, WORKLOAD_NAMES } from '../../../src/cli/bench/suites.js';
import { temporaryDirectory } from '../../api/temporary-directory.js';
import { runCommand } from '../command-line.js';

const directory = temporaryDirectory();
let path: string;

beforeAll(() => {
  path = join(directory.path, 'bench');
  mkdirSync(path);
});
afterAll(() => directory.remove());

const SMALL = ['--records', '3000', '--shards', '2', '--seconds', '0.02'];

interface Workload {
  readonly name: string;
  readonly operations: number;
  readonly perSecond: number;
}

function workloadsOf(stdout: string): Workload[] {
  const result = JSON.parse(stdout) as { stores: { name: string; rounds: Workload[][] }[] };
  expect(result.stores[0]?.name).toBe('lightning-db');
  return result.stores[0]?.rounds[0] ?? [];
}

describe('lightning-db bench', () => {
  it('runs every workload, writes a report and leaves nothing behind', async () => {
    const report = join(directory.path, 'report.html');
    const args = ['bench', ...SMALL, '--path', path, '--json', '--report', report];
    const { exitCode, stdout, stderr } = await runCommand(args);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const workloads = workloadsOf(stdout);
    expect(workloads.map(({ name }) => name)).toEqual(
      WORKLOAD_NAMES.filter((name) => name !== OPEN_AFTER_KILL),
    );
    for (const { name, operations, perSecond } of workloads) {
      expect(operations, name).toBeGreaterThan(0);
      expect(perSecond, name).toBeGreaterThan(0);
    }
    expect(readFileSync(report, 'utf8')).toContain('<svg');
    expect(readdirSync(path)).toEqual([]);
  }, 120_000);

  it('runs what is asked for, and prints a table', async () => {
    const only = ['--only', 'fillseq,readrandom sync z'];
    const { exitCode, stdout, stderr } = await runCommand(['bench', ...SMALL, ...only, '-p', path]);
    expect(exitCode).toBe(0);
    const names = stdout.trimEnd().split('\n').slice(1);
    // Reads need records: the fill is measured as well.
    expect(names).toEqual([
      expect.stringMatching(/fillseq batch 1000$/),
      expect.stringMatching(/fillrandom batch 1000$/),
      expect.stringMatching(/readrandom sync zipfian$/),
      expect.stringMatching(/readrandom sync zipfian 2 threads$/),
    ]);
    expect(stderr).toContain('fillseq');
  });

  it('refuses what it does not know', async () => {
    const unknown = await runCommand(['bench', ...SMALL, '--only', 'readrandmo', '--path', path]);
    expect(unknown).toMatchObject({ exitCode: 2, stdout: '' });
    expect(unknown.stderr).toContain('"readrandmo"');
    const none = await runCommand(['bench', '--records', '0', '--path', path]);
    expect(none.exitCode).toBe(2);
    expect(readdirSync(path)).toEqual([]);
  });
});
