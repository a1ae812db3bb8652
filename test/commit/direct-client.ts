/**
 * A client that commits batches over several shards on its own thread, in one thread with all others: the
 * shards "sleep" while it does so, and the coordinator decides when it is rung, or does not.
 */

import { deserializeError } from '../../src/errors.js';
import type { FileSystem } from '../../src/file-system/file-system.js';
import { H_LATCH, RESPONSE_ERROR } from '../../src/kernel/assembly/layout.js';
import type { Kernel } from '../../src/kernel/kernel.js';
import { LATCH_OWNED } from '../../src/kernel/latch.js';
import { LentShard } from '../../src/kernel/lent-shard.js';
import { BatchPart } from '../../src/router/batch-part.js';
import type { Client } from '../../src/router/client.js';
import { DirectBatch } from '../../src/router/direct-batch.js';
import type { DirectCommit } from '../../src/router/direct-commit.js';
import { DirectDecision } from '../../src/router/direct-decision.js';
import type { ResponseSink } from '../../src/router/response-sink.js';
import type { StringBuffer } from '../../src/router/string-buffer.js';
import { stateOf, TRANSACTION_FREE } from '../../src/router/transaction-table.js';
import { COORDINATOR_DIRECTORY } from '../../src/version/database-file.js';
import { DATABASE_PATH, type LocalDatabase, type Part } from '../durability/local-database.js';
import { encodeOperations, type Operation, TestClient, type TestShard } from '../shard/harness.js';

/** Of what the workers are to answer. */
const REQUEST_ID = 1_000_000;

export class DirectClient {
  readonly slot: number;
  readonly directs: readonly DirectCommit[];
  /** What the workers answer it. */
  readonly answers: readonly TestClient[];
  readonly #db: LocalDatabase;
  readonly #batches: DirectBatch;
  #nextId: number;
  /** By shard: who waits for an answer of its worker. */
  readonly #sinks = new Map<number, ResponseSink>();
  /** When it is rung. */
  onRing: () => void;

  /** `fs`: it decides itself while the coordinator lends its log. */
  constructor(
    db: LocalDatabase,
    kernelOf = (shard: TestShard): Kernel => shard.instantiate(),
    fs?: FileSystem,
  ) {
    const { control } = db;
    this.#db = db;
    // The first one is that of the shards' test clients.
    control.claimClient(7);
    this.slot = control.claimClient(8);
    this.answers = db.shards.map(({ shard, kernel }) => new TestClient(shard, kernel, this.slot));
    this.directs = db.shards.map((shard, index) =>
      shard.directCommit(this.slot, index, kernelOf(shard)),
    );
    this.#nextId = control.transactions.grantIds().first;
    this.onRing = () => db.decide();
    Object.assign(control.transactions, { ring: () => this.onRing() });
    const client = {
      slot: this.slot,
      control,
      commits: { watch: { add() {}, remove() {} } },
      commitEnded() {},
      shards: db.shards.map((_, shard) => ({
        shard,
        idleDirect: this.directs[shard],
        expect: (sink: ResponseSink) => {
          this.#sinks.set(shard, sink);
          return REQUEST_ID;
        },
        wake() {},
      })),
    };
    const directory = `${DATABASE_PATH}/${COORDINATOR_DIRECTORY}`;
    const options = { directory, client: this.slot, control, wallMs: () => 1e12 };
    this.#batches = new DirectBatch(
      client as unknown as Client,
      fs && new DirectDecision({ fs, ...options }),
    );
  }

  /** Hands out what the workers have answered to what was handed over to them. */
  receive(): void {
    for (const [shard, sink] of this.#sinks) {
      const answer = this.answers[shard]?.poll(REQUEST_ID);
      if (answer === undefined) continue;
      this.#sinks.delete(shard);
      if (answer.kind === RESPONSE_ERROR) {
        sink.fail(deserializeError(JSON.parse(answer.payload.toString())));
        continue;
      }
      sink.respond(answer.kind, answer.payload as StringBuffer, 0, answer.payload.length);
    }
  }

  nextId(): number {
    return this.#nextId++;
  }

  /** Undefined: it has to go by way of the workers. */
  batch(parts: readonly Part[]): Promise<number> | undefined {
    const lent = this.offer(parts.map(({ shard }) => shard));
    try {
      return this.commit(parts);
    } finally {
      this.takeBack(lent);
    }
  }

  /** As `batch`, over shards whose workers sleep. */
  commit(parts: readonly Part[]): Promise<number> | undefined {
    const byShard: BatchPart[] = [];
    for (const { shard, operations } of parts) byShard[shard] = partOf(operations);
    const request = { parts: byShard, validateWrites: false, snapshot: 0, sync: false };
    return this.#batches.commit(request, () => this.nextId());
  }

  /** Their workers go to sleep. */
  offer(shards: readonly number[]): number[] {
    return shards.filter((shard) => this.#db.shard(shard).shard.lending.offer());
  }

  /** Their workers wake. */
  takeBack(shards: readonly number[]): void {
    for (const shard of shards) this.#db.shard(shard).shard.lending.takeBack();
  }

  /** The thread ends where it is. */
  die(): void {
    this.#db.control.retireClient(this.slot);
  }

  /** What the coordinator does about a thread that has died. */
  release(): void {
    const { transactions } = this.#db.control;
    const words = Array.from({ length: transactions.highWater }, (_, slot) => {
      const word = transactions.word(slot);
      transactions.unclaim(slot, word);
      transactions.abort(slot, word, 5);
      return word;
    });
    for (const [shard, { shard: it }] of this.#db.shards.entries()) {
      it.releaseClient(this.slot);
      for (const [slot, word] of words.entries()) {
        if (stateOf(transactions.word(slot)) === 5) this.#db.control.letGo(slot, word, shard);
      }
    }
  }
}

export function partOf(operations: readonly Operation[]): BatchPart {
  const part = new BatchPart();
  for (const operation of operations) {
    const bytes = encodeOperations([operation]);
    part.append(bytes, 0, bytes.length);
  }
  return part;
}

/** What would keep others from going on; nothing, when all is over. */
export function leftovers(db: LocalDatabase): string[] {
  const { control } = db;
  const found: string[] = [];
  for (let slot = 0; slot < control.transactions.highWater; slot++) {
    const state = stateOf(control.transactions.word(slot));
    if (state !== TRANSACTION_FREE) found.push(`slot ${slot} is ${state}`);
  }
  for (const [shard, { kernel, shard: it }] of db.shards.entries()) {
    const { phase } = new LentShard(kernel);
    if (phase !== 0) found.push(`shard ${shard} is in phase ${phase}`);
    if (Atomics.load(kernel.i32, H_LATCH >>> 2) !== LATCH_OWNED)
      found.push(`shard ${shard} is away`);
    if (control.hasPendingSequences(shard)) found.push(`shard ${shard} has numbers pending`);
    if (it.state.prepared.count > 0) found.push(`shard ${shard} holds what is prepared`);
  }
  return found;
}
