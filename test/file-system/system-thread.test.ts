import { readdirSync } from 'node:fs';
import { getPriority } from 'node:os';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import {
  isSystemThreadGone,
  lowerThreadPriority,
  systemThreadId,
} from '../../src/file-system/system-thread.js';

const SAY_ID = `
  const { parentPort } = require('node:worker_threads');
  parentPort.postMessage(require('node:fs').readlinkSync('/proc/thread-self').split('/').at(-1));
  parentPort.once('message', () => process.exit());
`;

describe.skipIf(process.platform !== 'linux')('a thread, as the system sees it', () => {
  it('has a number, and is there', () => {
    expect(systemThreadId()).toBeGreaterThan(0);
    expect(isSystemThreadGone(systemThreadId())).toBe(false);
  });

  it('is gone once it was ended', async () => {
    const worker = new Worker(SAY_ID, { eval: true });
    const id = Number(await new Promise((resolve) => worker.once('message', resolve)));
    expect(isSystemThreadGone(id)).toBe(false);
    const ended = new Promise((resolve) => worker.once('exit', resolve));
    worker.postMessage('end');
    await ended;
    expect(isSystemThreadGone(id)).toBe(true);
  });

  it('can give way to the others', () => {
    const niceness = (): number => getPriority(systemThreadId());
    const before = niceness();
    const others = readdirSync('/proc/self/task').map(Number);
    const rest = others.filter((id) => id !== systemThreadId());
    const unchanged = rest.map((id) => getPriority(id));
    lowerThreadPriority(1);
    expect(niceness()).toBe(Math.min(before + 1, 19));
    expect(rest.map((id) => getPriority(id))).toEqual(unchanged);
  });

  it('of which nothing is known is not taken for gone', () => {
    expect(isSystemThreadGone(0)).toBe(false);
  });
});
