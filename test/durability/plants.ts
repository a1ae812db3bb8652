/**
 * Planted faults: what a database would do if a rule of durability were broken. They come in through
 * what a test puts in anyway (file system, control block, cut, jobs); the product knows nothing of
 * them, and pays nothing for them.
 */

import { IoError } from '../../src/errors.js';
import type { FileHandle, FileSystem, OpenMode } from '../../src/file-system/file-system.js';
import { areZeros } from '../../src/file-system/zeros-ahead.js';
import { ControlBlock } from '../../src/router/control-block.js';
import type { Durability, ShardOptions } from '../../src/shard/shard-options.js';

type Decisions = ReturnType<NonNullable<ShardOptions['decisions']>>;

/** What is put in; nothing but its name: nothing. */
export interface Changes {
  readonly name: string;
  readonly fileSystem?: (fs: FileSystem) => FileSystem;
  readonly control?: (control: ControlBlock) => ControlBlock;
  readonly durability?: (durability: Durability) => Durability;
  readonly cutSequence?: (cutSequence: number | undefined) => number | undefined;
  /** What recovery learns of the decisions in the coordinator's log. */
  readonly decisions?: (decisions: Decisions) => Decisions;
  /** Before a flush job of the shard in that directory. */
  readonly beforeFlush?: (fs: FileSystem, directory: string) => void;
}

export interface Plant extends Changes {
  /** A point of the sweep that catches it; docs/TESTING.md has the same one. */
  readonly caughtBy: string;
}

/** Nothing is planted; `onZeros` is called before zeros are written ahead of a log. */
export function watchingZeros(onZeros: () => void): Changes {
  const watch: Change = (inner) => ({
    write(bytes: Uint8Array, position: number) {
      if (areZeros(bytes)) onZeros();
      inner.write(bytes, position);
    },
  });
  return { name: 'nothing', fileSystem: (fs) => withFiles(fs, /\.wal$|\.log$/, watch) };
}

/** Nothing is planted. */
export const SOUND: Changes = { name: 'nothing' };

/** What plants come in through, without a fault in it. */
export const HARMLESS: Changes = {
  name: 'nothing, through the same ways',
  fileSystem: (fs) => withFiles(fs, /./, () => ({})),
  control: ({ buffer }) => new ControlBlock(buffer),
  durability: (durability) => ({ covering: (sequence) => durability.covering(sequence) }),
  cutSequence: (cutSequence) => cutSequence,
  decisions: (decisions) => decisions,
  beforeFlush: () => {},
};

type Change = (inner: FileHandle) => Partial<FileHandle>;

/** The file system, but for some methods of some files. */
function withFiles(fs: FileSystem, pattern: RegExp, change: Change): FileSystem {
  return delegate(fs, {
    open(path: string, mode: OpenMode): FileHandle {
      const inner = fs.open(path, mode);
      return pattern.test(path) ? delegate(inner, change(inner)) : inner;
    },
  });
}

/** `target` with some of its methods replaced; private fields stay reachable. */
function delegate<T extends object>(target: T, changes: Partial<T>): T {
  return new Proxy(target, {
    get(_, name) {
      if (name in changes) return changes[name as keyof T];
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

const WAL = /\.wal$/;
const MANIFEST = /\.manifest$|CURRENT/;
const COORDINATOR_LOG = /coordinator\/.*\.log/;

const noSync: Change = () => ({ datasync() {}, sync() {}, async datasyncLater() {} });

class ReusingControl extends ControlBlock {
  #calls = 0;

  override allocateSequences(shard: number, count: number): number {
    this.#calls++;
    const first = super.allocateSequences(shard, count);
    return this.#calls % 2 === 0 ? first - 1 : first;
  }
}

class BoastingControl extends ControlBlock {
  /** As the coordinator sees it, who marks it. */
  override lastSequence(): number {
    return super.lastSequence() + 25;
  }
}

export const PLANTS: readonly Plant[] = [
  {
    name: 'the log is never synced',
    caughtBy: '1/sync/power-random/154',
    fileSystem: (fs) => withFiles(fs, WAL, noSync),
  },
  {
    name: 'zeros ahead of the log take the place of its end',
    caughtBy: '1/sync/power-random/154',
    fileSystem: (fs) =>
      withFiles(fs, WAL, (inner) => ({
        write(bytes: Uint8Array, position: number) {
          inner.write(bytes, areZeros(bytes) ? position - 100 : position);
        },
      })),
  },
  {
    name: 'names in directories are never synced',
    caughtBy: '1/async/power-random/154',
    fileSystem: (fs) => delegate(fs, { syncDirectory() {} }),
  },
  {
    name: 'the manifest is never synced',
    caughtBy: '1/async/process/120',
    fileSystem: (fs) => withFiles(fs, MANIFEST, noSync),
  },
  {
    name: 'tables are never synced',
    caughtBy: '1/async/power-random/154',
    fileSystem: (fs) => withFiles(fs, /\.table/, noSync),
  },
  {
    name: 'blobs are never synced',
    caughtBy: '3/async/power-random/276',
    fileSystem: (fs) => withFiles(fs, /\.blob/, noSync),
  },
  {
    name: 'marks and decisions are never synced',
    caughtBy: '1/async/process/120',
    fileSystem: (fs) => withFiles(fs, COORDINATOR_LOG, noSync),
  },
  {
    name: 'a group is acknowledged before it is written',
    caughtBy: '2/async/process/181',
    fileSystem: (fs) =>
      withFiles(fs, WAL, (inner) => {
        // The last write is held back until the next one, or until it is asked for.
        let held: { bytes: Uint8Array; position: number } | undefined;
        const release = (): void => {
          if (held !== undefined) inner.write(held.bytes, held.position);
          held = undefined;
        };
        return {
          write(bytes: Uint8Array, position: number) {
            release();
            held = { bytes: Uint8Array.from(bytes), position };
          },
          datasync() {
            release();
            inner.datasync();
          },
          sync() {
            release();
            inner.sync();
          },
          async datasyncLater() {
            release();
            await inner.datasyncLater();
          },
        };
      }),
  },
  {
    name: 'a write that falls short is taken for whole',
    caughtBy: '1/async/process/120',
    fileSystem: (fs) =>
      withFiles(fs, WAL, (inner) => ({
        write(bytes: Uint8Array, position: number) {
          inner.write(bytes.length > 6000 ? bytes.subarray(0, 6000) : bytes, position);
        },
      })),
  },
  {
    name: 'a read that falls short is taken for whole',
    caughtBy: '1/async/process/120',
    fileSystem: (fs) =>
      withFiles(fs, WAL, (inner) => ({
        read: (target: Uint8Array, position: number) =>
          inner.read(target.length > 3000 ? target.subarray(0, 3000) : target, position),
      })),
  },
  {
    name: 'a log that cannot be read is taken to end there',
    caughtBy: '5/sync/read-eio-once/298',
    fileSystem: (fs) =>
      withFiles(fs, WAL, (inner) => ({
        read(target: Uint8Array, position: number) {
          try {
            return inner.read(target, position);
          } catch (error) {
            if (error instanceof IoError) return 0;
            throw error;
          }
        },
      })),
  },
  {
    name: 'a sync that failed is tried again',
    caughtBy: '3/sync/sync-once/133',
    fileSystem: (fs) => {
      const retry = (sync: () => void): void => {
        try {
          sync();
        } catch (error) {
          if (error instanceof Error && error.name === 'PowerLossError') throw error;
          sync();
        }
      };
      return withFiles(fs, WAL, (inner) => ({
        datasync: () => retry(() => inner.datasync()),
        async datasyncLater() {
          retry(() => inner.datasync());
        },
      }));
    },
  },
  {
    name: 'a torn tail is not cut',
    caughtBy: '3/periodic/enospc-once/327',
    fileSystem: (fs) => withFiles(fs, WAL, () => ({ truncate() {} })),
  },
  {
    name: 'what recovery found is not made durable',
    caughtBy: '3/periodic/enospc-once/327',
    fileSystem: (fs) => withFiles(fs, WAL, () => ({ sync() {} })),
  },
  {
    name: 'a log segment is deleted before its table is there',
    caughtBy: '1/async/power-synced/137',
    beforeFlush(fs, directory) {
      const segments = fs.readdir(directory).filter((name) => WAL.test(name));
      for (const name of segments.slice(0, -1)) fs.unlink(`${directory}/${name}`);
    },
  },
  {
    name: 'decisions are forgotten before they are applied',
    caughtBy: '1/sync/power-synced/137',
    decisions: () => new Map(),
  },
  {
    name: 'a sequence number is used twice',
    caughtBy: '3/async/process/242',
    control: ({ buffer }) => new ReusingControl(buffer),
  },
  {
    name: 'a mark is too high',
    caughtBy: '1/async/process/120',
    control: ({ buffer }) => new BoastingControl(buffer),
  },
  {
    name: 'a flush does not wait for its barrier',
    caughtBy: '1/async/power-random/154',
    durability: () => ({ covering: async () => {} }),
  },
  {
    name: 'the cut after a power loss is skipped',
    caughtBy: '3/async/power-random/276',
    cutSequence: () => undefined,
  },
  {
    name: 'the cut after a power loss is too low',
    caughtBy: '1/async/process/120',
    cutSequence: (cutSequence) => (cutSequence === undefined ? undefined : cutSequence - 3),
  },
  {
    name: 'a power loss is taken for the death of the process',
    caughtBy: '1/async/power-random/154',
    fileSystem: (fs) => {
      const identity = Buffer.alloc(16, 7);
      return delegate(fs, { systemIdentity: () => identity });
    },
  },
];
