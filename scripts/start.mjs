/** `npm start`: builds when a source is newer than the build, then runs the demonstration. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

function run(script, args) {
  const { status, signal } = spawnSync(process.execPath, [script, ...args], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(status ?? (signal === 'SIGINT' ? 130 : 1));
}

// Ctrl-C reaches the demonstration as well; its end decides.
process.on('SIGINT', () => {});
run('scripts/build.mjs', ['--fast', '--if-stale']);
run('dist/dev/demo.js', process.argv.slice(2));
