/**
 * Packages of bench/package.json, which are installed in bench/node_modules and nowhere else. Their
 * types are not there when this is checked: each store names the part that it uses.
 */

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** bench/, seen from dist/dev/. */
const BENCH = new URL('../../bench/', import.meta.url);

/**
 * A bulk load of a peer is a fill in large batches and takes up to a minute for a million records; of
 * fewer it is faster per record, so this is to the peers' advantage.
 */
export const PEER_BULK_RECORDS_MAX = 300_000;

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
