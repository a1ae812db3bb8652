/**
 * What a sweep does to a database, planned from a seed: writes to several shards, some of them sent
 * together, flushes, merges, pauses, intervals, reopenings. And what the database should hold then.
 */

import { seededRandom } from '../../src/file-system/memory.js';
import { del, type Operation, put } from '../shard/harness.js';
import type { Part } from './local-database.js';

const STEPS = 200;
const KEYS = 24;
const BULK_KEYS = 150;

/**
 * A commit, on one shard or on several. Values begin with the write's id, so that a reader knows where
 * they came from.
 */
export interface Write {
  readonly id: number;
  readonly parts: readonly Part[];
  readonly isSync: boolean;
  readonly isBlob: boolean;
}

export type Step =
  /** Sent together; no two of them have a key in common. */
  | { readonly kind: 'writes'; readonly writes: readonly Write[] }
  | { readonly kind: 'flush' | 'compact'; readonly shard: number }
  | { readonly kind: 'interval' | 'pause' | 'reopen' };

export interface Script {
  readonly shards: number;
  readonly steps: readonly Step[];
}

export function planScript(seed: number): Script {
  const random = seededRandom(seed);
  const below = (n: number): number => Math.floor(random() * n);
  const shards = 2 + below(2);
  let id = 0;

  const planPart = (shard: number, count: number, bytesMax: number, taken: Set<string>): Part => {
    const operations: Operation[] = [];
    for (let n = 0; n < count; n++) {
      const name = count === BULK_KEYS ? `bulk-${n}` : `key-${below(KEYS)}`;
      if (taken.has(`${shard}/${name}`)) continue;
      taken.add(`${shard}/${name}`);
      const isDelete = operations.length > 0 && random() < 0.2;
      const value = `${id}:${n}:${'v'.repeat(100 + below(bytesMax))}`;
      operations.push(isDelete ? del(name) : put(name, value));
    }
    return { shard, operations };
  };

  const plan = (taken: Set<string>): Write | undefined => {
    const shard = below(shards);
    const luck = random();
    id++;
    const isBlob = luck > 0.985;
    const isBulk = luck > 0.96 && !isBlob;
    const count = isBulk ? BULK_KEYS : isBlob ? 1 : 1 + below(4);
    const parts = [planPart(shard, count, isBlob ? 130_000 : isBulk ? 600 : 3000, taken)];
    if (!isBlob && random() < 0.2) {
      const other = (shard + 1 + below(shards - 1)) % shards;
      parts.push(planPart(other, 1 + below(3), 1500, taken));
    }
    if (parts.some(({ operations }) => operations.length === 0)) return undefined;
    return { id, parts, isSync: random() < 0.06, isBlob };
  };

  const steps: Step[] = [];
  while (steps.length < STEPS) {
    const luck = random();
    if (luck < 0.03) steps.push({ kind: 'flush', shard: below(shards) });
    else if (luck < 0.045) steps.push({ kind: 'compact', shard: below(shards) });
    else if (luck < 0.1) steps.push({ kind: 'interval' });
    else if (luck < 0.2) steps.push({ kind: 'pause' });
    else if (luck < 0.21) steps.push({ kind: 'reopen' });
    else {
      const taken = new Set<string>();
      const count = random() < 0.7 ? 1 : 2 + below(3);
      const planned = Array.from({ length: count }, () => plan(taken));
      const writes = planned.filter((write) => write !== undefined);
      if (writes.length > 0) steps.push({ kind: 'writes', writes });
    }
  }
  return { shards, steps };
}

/** Names of all keys that a script may write. */
export function allKeys(): string[] {
  return [
    ...Array.from({ length: KEYS }, (_, i) => `key-${i}`),
    ...Array.from({ length: BULK_KEYS }, (_, i) => `bulk-${i}`),
  ];
}

/** By shard and key: `0/key-1`. */
export type Contents = ReadonlyMap<string, string>;

export function applyWrite(contents: Map<string, string>, write: Write): void {
  for (const { shard, operations } of write.parts) {
    for (const operation of operations) {
      const place = `${shard}/${operation.key}`;
      if (operation.type === 'put') contents.set(place, operation.value.toString());
      else contents.delete(place);
    }
  }
}
