/**
 * The moments in the life of a commit over three shards, each reached exactly: everybody's turns are
 * taken by hand. A first commit is there before, durably; the second is the one that meets its fate.
 */

import { listLogSegments, logSegmentName } from '../../src/coordinator/log-reader.js';
import { shardDirectoryName } from '../../src/file-system/file-names.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { COORDINATOR_DIRECTORY } from '../../src/version/database-file.js';
import {
  createPlace,
  DATABASE_PATH,
  LocalDatabase,
  type LocalDatabaseOptions,
  type TogetherCommit,
} from '../durability/local-database.js';
import type { Changes } from '../durability/plants.js';
import { logEnd } from '../file-system/log-end.js';
import { put, testConfig } from '../shard/harness.js';

export const SHARDS = 3;
/** A few bytes: what stands at the end of a log is not whole without them. */
const TORN_BYTES = 8;

export type Version = 'first' | 'second';

/** A database in which the second commit has come to some moment. */
export class Scene {
  readonly fs: MemoryFileSystem;
  readonly options: LocalDatabaseOptions;
  readonly db: LocalDatabase;
  readonly commit: TogetherCommit;
  /** Done to the files once the process is dead. */
  onDeath: (() => void) | undefined;

  private constructor(
    fs: MemoryFileSystem,
    options: LocalDatabaseOptions,
    db: LocalDatabase,
    commit: TogetherCommit,
  ) {
    this.fs = fs;
    this.options = options;
    this.db = db;
    this.commit = commit;
  }

  static async make(mode: 'sync' | 'async', seed: number, plant?: Changes): Promise<Scene> {
    const fs = new MemoryFileSystem(seed);
    createPlace(fs, SHARDS);
    const options = { fs, config: testConfig({ shards: SHARDS, walSync: mode }) };
    const db = await LocalDatabase.open(plant === undefined ? options : { ...options, plant });
    const { requests } = send(db, 'first');
    await Promise.all(requests.map(({ shard, id }) => db.wait(shard, id, 1000)));
    await db.durability.covering(db.control.lastSequence());
    return new Scene(fs, options, db, send(db, 'second'));
  }

  /** Turns of one shard, as many as it takes until it waits for others. */
  turn(shard: number): void {
    for (let turns = 0; turns < 5; turns++) this.db.shard(shard).shard.turn();
  }

  turnAll(): void {
    for (let shard = 0; shard < SHARDS; shard++) this.turn(shard);
  }

  /** The coordinator has given the commit its number, and has not come to its log. */
  beginDeciding(): void {
    const { control } = this.db;
    const { slot, word } = this.commit;
    control.transactions.setSequence(slot, control.allocateDecisions(1), control.nextTimestamp(0));
    control.transactions.decide(slot, word);
  }

  walPath(shard: number): string {
    const directory = `${DATABASE_PATH}/${shardDirectoryName(shard)}`;
    const newest = this.fs.readdir(directory).filter((name) => name.endsWith('.wal'));
    return `${directory}/${newest.at(-1)}`;
  }

  logPath(): string {
    const directory = `${DATABASE_PATH}/${COORDINATOR_DIRECTORY}`;
    return `${directory}/${logSegmentName(listLogSegments(this.fs, directory).at(-1) ?? 0)}`;
  }

  cut(path: string, bytes: number): void {
    const file = this.fs.open(path, 'r+');
    file.truncate(bytes);
    file.sync();
    file.close();
  }

  tear(path: string): void {
    this.cut(path, logEnd(this.fs, path) - TORN_BYTES);
  }

  /** How long the shards' logs are, by path. */
  walBytes(): Map<string, number> {
    const paths = Array.from({ length: SHARDS }, (_, shard) => this.walPath(shard));
    return new Map(paths.map((path) => [path, logEnd(this.fs, path)]));
  }
}

function send(db: LocalDatabase, version: Version): TogetherCommit {
  return db.commitTogether(
    Array.from({ length: SHARDS }, (_, shard) => ({ shard, operations: [put('key', version)] })),
  );
}

export interface Moment {
  readonly name: string;
  readonly reach: (scene: Scene) => void | Promise<void>;
  /** What is there when everything dies: by presumed abort. */
  readonly after: Version;
  /** As `after`, when only what was synced is left of it, in the mode `sync`. */
  readonly afterPowerLoss?: Version;
  /** What becomes of it when one of the shards' workers dies; undefined: cannot be told of a worker. */
  readonly afterShard: Version | undefined;
}

export const MOMENTS: readonly Moment[] = [
  {
    name: 'before any PREPARE',
    reach: () => {},
    after: 'first',
    afterShard: 'first',
  },
  {
    name: 'after one PREPARE',
    reach: (scene) => scene.turn(0),
    after: 'first',
    afterShard: 'first',
  },
  {
    name: 'a PREPARE is torn',
    reach: (scene) => {
      const path = scene.walPath(1);
      const before = logEnd(scene.fs, path);
      scene.turn(0);
      scene.turn(1);
      scene.onDeath = () => {
        // What was durable before is not torn: all of the PREPARE may have gone.
        if (logEnd(scene.fs, path) > before) scene.tear(path);
      };
    },
    after: 'first',
    afterShard: undefined,
  },
  {
    name: 'all are prepared, without DECISION',
    reach: (scene) => scene.turnAll(),
    after: 'first',
    afterShard: 'first',
  },
  {
    name: 'the number is known, without DECISION',
    reach: (scene) => {
      scene.turnAll();
      scene.beginDeciding();
    },
    after: 'first',
    // The coordinator has to be replaced, too: it goes on where the other was.
    afterShard: 'second',
  },
  {
    name: 'the DECISION is torn',
    reach: (scene) => {
      scene.turnAll();
      scene.db.decide();
      scene.onDeath = () => scene.tear(scene.logPath());
    },
    after: 'first',
    afterShard: undefined,
  },
  {
    name: 'the DECISION is written, not synced',
    reach: (scene) => {
      scene.turnAll();
      scene.fs.crashAt(2);
      scene.db.decide();
    },
    after: 'second',
    afterPowerLoss: 'first',
    afterShard: undefined,
  },
  {
    name: 'the DECISION is durable, not acknowledged; COMMIT at none',
    reach: (scene) => {
      scene.turnAll();
      scene.db.decide();
    },
    after: 'second',
    afterShard: 'second',
  },
  {
    name: 'COMMIT at one',
    reach: (scene) => {
      scene.turnAll();
      scene.db.decide();
      scene.turn(0);
    },
    after: 'second',
    afterShard: 'second',
  },
  {
    name: 'COMMIT at two',
    reach: (scene) => {
      scene.turnAll();
      scene.db.decide();
      scene.turn(0);
      scene.turn(2);
    },
    after: 'second',
    afterShard: 'second',
  },
  {
    name: 'COMMIT at all',
    reach: (scene) => {
      scene.turnAll();
      scene.db.decide();
      scene.turnAll();
    },
    after: 'second',
    afterShard: 'second',
  },
  {
    name: 'COMMIT written by all, and lost',
    reach: (scene) => {
      scene.turnAll();
      const before = scene.walBytes();
      scene.db.decide();
      scene.turnAll();
      scene.onDeath = () => {
        for (const [path, bytes] of before) scene.cut(path, bytes);
      };
    },
    after: 'second',
    afterShard: undefined,
  },
];
