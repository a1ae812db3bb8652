/** Short runs of `npm run torture`: a failure prints the line that repeats it. */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const MAIN = fileURLToPath(new URL('./main.mjs', import.meta.url));
const SEED = process.env['TORTURE_SEED'] ?? '20261125';

async function torture(...args: string[]): Promise<string> {
  const child = spawn(process.execPath, [MAIN, ...args, '--seed', SEED], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const exitCode = await new Promise((resolve) => child.on('close', resolve));
  expect(exitCode, output).toBe(0);
  return output;
}

describe('torture', () => {
  it('by kill -9 loses nothing that was acknowledged, in all modes, on 1, 2 and 4 shards', async () => {
    const output = await torture('rounds', '--rounds', '50');
    expect(output).toMatch(/50 kills: \d+ acknowledged operations there/);
  }, 600_000);

  it('by deaths of threads rejects what is under way, and nothing else', async () => {
    const output = await torture('deaths', '--rounds', '8');
    expect(output).toMatch(/8 deaths: \d+ operations right/);
  }, 600_000);

  it('by random transactions shows one serial order, over a kill and an end', async () => {
    const output = await torture('histories', '--rounds', '2', '--seconds', '2');
    expect(output).toMatch(/"commits":[1-9]/);
  }, 240_000);
});
