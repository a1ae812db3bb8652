/**
 * One point of the sweep: a script against a database in memory, a fault at one call of the file
 * system, and whether what comes back is what was promised.
 *
 * A point is a line: `<script>/<mode>/<fault>/<call>`. It repeats exactly: time goes by turns.
 */

import { LightningError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { RECORD_FLAG_SYNC } from '../../src/kernel/assembly/layout.js';
import { checkShard } from '../../src/shard/check-shard.js';
import type { Shard } from '../../src/shard/shard.js';
import { testConfig } from '../shard/harness.js';
import { Account, type Demand } from './account.js';
import { createPlace, LocalDatabase, type Part, type TogetherCommit } from './local-database.js';
import { type Changes, SOUND, watchingZeros } from './plants.js';
import {
  crashModeOf,
  formatPoint,
  isReadFault,
  type Mode,
  type Point,
  planFault,
} from './points.js';
import { allKeys, type Contents, planScript, type Step, type Write } from './script.js';
import { TurnTime } from './turn-time.js';
import { isDamaged, isReadRefusal, UnsteadyReads } from './unsteady-reads.js';

export interface PointResult {
  /** What is wrong; undefined: nothing. */
  readonly failure: string | undefined;
  /** Whether the fault came before the script was over. */
  readonly isHit: boolean;
  /** Calls of the file system in all: the same whenever the point is run. */
  readonly calls: number;
}

export async function runPoint(point: Point, plant: Changes = SOUND): Promise<PointResult> {
  const run = new PointRun(point, plant);
  return run.run();
}

/** The calls of the file system that a script makes when nothing fails, in order. */
export async function traceScript(script: number, mode: Mode): Promise<readonly string[]> {
  const run = new PointRun({ script, mode, fault: 'process', call: FAR }, SOUND);
  return run.trace();
}

/** How many calls that read a script makes when nothing fails. */
export async function countReads(script: number, mode: Mode): Promise<number> {
  const run = new PointRun({ script, mode, fault: 'read-eio-once', call: FAR }, SOUND);
  await run.trace();
  return run.reads;
}

/** Of a write, once there is room: flushes that failed are tried again after a pause. */
const ATTEMPTS_MAX = 1000;
/** Further than any script goes. */
const FAR = 2 ** 40;

/** The calls at which a script in mode `sync` writes zeros ahead of a log. */
export async function zeroCalls(script: number): Promise<readonly number[]> {
  const calls: number[] = [];
  const point: Point = { script, mode: 'sync', fault: 'process', call: FAR };
  const run: PointRun = new PointRun(
    point,
    watchingZeros(() => calls.push(run.calls + 1)),
  );
  await run.trace();
  return calls;
}

const REFUSALS: readonly string[] = [
  'LIGHTNING_NO_SPACE',
  'LIGHTNING_READ_ONLY',
  'LIGHTNING_IO',
  'LIGHTNING_ABORTED',
  'LIGHTNING_SHARD_UNAVAILABLE',
];

/** The rule that was broken. */
class BrokenPromise extends Error {}

class PointRun {
  readonly #point: Point;
  readonly #plant: Changes;
  readonly #fs: MemoryFileSystem;
  readonly #account = new Account();
  readonly #time = new TurnTime();
  readonly #script;
  /** Where calls that read are to fail. */
  readonly #unsteady: UnsteadyReads | undefined;
  #db: LocalDatabase | undefined;
  /** A commit is in doubt until the database is opened again: what it holds up is not gone into. */
  #isOver = false;

  constructor(point: Point, plant: Changes) {
    this.#point = point;
    this.#plant = plant;
    this.#script = planScript(point.script);
    this.#fs = new MemoryFileSystem(point.script * 100_003 + point.call);
    createPlace(this.#fs, this.#script.shards);
    if (isReadFault(point.fault)) this.#unsteady = new UnsteadyReads(this.#account, point.script);
  }

  async run(): Promise<PointResult> {
    const restore = this.#time.install();
    try {
      return await this.#run();
    } finally {
      restore();
    }
  }

  async #run(): Promise<PointResult> {
    let isHit = false;
    try {
      planFault(this.#fs, this.#point);
      await this.#runScript();
      isHit = this.#fs.powerLost || this.#fs.faultsHit > 0;
      await this.#end();
      return { failure: undefined, isHit, calls: this.#callsInAll };
    } catch (error) {
      const message = error instanceof BrokenPromise ? error.message : describe(error);
      this.#fs.clearFaults();
      await this.#db?.abandon().catch(() => undefined);
      const failure = `${formatPoint(this.#point)}: ${message}`;
      return { failure, isHit, calls: this.#callsInAll };
    }
  }

  /** Mutating calls of the file system so far. */
  get calls(): number {
    return this.#fs.calls;
  }

  async trace(): Promise<readonly string[]> {
    const restore = this.#time.install();
    try {
      const trace: string[] = [];
      this.#fs.trace = trace;
      await this.#runScript();
      this.#fs.trace = undefined;
      await this.#db?.close();
      return trace;
    } finally {
      restore();
    }
  }

  /** Calls that read so far, the last ones not those of a close. */
  get reads(): number {
    return this.#fs.reads;
  }

  get #callsInAll(): number {
    return this.calls + this.reads;
  }

  get #isCrash(): boolean {
    return crashModeOf(this.#point) !== undefined;
  }

  // ---- the script -----------------------------------------------------------------------

  async #runScript(): Promise<void> {
    try {
      await this.#open();
      for (const step of this.#script.steps) {
        await this.#take(step);
        this.#expect(await this.#unsteady?.afterStep(this.#opened, () => this.#fs.faultsHit));
        // Sometimes the end comes soon after the fault, before flushes hide what it did.
        if (this.#point.call % 4 === 1 && this.#fs.faultsHit > 0) return;
        if (this.#isOver) return;
      }
    } catch (error) {
      if (this.#fs.powerLost) return;
      // An open that is refused: the database stays closed.
      if (!(error instanceof LightningError)) throw error;
      if (this.#unsteady !== undefined && !isReadRefusal(error)) throw error;
    }
  }

  async #open(): Promise<void> {
    const { mode } = this.#point;
    const config = testConfig({
      shards: this.#script.shards,
      walSync: mode,
      // Intervals pass when the script says so.
      walSyncIntervalMs: 2 ** 30,
      arenaBytes: 96 * 1024,
      memtableBytes: 192 * 1024,
      tableBytesMax: 64 * 1024,
    });
    this.#db = undefined;
    // Half of the points have clients that commit themselves.
    const direct = (this.#point.call & 2) !== 0;
    this.#db = await LocalDatabase.open({
      fs: this.#fs,
      config,
      clock: this.#time.clock,
      plant: this.#plant,
      direct,
    });
  }

  get #opened(): LocalDatabase {
    if (this.#db === undefined) throw new BrokenPromise('the database is not open');
    return this.#db;
  }

  async #take(step: Step): Promise<void> {
    const db = this.#opened;
    switch (step.kind) {
      case 'writes':
        await this.#write(db, step.writes);
        break;
      case 'flush':
        await this.#tolerate(() => db.shard(step.shard).shard.flush());
        break;
      case 'compact':
        await this.#tolerate(() => db.shard(step.shard).shard.compact());
        break;
      case 'interval':
        if (this.#point.mode === 'periodic') await this.#passInterval(db);
        break;
      case 'pause':
        await new Promise((resolve) => setImmediate(resolve));
        break;
      case 'reopen':
        await this.#reopen(db);
        break;
    }
  }

  async #write(db: LocalDatabase, writes: readonly Write[]): Promise<void> {
    const after = db.control.lastSequence();
    const sent = writes.map((write) => ({ write, commit: send(db, write) }));
    for (const [i, { write, commit }] of sent.entries()) {
      try {
        const sequence = await this.#answer(db, commit);
        if (sequence === undefined) {
          this.#account.doubt(write, after);
          this.#isOver = true;
          continue;
        }
        this.#account.acknowledge(write, sequence);
        const isDurable = write.isSync || this.#point.mode === 'sync';
        if (isDurable) this.#raiseDurable(sequence);
      } catch (error) {
        if (this.#fs.powerLost) {
          for (const { write: lost } of sent.slice(i)) this.#account.doubt(lost, after);
          throw error;
        }
        this.#noteRefusal(write, after, error);
      }
    }
  }

  /** The sequence number of a commit that took place; undefined: nobody can say. */
  async #answer(db: LocalDatabase, commit: TogetherCommit): Promise<number | undefined> {
    const errors: unknown[] = [];
    let sequence: number | undefined;
    let isSilent = false;
    for (const { shard, id } of commit.requests) {
      try {
        const answer = await this.#answerOf(db, shard, id);
        if (answer === undefined) isSilent = true;
        else sequence = answer;
      } catch (error) {
        if (this.#fs.powerLost) throw error;
        errors.push(error);
        // The others need not wait for this one.
        if (commit.slot >= 0) db.control.transactions.abort(commit.slot, commit.word, 5);
      }
    }
    if (isSilent) return undefined;
    const unknown = errors.find(
      (error) => error instanceof LightningError && error.details['outcome'] === 'unknown',
    );
    if (unknown !== undefined) throw unknown;
    if (errors.length > 0 && sequence !== undefined) {
      throw new BrokenPromise(`half of a commit was acknowledged: ${describe(errors[0])}`);
    }
    if (errors.length > 0) throw errors[0];
    return sequence;
  }

  /**
   * A commit that is in the log and larger than the memtables that are left waits for a flush: the
   * answer comes when there is room again, at the latest. One whose decision could not be written is
   * never answered.
   */
  async #answerOf(db: LocalDatabase, shard: number, id: number): Promise<number | undefined> {
    if (this.#isCrash) return db.wait(shard, id, 100_000);
    const answer = await db.wait(shard, id, 1500);
    if (answer !== undefined) return answer;
    this.#fs.clearFaults();
    const isBroken = db.durability.log.poison !== undefined;
    return db.wait(shard, id, isBroken ? 100 : 1_000_000);
  }

  #noteRefusal(write: Write, after: number, error: unknown): void {
    if (!(error instanceof LightningError)) throw error;
    if (!REFUSALS.includes(error.code)) throw new BrokenPromise(describe(error));
    if (error.details['outcome'] === 'unknown') this.#account.doubt(write, after);
  }

  #raiseDurable(sequence: number): void {
    this.#account.durableSequence = Math.max(this.#account.durableSequence, sequence);
  }

  async #passInterval(db: LocalDatabase): Promise<void> {
    const sequence = db.control.lastSequence();
    await this.#tolerate(async () => {
      await db.passInterval();
      this.#raiseDurable(sequence);
    });
  }

  /** Work that may be refused, with a typed error. */
  async #tolerate(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (this.#fs.powerLost || !(error instanceof LightningError)) throw error;
    }
  }

  async #reopen(db: LocalDatabase): Promise<void> {
    const sequence = db.control.lastSequence();
    await this.#tolerate(async () => {
      await db.close();
      // What a close has left survives.
      const isWhole = db.shards.every(({ shard }) => shard.state.readOnlyReason === undefined);
      if (isWhole) this.#raiseDurable(sequence);
    });
    await this.#open();
    this.#account.reopen(this.#opened.control.lastSequence());
  }

  // ---- what comes back --------------------------------------------------------------------

  async #end(): Promise<void> {
    if (!this.#isCrash && !this.#isOver && this.#db !== undefined) await this.#checkAlive(this.#db);
    await this.#db?.abandon();
    const mode = crashModeOf(this.#point) ?? (this.#point.call % 2 === 0 ? 'all' : 'random');
    this.#fs.crash(mode);
    const isProcess = mode === 'all';
    await this.#interruptRecovery(isProcess);
    await this.#open();
    const { mode: syncMode } = this.#point;
    const demand: Demand =
      isProcess || syncMode === 'sync'
        ? { kind: 'all' }
        : { kind: 'prefix', from: this.#account.durableSequence };
    const found = await this.#contents();
    this.#expect(this.#account.fault(found, demand));
    await this.#expectSound();
    await this.#expectOpenIsDurable(found);
  }

  /** Reads go on after any refusal; so do writes, after want of room is over. */
  async #checkAlive(db: LocalDatabase): Promise<void> {
    // Without descriptors, a table that is not open cannot be read.
    if (this.#point.fault.startsWith('emfile')) this.#fs.clearFaults();
    if (this.#unsteady === undefined) {
      this.#expect(this.#account.fault(await this.#contents(), { kind: 'all' }));
      this.#fs.clearFaults();
    } else {
      await this.#checkUnsteady(db, this.#unsteady);
    }
    for (const { client, shard } of db.shards) {
      if (shard.state.readOnlyReason !== undefined) continue;
      const id = 1_000_000 + shard.state.options.shard;
      const write: Write = {
        id,
        parts: [
          {
            shard: shard.state.options.shard,
            operations: [{ type: 'put', key: 'key-0', value: `${id}:0:` }],
          },
        ],
        isSync: false,
        isBlob: false,
      };
      for (let attempts = 0; ; attempts++) {
        try {
          this.#account.acknowledge(write, await client.commit(write.parts[0]?.operations ?? []));
          break;
        } catch (error) {
          const code = error instanceof LightningError ? error.code : undefined;
          if (code !== 'LIGHTNING_NO_SPACE' && code !== 'LIGHTNING_IO') throw error;
          if (attempts === ATTEMPTS_MAX) throw new BrokenPromise('writes do not resume');
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
    }
  }

  /** What could not be read is there, as it was. */
  async #checkUnsteady(db: LocalDatabase, unsteady: UnsteadyReads): Promise<void> {
    this.#expect(await unsteady.everything(db));
    this.#fs.clearFaults();
    this.#expect(await unsteady.everything(db));
    if (db.shards.some((_, shard) => isDamaged(db, shard))) return;
    this.#expect(this.#account.fault(await this.#contents(), { kind: 'all' }));
    for (const { shard } of db.shards) {
      if (shard.state.readOnlyReason !== undefined) continue;
      await this.#compactInTime(shard);
    }
    this.#expect(this.#account.fault(await this.#contents(), { kind: 'all' }));
  }

  /** Flushes that had failed before are tried again after a pause; until then, compact is told of it. */
  async #compactInTime(shard: Shard): Promise<void> {
    for (let attempts = 0; ; attempts++) {
      try {
        await shard.compact();
        return;
      } catch (error) {
        if (!isReadRefusal(error)) throw error;
        if (attempts === ATTEMPTS_MAX) throw new BrokenPromise('flushes do not resume');
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  /** Recovery may meet the same fate, more than once. */
  async #interruptRecovery(isProcess: boolean): Promise<void> {
    const fs = this.#fs;
    const isUnsteady = this.#unsteady !== undefined;
    const attemptsMax = isUnsteady ? 8 : 3;
    const luck = isUnsteady ? 0.8 : 0.4;
    for (let attempts = 0; attempts < attemptsMax && fs.random() < luck; attempts++) {
      if (isUnsteady) planFault(fs, { ...this.#point, call: 1 + Math.floor(fs.random() * 160) });
      else fs.crashAt(1 + Math.floor(fs.random() * 60));
      try {
        await this.#open();
        await this.#opened.abandon();
      } catch (error) {
        if (!fs.powerLost && !(isUnsteady && isReadRefusal(error))) throw error;
      }
      fs.crash(isProcess ? 'all' : 'random');
    }
  }

  async #contents(): Promise<Contents> {
    const contents = new Map<string, string>();
    const keys = allKeys();
    for (const [shard, { client }] of this.#opened.shards.entries()) {
      for (const key of keys) {
        const value = await client.get(key);
        if (value !== undefined) contents.set(`${shard}/${key}`, value);
      }
    }
    return contents;
  }

  async #expectSound(): Promise<void> {
    for (const { shard } of this.#opened.shards) {
      const { problems } = await checkShard(shard.state);
      if (problems.length > 0) throw new BrokenPromise(`check found ${JSON.stringify(problems)}`);
    }
  }

  /** What an open has found survives the next power loss, in any mode; later writes may not. */
  async #expectOpenIsDurable(found: Contents): Promise<void> {
    const db = this.#opened;
    this.#account.settle(found, db.control.lastSequence());
    for (const { client, shard } of db.shards) {
      const id = 2_000_000 + shard.state.options.shard;
      const write: Write = {
        id,
        parts: [
          {
            shard: shard.state.options.shard,
            operations: [{ type: 'put', key: 'key-1', value: `${id}:0:` }],
          },
        ],
        isSync: false,
        isBlob: false,
      };
      this.#account.acknowledge(write, await client.commit(write.parts[0]?.operations ?? []));
    }
    await db.abandon();
    this.#fs.crash('synced');
    await this.#open();
    const isAll = this.#point.mode === 'sync';
    const demand: Demand = isAll
      ? { kind: 'all' }
      : { kind: 'prefix', from: this.#account.durableSequence };
    const fault = this.#account.fault(await this.#contents(), demand);
    this.#expect(fault === undefined ? undefined : `after a second power loss: ${fault}`);
    await this.#opened.close();
  }

  #expect(fault: string | undefined): void {
    if (fault !== undefined) throw new BrokenPromise(fault);
  }
}

/** Sends a write; its slot is -1 when one shard commits it alone. */
function send(db: LocalDatabase, { parts, isSync, isBlob }: Write): TogetherCommit {
  const flags = isSync ? RECORD_FLAG_SYNC : 0;
  const [{ shard, operations }] = parts as [Part];
  if (parts.length > 1) return db.commitTogether(parts, flags);
  const { client } = db.shard(shard);
  const [first] = operations;
  const id =
    isBlob && first?.type === 'put'
      ? client.writeBlob(first.key, Buffer.from(first.value), flags)
      : client.write(operations, flags);
  return { slot: -1, word: 0, requests: [{ shard, id }] };
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
