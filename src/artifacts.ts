/**
 * Where the built files are: worker bundles and the kernel's code.
 *
 * Only the thread that opens a database looks for them; workers receive what they need. They lie in
 * `dist/`, found from wherever this module runs: the library's bundle (ESM or CommonJS), the command
 * line's, or the sources under test. A bundled application copies `dist/workers/` and
 * `dist/kernel.wasm` and names the place with the option `workerDirectory`.
 */

import { existsSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { LightningError } from './errors.js';

export interface Artifacts {
  readonly kernel: URL;
  readonly shardWorker: URL;
  readonly coordinatorWorker: URL;
  readonly jobWorker: URL;
  readonly loadWorker: URL;
}

/** Locates the built files. Throws `LIGHTNING_NOT_FOUND` naming the first that is missing. */
export function findArtifacts(workerDirectory?: string): Artifacts {
  const workers =
    workerDirectory === undefined ? defaultWorkerDirectory() : directoryUrl(workerDirectory);
  const kernelBeside = new URL('kernel.wasm', workers);
  const artifacts = {
    kernel: existsSync(kernelBeside) ? kernelBeside : new URL('../kernel.wasm', workers),
    shardWorker: new URL('shard.cjs', workers),
    coordinatorWorker: new URL('coordinator.cjs', workers),
    jobWorker: new URL('job.cjs', workers),
    loadWorker: new URL('load.cjs', workers),
  };
  for (const location of Object.values(artifacts)) {
    if (existsSync(location)) continue;
    const path = fileURLToPath(location);
    throw new LightningError(
      'LIGHTNING_NOT_FOUND',
      `Cannot find "${path}": copy the package's dist/workers and dist/kernel.wasm beside each other ` +
        'and set the option "workerDirectory"',
      { details: { path } },
    );
  }
  return artifacts;
}

/** `workers/` beside the bundle, or in the `dist/` beside the sources. */
function defaultWorkerDirectory(): URL {
  const candidates = ['./workers/', '../dist/workers/', '../workers/'].map(
    (relative) => new URL(relative, import.meta.url),
  );
  const found = candidates.find((directory) => existsSync(new URL('shard.cjs', directory)));
  return found ?? new URL('./workers/', import.meta.url);
}

function directoryUrl(directory: string): URL {
  const href = directory.startsWith('file:') ? directory : pathToFileURL(directory).href;
  return new URL(href.endsWith('/') ? href : `${href}/`);
}
