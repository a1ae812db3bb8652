/**
 * What a sweep does to a database, planned from a seed: writes to several shards, some of them sent
 * together, flushes, merges, pauses, intervals, reopenings. And what the database should hold then.
 */

import { seededRandom } from '../../src/file-system/memory.js';
import { del, type Operation, put } from '../shard/harness.js';

const STEPS = 200;
const KEYS = 24;

/** Operations on one shard. Values begin with the write's id, so that a reader knows where they came from. */
export interface Write {
  readonly id: number;
  readonly shard: number;
  readonly operations: readonly Operation[];
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

  const plan = (taken: Set<string>): Write | undefined => {
    const shard = below(shards);
    const luck = random();
    const isBlob = luck > 0.985;
    const isBulk = luck > 0.96 && !isBlob;
    id++;
    const operations: Operation[] = [];
    const count = isBulk ? 150 : isBlob ? 1 : 1 + below(4);
    for (let n = 0; n < count; n++) {
      const name = isBulk ? `bulk-${n}` : `key-${below(KEYS)}`;
      if (taken.has(`${shard}/${name}`)) continue;
      taken.add(`${shard}/${name}`);
      const bytes = isBlob ? 70_000 + below(60_000) : 100 + below(isBulk ? 600 : 3000);
      const isDelete = !isBlob && operations.length > 0 && random() < 0.2;
      operations.push(isDelete ? del(name) : put(name, `${id}:${n}:${'v'.repeat(bytes)}`));
    }
    if (operations.length === 0) return undefined;
    return { id, shard, operations, isSync: random() < 0.06, isBlob };
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
    ...Array.from({ length: 150 }, (_, i) => `bulk-${i}`),
  ];
}

/** By shard and key: `0/key-1`. */
export type Contents = ReadonlyMap<string, string>;

export function applyWrite(contents: Map<string, string>, write: Write): void {
  for (const operation of write.operations) {
    const place = `${write.shard}/${operation.key}`;
    if (operation.type === 'put') contents.set(place, operation.value.toString());
    else contents.delete(place);
  }
}
