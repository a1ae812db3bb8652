/**
 * Installs the peers of the benchmark (bench/package.json) when they are not there, and runs it with
 * them. Arguments are those of `npm run bench`.
 *
 * Nothing is downloaded but packages: lmdb, classic-level and rocksdb carry their binaries;
 * better-sqlite3 is compiled here (Python, make, a C++ compiler and Node's headers are needed).
 */

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const BENCH = join(ROOT, 'bench');

function run(command, args, options) {
  const { status } = spawnSync(command, args, { stdio: 'inherit', ...options });
  if (status !== 0) process.exit(status ?? 1);
}

/** Whether every peer is there in the version that the lock file names. */
function isInstalled() {
  const json = (path) => JSON.parse(readFileSync(join(BENCH, path), 'utf8'));
  const { packages } = json('package-lock.json');
  return Object.keys(json('package.json').dependencies).every((name) => {
    const manifest = `node_modules/${name}/package.json`;
    if (!existsSync(join(BENCH, manifest))) return false;
    return json(manifest).version === packages[`node_modules/${name}`]?.version;
  });
}

if (!isInstalled()) {
  const prefix = dirname(dirname(process.execPath));
  const hasHeaders = existsSync(join(prefix, 'include/node/node.h'));
  run('npm', ['ci', '--no-audit', '--no-fund'], {
    cwd: BENCH,
    env: {
      ...process.env,
      // Its install script would look for a binary on another server first.
      npm_config_build_from_source: 'better-sqlite3',
      ...(hasHeaders ? { npm_config_nodedir: prefix } : {}),
    },
  });
}
run(process.execPath, [join(ROOT, 'scripts/build.mjs'), '--fast']);
run(process.execPath, [join(ROOT, 'dist/dev/bench.js'), '--peers', ...process.argv.slice(2)]);
