/**
 * Packages of bench/package.json, which are installed in bench/node_modules and nowhere else. Their
 * types are not there when this is checked: each store names the part that it uses.
 */

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** bench/, seen from dist/dev/. */
const BENCH = new URL('../../bench/', import.meta.url);

export function isInstalled(name: string): boolean {
  return existsSync(new URL(`node_modules/${name}/package.json`, BENCH));
}

export function loadPeer<T>(name: string): T {
  return createRequire(BENCH)(name) as T;
}

export function peerVersion(name: string): string {
  if (!isInstalled(name)) return 'not installed';
  const path = fileURLToPath(new URL(`node_modules/${name}/package.json`, BENCH));
  return String(JSON.parse(readFileSync(path, 'utf8')).version);
}
