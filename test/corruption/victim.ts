/**
 * A small shard in memory that gets damaged, and the judgement of what comes of it: the right value,
 * an error with file and offset, or (where no crash could be told from the damage) an earlier state
 * whole; never anything else.
 */
import { expect } from 'vitest';
import { CorruptionError, LightningError } from '../../src/errors.js';
import { BALLAST_NAME } from '../../src/file-system/ballast.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { checkShard } from '../../src/shard/check-shard.js';
import { del, type Operation, put, TestShard, testConfig } from '../shard/harness.js';

export const DIRECTORY = '/shard-000';
const BLOB = Buffer.alloc(70_000, 'large value ');
/** Arenas as small as they may be: thousands of these are opened. */
const CONFIG = testConfig({
  walSync: 'sync',
  arenaBytes: 128 * 1024,
  memtableBytes: 256 * 1024,
  tableBytesMax: 64 * 1024,
  blockBytes: 512,
});

export type State = ReadonlyMap<string, string>;
export type Files = ReadonlyMap<string, Buffer>;

export interface Victim {
  /** As if the process had been killed. */
  readonly killed: Files;
  /** The same, earlier: files that may be put back. */
  readonly earlier: Files;
  readonly closed: Files;
  /** After each commit, oldest first. */
  readonly states: readonly State[];
}

export type Outcome =
  | 'right'
  | 'right, and check reports it'
  | 'an earlier state'
  | 'an error at open'
  | 'errors where it is needed';

export async function makeVictim(): Promise<Victim> {
  const fs = emptyFileSystem();
  const shard = await TestShard.open({ fs, directory: DIRECTORY, config: CONFIG });
  const states: Map<string, string>[] = [new Map()];
  const commit = async (operations: readonly Operation[]): Promise<void> => {
    await shard.client.commit(operations);
    const next = new Map(states.at(-1));
    for (const operation of operations) {
      if (operation.type === 'put') next.set(operation.key, operation.value.toString());
      else next.delete(operation.key);
    }
    states.push(next);
  };
  const fill = async (round: number): Promise<void> => {
    for (let i = 0; i < 60; i += 10) {
      const key = (n: number): string => `key-${String((i + n) * (round + 1)).padStart(3, '0')}`;
      await commit(
        Array.from({ length: 10 }, (_, n) =>
          n === 9 && round > 0
            ? del(key(n))
            : put(key(n), `${round}:${i + n}:${'v'.repeat(n * 7)}`),
        ),
      );
    }
  };
  await fill(0);
  await shard.client.putBlob('blob', BLOB);
  states.push(new Map(states.at(-1)).set('blob', BLOB.toString()));
  await shard.shard.flush();
  await commit([put('between', 'flushes')]);
  const earlier = filesOf(fs);
  await fill(1);
  await shard.shard.flush();
  for (let i = 0; i < 8; i++) await commit([put(`key-${i}`, `log ${i}`), del(`key-00${i}`)]);
  const killed = filesOf(fs);
  await shard.shard.close();
  return { killed, earlier, closed: filesOf(fs), states };
}

function emptyFileSystem(): MemoryFileSystem {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  return fs;
}

/** The ballast holds nothing: its bytes do not matter. */
function filesOf(fs: MemoryFileSystem): Files {
  const names = fs.readdir(DIRECTORY).filter((name) => name !== BALLAST_NAME);
  return new Map(names.map((name) => [name, fs.readFile(`${DIRECTORY}/${name}`)]));
}

function fileSystemOf(files: Files): MemoryFileSystem {
  const fs = emptyFileSystem();
  for (const [name, bytes] of files) {
    const file = fs.open(`${DIRECTORY}/${name}`, 'create');
    file.write(bytes, 0);
    file.sync();
    file.close();
  }
  fs.syncDirectory(DIRECTORY);
  return fs;
}

/** The files with one of them changed. */
export function withFile(files: Files, name: string, bytes: Buffer): Files {
  return new Map(files).set(name, bytes);
}

export interface Judgement {
  readonly states: readonly State[];
  /** Losing the newest commits is what a crash might have done, too. */
  readonly mayBeEarlier: boolean;
  readonly label: string;
}

/** Opens, reads and checks everything. Throws when something is not as it may be. */
export async function judge(files: Files, judgement: Judgement): Promise<Outcome> {
  const { label, states, mayBeEarlier } = judgement;
  let shard: TestShard;
  try {
    shard = await TestShard.open({
      fs: fileSystemOf(files),
      directory: DIRECTORY,
      config: CONFIG,
    });
  } catch (error) {
    expectCorruption(error, label);
    return 'an error at open';
  }
  const found = new Map<string, string>();
  const errors: unknown[] = [];
  for (const key of keysOf(states)) {
    try {
      const value = await shard.client.get(key);
      if (value !== undefined) found.set(key, value);
    } catch (error) {
      expectCorruption(error, label);
      errors.push(error);
      found.set(key, UNKNOWN);
    }
  }
  const { problems } = await checkShard(shard.shard.state);
  await shard.shard.close();
  const fits = states.filter((state) => isLike(found, state));
  const isNewest = fits.at(-1) === states.at(-1) && fits.length > 0;
  const isAllowed = isNewest || (mayBeEarlier && fits.length > 0);
  if (!isAllowed) throw new Error(`Wrong values: ${label}: ${differences(found, states)}`);
  if (errors.length > 0) return 'errors where it is needed';
  if (!isNewest) return 'an earlier state';
  return problems.length > 0 ? 'right, and check reports it' : 'right';
}

/** A value that could not be read. */
const UNKNOWN = '\u0000unknown';

function isLike(found: State, state: State): boolean {
  for (const [key, value] of found) if (value !== UNKNOWN && state.get(key) !== value) return false;
  for (const key of state.keys()) if (!found.has(key)) return false;
  return true;
}

function differences(found: State, states: readonly State[]): string {
  const newest = states.at(-1) as State;
  const keys = [...new Set([...found.keys(), ...newest.keys()])];
  const differing = keys.filter((key) => found.get(key) !== newest.get(key));
  return differing.slice(0, 5).join(', ');
}

let allKeys: readonly string[] | undefined;
function keysOf(states: readonly State[]): readonly string[] {
  allKeys ??= [...new Set(states.flatMap((state) => [...state.keys()]))];
  return allKeys;
}

function expectCorruption(error: unknown, label: string): void {
  if (!(error instanceof LightningError)) throw new Error(`${label}: ${error}`, { cause: error });
  const codes = ['LIGHTNING_CORRUPTION', 'LIGHTNING_UNSUPPORTED_FORMAT'];
  expect(codes, `${label}: ${error.message}`).toContain(error.code);
  if (!(error instanceof CorruptionError)) return;
  expect(String(error.details['file']), label).toContain(DIRECTORY);
  expect(error.details['offset'], label).toBeTypeOf('number');
}
