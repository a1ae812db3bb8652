/** The fault sweep as a long run: `node test/torture/faults.mjs --seeds N [--every K] [--point LINE]`. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));
process.env['LIGHTNING_TEST_KERNEL'] ??= join(root, 'dist/kernel.wasm');

/** Runs the sweep; true when every point passed. */
export async function faults(args) {
  const directory = mkdtempSync(join(tmpdir(), 'lightning-sweep-'));
  try {
    const outfile = join(directory, 'sweep.mjs');
    await build({
      entryPoints: [join(root, 'test/durability/torture.ts')],
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      outfile,
      logLevel: 'error',
    });
    const { tortureFaults } = await import(pathToFileURL(outfile).href);
    return (await tortureFaults(args, (line) => process.stdout.write(`${line}\n`))) === 0;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = (await faults(process.argv.slice(2))) ? 0 : 1;
}
