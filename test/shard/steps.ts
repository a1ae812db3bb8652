/** Random commits, from a seed, with the state after each: what a shard's contents are compared to. */

import type { ResolvedConfig } from '../../src/config.js';
import { seededRandom } from '../../src/file-system/memory.js';
import { del, type Operation, put, type TestShard, testConfig } from './harness.js';

const KEYS = 40;
const COMMITS = 140;

const key = (i: number): string => `key-${i}`;

/** A commit's operations and the state after it. */
export interface Step {
  readonly operations: readonly Operation[];
  readonly isBlob: boolean;
  readonly after: ReadonlyMap<string, string>;
}

export function planSteps(seed: number): Step[] {
  const random = seededRandom(seed);
  const below = (n: number): number => Math.floor(random() * n);
  let state = new Map<string, string>();
  const steps: Step[] = [];
  for (let i = 0; i < COMMITS; i++) {
    const luck = random();
    const operations: Operation[] = [];
    const isBlob = luck > 0.97;
    const count = isBlob ? 1 : luck > 0.93 ? 300 : 1 + below(4);
    for (let n = 0; n < count; n++) {
      const name = count === 300 ? `bulk-${n}` : key(below(KEYS));
      const length = isBlob ? 70_000 + below(100_000) : 200 + below(count === 300 ? 700 : 2500);
      const value = `${i}:${n}:${'v'.repeat(length)}`;
      operations.push(!isBlob && random() < 0.15 ? del(name) : put(name, value));
    }
    state = new Map(state);
    const step = { operations, isBlob, after: state };
    applyStep(state, step);
    steps.push(step);
  }
  return steps;
}

export const stepsConfig = (walSync: 'sync' | 'async'): ResolvedConfig =>
  testConfig({ walSync, arenaBytes: 128 * 1024, memtableBytes: 256 * 1024, tableBytesMax: 65536 });

export function applyStep(state: Map<string, string>, step: Step): void {
  for (const operation of step.operations) {
    if (operation.type === 'put') state.set(operation.key, operation.value.toString());
    else state.delete(operation.key);
  }
}

export async function commitStep({ client }: TestShard, step: Step): Promise<void> {
  const [first] = step.operations;
  if (step.isBlob && first?.type === 'put') {
    await client.putBlob(first.key, Buffer.from(first.value));
  } else {
    await client.commit(step.operations);
  }
}

export async function readAll(shard: TestShard): Promise<Map<string, string>> {
  const names = [
    ...Array.from({ length: KEYS }, (_, i) => key(i)),
    ...Array.from({ length: 300 }, (_, i) => `bulk-${i}`),
  ];
  const state = new Map<string, string>();
  for (const name of names) {
    const value = await shard.client.get(name);
    if (value !== undefined) state.set(name, value);
  }
  return state;
}

/** All numbers of commits after which the state was this. */
export function prefixesOf(state: ReadonlyMap<string, string>, steps: readonly Step[]): number[] {
  const isSame = (other: ReadonlyMap<string, string>): boolean =>
    other.size === state.size && [...other].every(([name, value]) => state.get(name) === value);
  const found = state.size === 0 ? [0] : [];
  for (const [i, step] of steps.entries()) if (isSame(step.after)) found.push(i + 1);
  return found;
}
