/**
 * A database of several shards with the coordinator's log, in one thread: turns are taken by hand,
 * jobs run at once, over a file system in memory. Nothing happens by time.
 */

import type { ResolvedConfig } from '../../src/config.js';
import { DecisionLoop } from '../../src/coordinator/decision-loop.js';
import { CommitDurability, type DurabilityOptions } from '../../src/coordinator/durability.js';
import { readDecisionLog, readDecisions } from '../../src/coordinator/log-reader.js';
import { deserializeError, LightningError } from '../../src/errors.js';
import { shardDirectoryName } from '../../src/file-system/file-names.js';
import type { FileSystem } from '../../src/file-system/file-system.js';
import { REQUEST_PREPARE, RESPONSE_ERROR } from '../../src/kernel/assembly/layout.js';
import {
  encodePrepareHead,
  newPrepareHead,
  PREPARE_HEAD_BYTES,
  type PrepareHead,
} from '../../src/protocol/prepare.js';
import { isLeftClean } from '../../src/router/clean-close.js';
import { ControlBlock } from '../../src/router/control-block.js';
import { IDS_PER_OPEN } from '../../src/router/transaction-table.js';
import type { Clock } from '../../src/shard/shard-options.js';
import { COORDINATOR_DIRECTORY } from '../../src/version/database-file.js';
import { DATABASE_ID, encodeOperations, type Operation, TestShard } from '../shard/harness.js';
import { type Changes, SOUND } from './plants.js';

export const DATABASE_PATH = '/db';
const COORDINATOR_PATH = `${DATABASE_PATH}/${COORDINATOR_DIRECTORY}`;

export interface Part {
  readonly shard: number;
  readonly operations: readonly Operation[];
}

export interface TogetherCommit {
  readonly slot: number;
  readonly word: number;
  readonly requests: readonly { readonly shard: number; readonly id: number }[];
}

export interface LocalDatabaseOptions {
  readonly fs: FileSystem;
  readonly config: ResolvedConfig;
  readonly clock?: Clock;
  readonly plant?: Changes;
  /** Clients commit themselves whenever a shard can be lent. */
  readonly direct?: boolean;
  /** The coordinator lends its log, as it does outside of tests. */
  readonly lendsLog?: boolean;
}

let opens = 0;

/** Creates the directories of a database, durably. */
export function createPlace(fs: FileSystem, shards: number): void {
  fs.mkdir(DATABASE_PATH);
  fs.syncDirectory('/');
  fs.mkdir(`${DATABASE_PATH}/${COORDINATOR_DIRECTORY}`);
  for (let shard = 0; shard < shards; shard++) {
    fs.mkdir(`${DATABASE_PATH}/${shardDirectoryName(shard)}`);
  }
  fs.syncDirectory(DATABASE_PATH);
}

function openCounter(fs: FileSystem): number {
  return readDecisionLog(fs, COORDINATOR_PATH, DATABASE_ID)?.header.openCounter ?? 0;
}

export class LocalDatabase {
  readonly control: ControlBlock;
  readonly shards: TestShard[] = [];
  readonly #options: LocalDatabaseOptions;
  #durability: CommitDurability | undefined;
  #decisions: DecisionLoop | undefined;
  readonly #bootId: number;
  #nextId = 0;

  private constructor(options: LocalDatabaseOptions) {
    const { plant = SOUND, fs } = options;
    this.#options = { ...options, fs: plant.fileSystem?.(fs) ?? fs };
    const control = ControlBlock.create(options.config.shards);
    this.control = plant.control?.(control) ?? control;
    this.#bootId = ++opens;
  }

  /** When it throws, nothing of it goes on. */
  static async open(options: LocalDatabaseOptions): Promise<LocalDatabase> {
    const database = new LocalDatabase(options);
    try {
      await database.#open();
      return database;
    } catch (error) {
      await database.abandon();
      throw error;
    }
  }

  async #open(): Promise<void> {
    const { config } = this.#options;
    if (config.readOnly) {
      const { cutSequence } = CommitDurability.read(this.#durabilityOptions, COORDINATOR_PATH);
      await this.#openShards(cutSequence);
      return;
    }
    const { fs } = this.#options;
    const place = { path: DATABASE_PATH, databaseId: DATABASE_ID, shards: config.shards };
    const areLogsEmpty = isLeftClean(fs, place);
    // The threads of a clean open do not wait for one another.
    const isShardFirst = areLogsEmpty && openCounter(fs) % 2 === 0;
    if (isShardFirst) await this.#openShards(undefined);
    const options = { ...this.#durabilityOptions, areLogsEmpty };
    const durability = CommitDurability.open(options, COORDINATOR_PATH, false);
    this.#durability = durability;
    if (!isShardFirst) {
      await this.#openShards(areLogsEmpty ? undefined : durability.recovered.cutSequence);
    }
    await durability.settle();
    // In turns they would be loaded as time passes: here at once, or when somebody asks for them.
    if ((durability.log.openCounter & 2) === 0) {
      for (const { shard } of this.shards) await shard.loadTables();
    }
    this.control.transactions.raiseIds(durability.log.openCounter * IDS_PER_OPEN);
    this.#nextId = this.control.transactions.grantIds().first;
    this.#decisions = this.#newLoop(durability);
    if (this.#options.lendsLog === true) this.#decisions.lendLog();
  }

  get #durabilityOptions(): DurabilityOptions {
    const { fs, config } = this.#options;
    return {
      fs,
      path: DATABASE_PATH,
      databaseId: DATABASE_ID,
      bootId: this.#bootId,
      config,
      control: this.control,
      syncShard: async (shard: number) => this.shards[shard]?.shard.syncLog(),
      onFailure: (error: LightningError) => {
        for (const { shard } of this.shards) shard.state.becomeReadOnly(error);
      },
    };
  }

  #newLoop({ log }: CommitDurability): DecisionLoop {
    const { config } = this.#options;
    return new DecisionLoop({
      control: this.control,
      log,
      syncAlways: config.walSync === 'sync',
      nowUs: () => 1e15,
      ringShard: () => {},
    });
  }

  async #openShards(cutSequence: number | undefined): Promise<void> {
    const { config, plant = SOUND } = this.#options;
    const cut = plant.cutSequence === undefined ? cutSequence : plant.cutSequence(cutSequence);
    for (let shard = 0; shard < config.shards; shard++) {
      this.shards.push(await this.#openShard(shard, cut));
    }
  }

  #openShard(shard: number, cutSequence?: number): Promise<TestShard> {
    const { fs, config, clock, plant = SOUND, direct = false } = this.#options;
    const isOrdered = config.walSync !== 'sync' && config.shards > 1;
    const durability = {
      covering: async (sequence: number) => this.#durability?.covering(sequence),
    };
    return TestShard.open({
      fs,
      directory: `${DATABASE_PATH}/${shardDirectoryName(shard)}`,
      config,
      ...(clock === undefined ? {} : { clock }),
      control: this.control,
      shard,
      direct,
      mayLoadTables: () => false,
      before: async (job) => {
        if (job.kind === 'flush')
          plant.beforeFlush?.(fs, `${DATABASE_PATH}/${shardDirectoryName(shard)}`);
      },
      durability: isOrdered ? (plant.durability?.(durability) ?? durability) : undefined,
      cutSequence,
      decisions: () => {
        const decisions = readDecisions(fs, COORDINATOR_PATH, DATABASE_ID);
        return plant.decisions?.(decisions) ?? decisions;
      },
    });
  }

  /** The worker of the shard dies, and another takes its place. What clients had sent is lost. */
  async replaceShard(shard: number): Promise<void> {
    await endJobs(this.shard(shard));
    this.shards[shard] = await this.#openShard(shard);
  }

  /** The coordinator dies, and another takes its place. */
  replaceCoordinator(): void {
    const { control } = this;
    if (this.#options.lendsLog !== true) this.#durability?.log.close();
    control.transactions.lentLog.takeBack((client) => control.isClientAlive(client));
    this.#durability = CommitDurability.open(this.#durabilityOptions, COORDINATOR_PATH, true);
    this.#decisions = this.#newLoop(this.#durability);
    this.#decisions.takeOver();
    if (this.#options.lendsLog === true) this.#decisions.lendLog();
  }

  get durability(): CommitDurability {
    if (this.#durability === undefined) throw new Error('The database is read-only');
    return this.#durability;
  }

  shard(shard: number): TestShard {
    return this.shards[shard] as TestShard;
  }

  /** A turn of everybody; true when somebody had something to do. */
  turn(): boolean {
    try {
      let worked = this.#decisions?.turn() ?? false;
      for (const { client } of this.shards) {
        if (client.direct !== undefined) client.commitDirect(client.direct);
      }
      for (const { shard } of this.shards) worked = shard.turn() || worked;
      return worked;
    } catch (error) {
      if (!(error instanceof LightningError)) throw error;
      // Nobody asked for this: a worker would end here.
      throw new Error(`A turn threw ${error.stack}`, { cause: error });
    }
  }

  /** The coordinator decides what is ready; nobody else does anything. */
  decide(): void {
    this.#decisions?.turn();
  }

  /** Sends what is to be committed on several shards as one; `wait` for the answer of each. */
  commitTogether(
    parts: readonly Part[],
    flags = 0,
    rest: Partial<PrepareHead> = {},
  ): TogetherCommit {
    const { transactions } = this.control;
    const slot = transactions.claim(1);
    const id = this.#nextId++;
    const low = parts.reduce((bits, { shard }) => bits | (1 << shard), 0);
    const word = transactions.begin(slot, id, low, 0);
    const head = Buffer.alloc(PREPARE_HEAD_BYTES);
    const view = new DataView(head.buffer, head.byteOffset, head.length);
    encodePrepareHead({ ...newPrepareHead(), ...rest, slot, word, id }, view, 0);
    const requests = parts.map(({ shard, operations }) => {
      const payload = Buffer.concat([head, encodeOperations(operations)]);
      const { client } = this.shard(shard);
      return { shard, id: client.send(REQUEST_PREPARE, operations.length, payload, flags) };
    });
    return { slot, word, requests };
  }

  /** Takes turns until the answer is there; undefined: it does not come. */
  async wait(shard: number, id: number, turnsMax: number): Promise<number | undefined> {
    const { client } = this.shard(shard);
    for (let turns = 0; turns < turnsMax; turns++) {
      const answer = client.poll(id);
      if (answer?.kind === RESPONSE_ERROR) {
        throw deserializeError(JSON.parse(answer.payload.toString()));
      }
      if (answer !== undefined) return answer.payload.readDoubleLE(0);
      if (!this.turn()) await new Promise((resolve) => setImmediate(resolve));
    }
    return undefined;
  }

  /** What `periodic` does after an interval. */
  async passInterval(): Promise<void> {
    await this.durability.runDue();
  }

  async flush(): Promise<void> {
    await Promise.all(this.shards.map(({ shard }) => shard.flush()));
  }

  async close(): Promise<void> {
    const outcomes = await Promise.allSettled(this.shards.map(({ shard }) => shard.close()));
    const isDurable =
      outcomes.every(({ status }) => status === 'fulfilled') &&
      this.shards.every(({ shard }) => shard.state.readOnlyReason === undefined);
    await this.#durability?.close(isDurable);
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** After a crash: ends what still runs, without a word to the file system that counts. */
  async abandon(): Promise<void> {
    for (const shard of this.shards) await endJobs(shard);
    await this.#durability?.close(false);
  }
}

async function endJobs({ shard }: TestShard): Promise<void> {
  shard.compactor.close();
  await shard.flusher.close();
}
