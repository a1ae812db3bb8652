/** A load's own threads, with the built worker: what they are given, and what becomes of them. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { ScanJob, ScanResult } from '../../src/bulk-load/load-jobs.js';
import { createLoadMemory, planLoadLayout } from '../../src/bulk-load/load-memory.js';
import { LoadThreads } from '../../src/bulk-load/load-threads.js';
import { IoError } from '../../src/errors.js';
import { kernelModule } from './load-kernel.js';

const root = mkdtempSync(join(tmpdir(), 'lightning-load-threads-'));
afterAll(() => rmSync(root, { recursive: true }));

const built = new URL('../../dist/workers/load.cjs', import.meta.url);
const layout = planLoadLayout({ memoryBytes: 16 * 1024 * 1024, jobs: 2 });
const memory = createLoadMemory(layout);

let threads: LoadThreads;
afterEach(() => threads.end());

function start(count: number, location = built): LoadThreads {
  threads = new LoadThreads({
    location,
    module: kernelModule,
    threads: count,
    threadsMax: count + 1,
  });
  return threads;
}

function stub(name: string, text: string): URL {
  writeFileSync(join(root, name), text);
  return pathToFileURL(join(root, name));
}

/** Counts quotation marks. */
function scan(path: string, text = 0): ScanJob {
  return { kind: 'bulk-scan', memory, layout, text, path, offset: 0, bytes: 100 };
}

describe('the threads of a load', () => {
  it('run more jobs than there are threads, and bring back errors as they are', async () => {
    const { run } = bound(start(2));
    const results = await Promise.all(
      Array.from({ length: 7 }, (_, marks) => {
        const path = join(root, `${marks}.csv`);
        writeFileSync(path, '"'.repeat(marks));
        return run(scan(path, marks % layout.texts));
      }),
    );
    expect(results.map((result) => (result as ScanResult).quotes)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    const missing = run(scan(join(root, 'missing.csv')));
    await expect(missing).rejects.toBeInstanceOf(IoError);
    await expect(missing).rejects.toMatchObject({ details: { errno: 'ENOENT' } });
    const path = join(root, '3.csv');
    expect(await run(scan(path))).toMatchObject({ quotes: 3 });
  });

  it('are no more than are needed, unless more jobs are expected', async () => {
    const counting = stub(
      'counting.cjs',
      `require('node:fs').appendFileSync(${JSON.stringify(join(root, 'started'))}, 'x');
       require(${JSON.stringify(built.pathname)});`,
    );
    const { run } = bound(start(3, counting));
    const path = join(root, 'one.csv');
    writeFileSync(path, '""');
    for (let i = 0; i < 3; i++) await run(scan(path));
    const started = async (): Promise<number> =>
      (await import('node:fs')).readFileSync(join(root, 'started')).length;
    expect(await started()).toBe(1);
    await Promise.all(Array.from({ length: 9 }, () => run(scan(path))));
    await expect.poll(started).toBe(3);
    threads.startThreads(9);
    await expect.poll(started).toBe(4);
  });

  it('that die fail the job that they had, and say why', async () => {
    const dying = stub(
      'dying.cjs',
      `const { parentPort } = require('node:worker_threads');
       parentPort.on('message', () => process.exit(7));`,
    );
    await expect(start(1, dying).run(scan('any'))).rejects.toMatchObject({
      code: 'LIGHTNING_ABORTED',
      message: expect.stringContaining('7'),
    });
  });

  it('that have ended take no job, and drop those that wait', async () => {
    const waiting = stub('waiting.cjs', `require('node:worker_threads').parentPort.ref();`);
    const { run } = bound(start(1, waiting));
    const dropped = Promise.allSettled([run(scan('any')), run(scan('any'))]);
    await threads.end();
    for (const outcome of await dropped) expect(outcome.status).toBe('rejected');
  });
});

function bound(all: LoadThreads): Pick<LoadThreads, 'run'> {
  return { run: (job) => all.run(job) };
}
