/**
 * A random life of a database whose coordinator lends its log, in one thread: batches by clients that
 * decide them, commits by way of the workers, barriers, flushes, refused writes; clients, coordinators and
 * shard workers that die at any step; crashes. What was promised is looked at after each crash.
 */

import { LightningError, ShardUnavailableError } from '../../src/errors.js';
import { MemoryFileSystem, seededRandom } from '../../src/file-system/memory.js';
import { stateOf, TRANSACTION_ABORTED } from '../../src/router/transaction-table.js';
import { createPlace, LocalDatabase, type TogetherCommit } from '../durability/local-database.js';
import { put, testConfig } from '../shard/harness.js';
import { DirectClient, leftovers } from './direct-client.js';
import { Died, Fate } from './fate.js';

const SHARDS = 3;
const GROUPS: readonly (readonly number[])[] = [[0, 1], [1, 2], [0, 2], [0, 1, 2], [0, 1, 2], [2]];
/** Turns in which all comes to its end. */
const TURNS_MAX = 400;

type Outcome = 'open' | 'acknowledged' | 'none' | 'unknown';

interface Commit {
  readonly id: number;
  readonly group: number;
  outcome: Outcome;
  sequence: number;
  error?: unknown;
}

export interface RandomRunOptions {
  readonly seed: number;
  readonly steps: number;
  readonly withErrors: boolean;
}

export class RandomRun {
  readonly #options: RandomRunOptions;
  readonly #random: () => number;
  readonly #fs: MemoryFileSystem;
  readonly #fate = new Fate();
  #db!: LocalDatabase;
  #clients: DirectClient[] = [];
  #commits: Commit[] = [];
  #nextId = 1;
  /** Those by way of the workers that wait for answers. */
  #together: { commit: Commit; together: TogetherCommit; sequences: (number | undefined)[] }[] = [];
  /** Acknowledged when the last barrier began. */
  #durable: Commit[] = [];
  #nowMs = 1;
  #hasErrors = false;
  #isOver = false;
  /** Shards whose workers sleep. */
  readonly #lent = new Set<number>();
  /** A client that has died, and nobody but the shards knows. */
  #unreleased: DirectClient | undefined;
  /** Shards without a worker. */
  readonly #away = new Set<number>();
  readonly counts = new Map<string, number>();
  readonly trace: string[] = [];

  constructor(options: RandomRunOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
    this.#fs = new MemoryFileSystem(options.seed);
    createPlace(this.#fs, SHARDS);
  }

  get passed(): ReadonlySet<string> {
    return this.#fate.passed;
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #count(what: string): void {
    this.trace.push(what);
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  async run(): Promise<void> {
    await this.#open();
    for (let i = 0; i < this.#options.steps; i++) await this.#stepOn();
    await this.#crash();
    await this.#abandon();
  }

  /** All threads are dead: nothing is taken back. */
  async #abandon(): Promise<void> {
    const fate = this.#fate;
    fate.dead.add('coordinator');
    fate.actor = 'coordinator';
    await this.#db.abandon().catch((error) => {
      if (!(error instanceof Died)) throw error;
    });
    fate.actor = undefined;
  }

  // ---- the database -------------------------------------------------------------------

  async #open(): Promise<void> {
    const config = testConfig({ shards: SHARDS, walSync: 'async' });
    this.#db = await LocalDatabase.open({
      fs: this.#fs,
      config,
      lendsLog: true,
      clock: { nowMs: () => this.#nowMs, wallMs: () => this.#nowMs },
    });
    this.#clients = [];
    this.#fate.watch(this.#db.control);
    this.#connect();
  }

  #connect(): void {
    const fs = this.#fate.watchWrites(this.#fs, () => this.#random());
    const client = new DirectClient(this.#db, undefined, fs);
    client.onRing = () => this.#decide();
    this.#clients.push(client);
  }

  /** The coordinator takes a turn, if there is one. */
  #decide(): void {
    this.#asCoordinator(() => this.#db.decide());
  }

  #asCoordinator(work: () => void): void {
    const fate = this.#fate;
    if (fate.dead.has('coordinator')) return;
    try {
      fate.as('coordinator', work);
    } catch (error) {
      if (!fate.dead.has('coordinator')) throw error;
      this.#count('coordinator died');
      this.trace.push(`  ${error}`);
      this.#killCoordinator();
    }
  }

  /** Nothing of it comes back. */
  #killCoordinator(): void {
    const { durability } = this.#db;
    Object.assign(durability.log, { hold: dieAgain });
    Object.assign(durability, { covering: away, runDue: away });
  }

  #replaceCoordinator(): void {
    const { dead } = this.#fate;
    for (let tries = 0; ; tries++) {
      dead.delete('coordinator');
      this.#killCoordinator();
      try {
        this.#fate.as('coordinator', () => this.#db.replaceCoordinator());
        break;
      } catch (error) {
        // It has died as well, or finds no room for its segment.
        if (!dead.has('coordinator') && !(error instanceof LightningError)) throw error;
        if (tries === 5) throw error;
        this.#count('coordinator died');
      }
    }
    this.#count('coordinator replaced');
  }

  #turn(): boolean {
    this.#nowMs++;
    this.#decide();
    let worked = false;
    for (const [index, { shard }] of this.#db.shards.entries()) {
      if (!this.#away.has(index)) worked = shard.turn() || worked;
    }
    this.#receive();
    return worked;
  }

  // ---- commits ------------------------------------------------------------------------

  #newCommit(): Commit {
    const group = this.#below(GROUPS.length);
    const commit: Commit = { id: this.#nextId++, group, outcome: 'open', sequence: 0 };
    this.#commits.push(commit);
    return commit;
  }

  #parts({ id, group }: Commit) {
    const pad = 'v'.repeat(this.#below(100));
    return (GROUPS[group] as number[]).map((shard) => ({
      shard,
      operations: [put(`group-${group}`, `${id}`), put(`commit-${id}`, pad)],
    }));
  }

  #settled(commit: Commit, promise: Promise<number>): void {
    promise.then(
      (sequence) => {
        commit.outcome = 'acknowledged';
        commit.sequence = sequence;
      },
      (error) => this.#refused(commit, error),
    );
  }

  #refused(commit: Commit, error: unknown): void {
    commit.error = error;
    if (!(error instanceof LightningError)) throw error;
    commit.outcome = error.details['outcome'] === 'unknown' ? 'unknown' : 'none';
  }

  /** By a client that holds the shards. */
  async #direct(client: DirectClient): Promise<void> {
    const commit = this.#newCommit();
    const shards = GROUPS[commit.group] as number[];
    const parts = this.#parts(commit);
    for (const shard of client.offer(shards)) this.#lent.add(shard);
    const fate = this.#fate;
    try {
      const promise = fate.as('client', () => client.commit(parts));
      if (promise === undefined) this.#commits.pop();
      else this.#settled(commit, promise);
      this.#count(promise === undefined ? 'not direct' : 'direct');
      if (promise) this.trace.push(`  ${commit.id} over ${shards}`);
    } catch (error) {
      if (!fate.dead.has('client')) throw error;
      commit.outcome = 'unknown';
      await this.#afterDeath(client);
      return;
    }
    this.#takeBack();
    await immediate();
  }

  #takeBack(): void {
    for (const shard of this.#lent) this.#db.shard(shard).shard.lending.takeBack();
    this.#lent.clear();
  }

  #byWorkers(): void {
    const commit = this.#newCommit();
    const together = this.#db.commitTogether(this.#parts(commit));
    this.#together.push({ commit, together, sequences: [] });
    this.#count('by workers');
    this.trace.push(`  ${commit.id} over ${GROUPS[commit.group]}`);
  }

  #receive(): void {
    for (const client of this.#clients) client.receive();
    for (const waiting of [...this.#together]) {
      const { commit, together, sequences } = waiting;
      for (const [at, { shard, id }] of together.requests.entries()) {
        if (sequences[at] !== undefined) continue;
        const answer = this.#db.shard(shard).client.poll(id);
        if (answer === undefined) continue;
        try {
          sequences[at] = answer.payload.length === 8 ? answer.payload.readDoubleLE(0) : -1;
        } catch (error) {
          commit.error = error;
        }
        if (sequences[at] === -1) commit.error ??= answer.payload.toString();
      }
      if (together.requests.some((_, at) => sequences[at] === undefined)) continue;
      this.#together.splice(this.#together.indexOf(waiting), 1);
      const isDone = sequences.every((sequence) => (sequence as number) > 0);
      commit.sequence = isDone ? (sequences[0] as number) : 0;
      const isUnknown = String(commit.error).includes('"unknown"');
      commit.outcome = isDone ? 'acknowledged' : isUnknown ? 'unknown' : 'none';
    }
  }

  // ---- deaths -------------------------------------------------------------------------

  /** Anything may happen before the shards, and the coordinator, find out. */
  async #afterDeath(client: DirectClient): Promise<void> {
    this.#count('client died');
    this.trace.push(
      `  in ${[...this.#fate.passed].at(-1)} ${JSON.stringify(this.#commits.at(-1))}`,
    );
    this.#fate.dead.delete('client');
    this.#clients.splice(this.#clients.indexOf(client), 1);
    const isRetiredFirst = this.#below(2) === 0;
    this.#db.control.retireClient(client.slot);
    if (this.#below(4) === 0) this.#replaceCoordinator();
    if (this.#below(4) === 0) this.#asCoordinator(() => this.#db.durability.log.takeUp());
    if (this.#below(3) === 0) this.#decide();
    const replaced = [...this.#lent].filter(() => this.#below(4) === 0);
    for (const shard of replaced) {
      this.#lent.delete(shard);
      this.#away.add(shard);
    }
    this.#unreleased = client;
    if (isRetiredFirst) await this.#releaseDead();
    this.#takeBack();
    for (const shard of replaced) if (!this.#isOver) await this.#replaceShard(shard);
    if (this.#isOver) return;
    await this.#releaseDead();
    this.#connect();
  }

  async #releaseDead(): Promise<void> {
    const client = this.#unreleased;
    this.#unreleased = undefined;
    if (client !== undefined) await this.#release(client);
  }

  /** What the coordinator does about a thread that has died (router/attached-threads.ts). */
  async #release(client: DirectClient): Promise<void> {
    if (this.#fate.dead.has('coordinator')) this.#replaceCoordinator();
    const { control } = this.#db;
    const { transactions } = control;
    const aborted: { slot: number; word: number }[] = [];
    for (let slot = 0; slot < transactions.highWater; slot++) {
      const word = transactions.word(slot);
      if (((word >>> 3) & 63) !== client.slot) continue;
      transactions.unclaim(slot, word);
      transactions.abort(slot, word, 5);
      if (stateOf(transactions.word(slot)) === TRANSACTION_ABORTED) aborted.push({ slot, word });
    }
    this.#asCoordinator(() => this.#db.durability.log.takeUp());
    for (const [shard, { shard: it }] of this.#db.shards.entries()) {
      if (this.#away.has(shard)) continue;
      if (this.#lent.delete(shard)) it.lending.takeBack();
      it.releaseClient(client.slot);
      for (const { slot, word } of aborted) control.letGo(slot, word, shard);
    }
    control.freeClient(client.slot);
  }

  async #replaceShard(shard: number): Promise<void> {
    this.#count('shard replaced');
    this.trace.push(`  ${shard}`);
    this.#away.add(shard);
    let isDone = false;
    const done = this.#replaced(shard).finally(() => {
      isDone = true;
    });
    done.catch(() => undefined);
    for (let turns = 0; !isDone; turns++) {
      if (turns % 50 === 5 && this.#fate.dead.has('coordinator')) this.#replaceCoordinator();
      if (turns === 10) await this.#releaseDead();
      this.#turn();
      await immediate();
      if (turns > 2000) throw new Error(`A shard does not recover: ${this.#states()}`);
    }
    await done;
    if (this.#isOver) return;
    this.#away.delete(shard);
    // Whoever waited for it is told, and has a new connection.
    for (const { commit } of this.#together) commit.outcome = 'unknown';
    for (const commit of this.#commits) if (commit.outcome === 'open') commit.outcome = 'unknown';
    this.#together = [];
    const clients = this.#clients;
    this.#clients = [];
    for (const client of clients) {
      this.#db.control.retireClient(client.slot);
      await this.#release(client);
    }
    this.#connect();
  }

  /** One that cannot open its log, or has waited for too long, is started again. */
  async #replaced(shard: number): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        await this.#db.replaceShard(shard);
        return;
      } catch (error) {
        if (!(error instanceof LightningError) || !this.#hasErrors) throw error;
        // A commit that is in doubt until the database is opened again.
        if (tries === 3) {
          this.#isOver = true;
          return;
        }
      }
    }
  }

  #states(): string {
    const { transactions } = this.#db.control;
    const words = Array.from({ length: transactions.highWater }, (_, slot) => {
      const word = transactions.word(slot);
      return `${stateOf(word)} of ${(word >>> 3) & 63} ${transactions.participants(slot)}`;
    });
    return words.join(', ');
  }

  // ---- steps --------------------------------------------------------------------------

  /** The power may fail in the middle. */
  async #stepOn(): Promise<void> {
    try {
      await this.#step();
    } catch (error) {
      if (!this.#fs.powerLost) throw error;
    }
    await immediate();
    if (this.#fs.powerLost) await this.#crash('synced');
  }

  async #step(): Promise<void> {
    if (this.#isOver) await this.#crash();
    const choice = this.#below(100);
    const { log } = this.#db.durability;
    if (choice < 50) {
      const client = this.#clients[this.#below(this.#clients.length)] as DirectClient;
      await this.#direct(client);
    } else if (choice < 60) this.#byWorkers();
    else if (choice < 72) this.#turn();
    else if (choice < 78) await this.#barrier();
    else if (choice < 80) this.#asCoordinator(() => attempt(() => log.rotate()));
    else if (choice < 82) await this.#flush();
    else if (choice < 83) this.#replaceCoordinator();
    else if (choice < 84) await this.#replaceShard(this.#below(SHARDS));
    else if (choice < 91) this.#fate.doom('client', this.#below(25));
    else if (choice < 94) this.#fate.doom('coordinator', this.#below(25));
    else if (choice < 96) this.#fault();
    else if (choice < 97 && this.#clients.length < 3) this.#connect();
    else if (choice < 98) await this.#quiet();
    else if (choice < 99 || this.#hasErrors) await this.#crash();
  }

  #fault(): void {
    if (!this.#options.withErrors) return;
    if (this.#below(4) === 0) {
      this.#fs.crashAt(1 + this.#below(12));
      this.#hasErrors = true;
      this.#count('power cut');
      return;
    }
    const errno = (['ENOSPC', 'ENOSPC', 'EMFILE', 'EFBIG', 'EIO', 'SHORT'] as const)[
      this.#below(6)
    ] as string;
    if (errno === 'EIO') this.#hasErrors = true;
    const calls = errno === 'EMFILE' ? 'open' : errno === 'EIO' ? 'sync' : 'write';
    this.#fs.failOnce(1 + this.#below(8), errno, this.#below(2) === 0 ? calls : 'write');
    this.#hasErrors = true;
    this.#count(`fault ${errno}`);
    this.trace.push(`  ${this.#fs.calls}`);
  }

  async #barrier(): Promise<void> {
    if (this.#fate.dead.has('coordinator')) return;
    const acknowledged = this.#commits.filter(({ outcome }) => outcome === 'acknowledged');
    const { durability } = this.#db;
    const { actor } = this.#fate;
    // What is done before the first await, and after each, is not told apart here.
    this.#fate.actor = undefined;
    const running = durability.runDue();
    running.catch(() => undefined);
    if (this.#below(2) === 0 && this.#clients.length > 0) {
      await this.#direct(this.#clients[0] as DirectClient);
    }
    if (this.#below(3) === 0 && durability === this.#db.durability) {
      attempt(() => durability.log.rotate());
    }
    try {
      await running;
      if (durability === this.#db.durability) this.#durable = acknowledged;
    } catch (error) {
      if (!(error instanceof LightningError || error instanceof Died)) throw error;
    }
    this.#fate.actor = actor;
    this.#count('barrier');
  }

  async #flush(): Promise<void> {
    // What fails for want of one is tried again after a while.
    if (this.#fate.dead.has('coordinator')) this.#replaceCoordinator();
    if (this.#fate.doomed === 'coordinator') this.#fate.doomed = undefined;
    let isDone = false;
    const flushed = this.#db
      .flush()
      .catch((error) => {
        if (!(error instanceof LightningError)) throw error;
      })
      .finally(() => {
        isDone = true;
      });
    for (let turns = 0; !isDone && turns < TURNS_MAX; turns++) {
      this.#turn();
      await immediate();
    }
    if (!isDone && !this.#hasErrors) throw new Error('A flush does not end');
    if (isDone) await flushed;
    this.#count('flush');
  }

  /** All comes to its end, and nothing is left. */
  async #quiet(): Promise<void> {
    if (this.#fate.dead.has('coordinator')) this.#replaceCoordinator();
    this.#fate.doomed = undefined;
    if (this.#hasErrors) return;
    for (let turns = 0; turns < 20; turns++) {
      this.#turn();
      await immediate();
    }
    const left = leftovers(this.#db);
    if (left.length > 0) throw new Error(`Left: ${left.join(', ')}`);
    const open = this.#commits.filter(({ outcome }) => outcome === 'open');
    if (open.length > 0) throw new Error(`Open: ${JSON.stringify(open)}`);
    const { control } = this.#db;
    if (control.stableSequence() !== control.lastSequence()) throw new Error('Not stable');
    await this.#verify('all');
    this.#count('quiet');
  }

  async #crash(mode: 'all' | 'synced' = this.#below(2) === 0 ? 'all' : 'synced'): Promise<void> {
    if (!this.#hasErrors && this.#below(2) === 0) await this.#quiet();
    for (const commit of this.#commits) if (commit.outcome === 'open') commit.outcome = 'unknown';
    this.#together = [];
    await this.#abandon();
    this.#fs.crash(mode);
    this.#fate.doomed = undefined;
    this.#fate.dead.clear();
    this.#hasErrors = false;
    this.#isOver = false;
    this.#unreleased = undefined;
    this.#away.clear();
    this.#lent.clear();
    this.#count(`crash ${mode}`);
    await this.#open();
    await this.#verify(mode);
  }

  // ---- promises -----------------------------------------------------------------------

  async #verify(mode: 'all' | 'synced'): Promise<void> {
    const survived: Commit[] = [];
    for (const commit of this.#commits) {
      const parts = GROUPS[commit.group] as number[];
      const found: boolean[] = [];
      for (const shard of parts) {
        found.push((await this.#get(shard, `commit-${commit.id}`)) !== undefined);
      }
      if (new Set(found).size > 1) throw new Error(`Torn: ${describe(commit)} ${found}`);
      const isThere = found[0] === true;
      if (isThere) survived.push(commit);
      if (isThere && commit.outcome === 'none') throw new Error(`Refused: ${describe(commit)}`);
      const isPromised =
        commit.outcome === 'acknowledged' && (mode === 'all' || this.#durable.includes(commit));
      if (!isThere && isPromised) throw new Error(`Lost (${mode}): ${describe(commit)}`);
    }
    const last = Math.max(0, ...survived.map(({ sequence }) => sequence));
    for (const commit of this.#commits) {
      if (commit.sequence === 0 || commit.sequence > last || survived.includes(commit)) continue;
      throw new Error(`Hole (${mode}): ${describe(commit)} below ${last}`);
    }
    await this.#verifyGroups(survived);
    this.#commits = survived.slice(-200);
    this.#durable = mode === 'all' ? this.#durable : [...survived];
  }

  async #verifyGroups(survived: readonly Commit[]): Promise<void> {
    for (const [group, shards] of GROUPS.entries()) {
      const values = new Set<string | undefined>();
      for (const shard of shards) values.add(await this.#get(shard, `group-${group}`));
      if (values.size > 1) throw new Error(`Torn: group ${group} ${[...values]}`);
      const own = survived.filter((commit) => commit.group === group);
      const known = own.filter(({ sequence }) => sequence > 0);
      const [value] = values;
      const latest = known.reduce((max, { sequence }) => Math.max(max, sequence), 0);
      const seen = own.find(({ id }) => `${id}` === value);
      if (seen !== undefined && seen.sequence > 0 && seen.sequence < latest) {
        throw new Error(`Back: group ${group} holds ${value}`);
      }
    }
  }

  async #get(shard: number, key: string): Promise<string | undefined> {
    return this.#db.shard(shard).client.get(key);
  }
}

function describe({ error, ...commit }: Commit): string {
  return `${JSON.stringify(commit)} ${GROUPS[commit.group]} ${String(error)}`;
}

function dieAgain(): never {
  throw new Died('again');
}

async function away(): Promise<never> {
  throw new ShardUnavailableError('The coordinator is away', { details: { outcome: 'unknown' } });
}

function attempt(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof LightningError)) throw error;
  }
}

function immediate(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
