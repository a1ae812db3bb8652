/**
 * Clients on threads of their own: each opens its own way to the data, waits for the others, and
 * runs the same loop as a single client would.
 */

import { once } from 'node:events';
import { type MessagePort, Worker } from 'node:worker_threads';
import { YOUNG_GENERATION_MB } from '../../limits.js';
import { uniform, zipfian } from './key-choice.js';
import { LatencyHistogram } from './latency-histogram.js';
import { Pace } from './pace.js';
import { ownThreadId } from './process-counters.js';
import { Records } from './records.js';
import type { BenchClient, ClientAccess } from './store.js';
import { readBorrowedSync, readRandomSync, writeBatches } from './workloads.js';

export type ClientWork = 'readrandom' | 'readborrowed' | 'readzipfian' | 'overwrite';

export interface ClientThreadData {
  readonly access: ClientAccess;
  readonly work: ClientWork;
  readonly count: number;
  readonly recordsSeed: number;
  readonly seed: number;
  readonly seconds: number;
  readonly version: number;
  /** One word, set by the starting side: one of the gate's states. */
  readonly gate: SharedArrayBuffer;
}

interface Ready {
  readonly threadId: number | undefined;
}

export interface ClientDone {
  readonly operations: number;
  readonly seconds: number;
}

/** Nobody has started; run; finish what has no end of its own; leave. */
const GATE_WAIT = 0;
const GATE_RUN = 1;
const GATE_FINISH = 2;
const GATE_LEAVE = 3;
const WARM_UP_SECONDS = 0.2;

/** The thread's side. */
export async function runClientThread(
  data: ClientThreadData,
  port: MessagePort,
  open: (access: ClientAccess) => Promise<BenchClient>,
): Promise<void> {
  const records = new Records(data.count, data.recordsSeed);
  const client = await open(data.access);
  const gate = new Int32Array(data.gate);
  if (data.work !== 'overwrite') readFor(client, records, data, WARM_UP_SECONDS);
  port.postMessage({ threadId: ownThreadId() } satisfies Ready);
  Atomics.wait(gate, 0, GATE_WAIT);
  const pace =
    data.work !== 'overwrite'
      ? readFor(client, records, data, data.seconds)
      : await overwriteUntil(client, records, data, () => Atomics.load(gate, 0) >= GATE_FINISH);
  port.postMessage({ operations: pace.operations, seconds: pace.seconds } satisfies ClientDone);
  // The CPU time of a thread that ended cannot be read any more.
  for (let state = 0; state < GATE_LEAVE; state = Atomics.load(gate, 0)) {
    Atomics.wait(gate, 0, state, 10);
  }
  await client.close();
}

function readFor(
  client: BenchClient,
  records: Records,
  { work, count, seed, version }: ClientThreadData,
  seconds: number,
): Pace {
  const pace = new Pace({ seconds, operationsMax: Number.POSITIVE_INFINITY });
  const read = work === 'readborrowed' ? readBorrowedSync : readRandomSync;
  const choose = work === 'readzipfian' ? zipfian(count, seed) : uniform(count, seed);
  pace.start();
  read(client, { records, pace, version, choose });
  pace.stop();
  return pace;
}

async function overwriteUntil(
  client: BenchClient,
  records: Records,
  { seed, version }: ClientThreadData,
  isOver: () => boolean,
): Promise<Pace> {
  const choose = uniform(records.count, seed);
  const whole = new Pace({ seconds: Number.POSITIVE_INFINITY, operationsMax: 0 });
  whole.start();
  while (!isOver()) {
    const pace = new Pace({ seconds: 1, operationsMax: 100, histogram: new LatencyHistogram() });
    pace.start();
    await writeBatches({ store: client, records, pace }, choose, version);
    whole.more(100);
  }
  whole.stop();
  return whole;
}

export interface ClientThreadsOptions extends Omit<ClientThreadData, 'gate' | 'seed'> {
  /** The program that calls `runClientThread`. */
  readonly entry: URL;
  readonly threads: number;
  readonly seed: number;
}

/** The starting side: threads that are ready to run. */
export class ClientThreads {
  readonly threadIds: readonly number[];
  readonly #workers: readonly Worker[];
  readonly #gate: Int32Array;
  readonly #done: Promise<readonly ClientDone[]>;

  private constructor(
    workers: readonly Worker[],
    gate: Int32Array,
    threadIds: readonly number[],
    done: Promise<readonly ClientDone[]>,
  ) {
    this.#workers = workers;
    this.#gate = gate;
    this.threadIds = threadIds;
    this.#done = done;
  }

  static async start(options: ClientThreadsOptions): Promise<ClientThreads> {
    const { entry, threads, seed, ...data } = options;
    const gate = new SharedArrayBuffer(4);
    const workers = Array.from(
      { length: threads },
      (_, index) =>
        new Worker(entry, {
          workerData: { ...data, gate, seed: seed + index * 101 } satisfies ClientThreadData,
          // The resident memory that is reported is to be the store's, not the garbage of these threads.
          resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
        }),
    );
    const ready = await Promise.all(workers.map(nextMessage<Ready>));
    const done = Promise.all(workers.map(nextMessage<ClientDone>));
    done.catch(() => undefined);
    const ids = ready.flatMap(({ threadId }) => (threadId === undefined ? [] : [threadId]));
    return new ClientThreads(workers, new Int32Array(gate), ids, done);
  }

  /** Lets all of them start. */
  go(): void {
    this.#set(GATE_RUN);
  }

  /** Ends work that has no end of its own. */
  finish(): void {
    this.#set(GATE_FINISH);
  }

  #set(state: number): void {
    Atomics.store(this.#gate, 0, state);
    Atomics.notify(this.#gate, 0);
  }

  /** What each of them did. */
  done(): Promise<readonly ClientDone[]> {
    return this.#done;
  }

  /** Lets the threads leave. Resolves when they are gone. */
  async end(): Promise<void> {
    this.#set(GATE_LEAVE);
    await Promise.all(
      this.#workers.map((worker) =>
        worker.threadId === -1 ? undefined : once(worker, 'exit').catch(() => undefined),
      ),
    );
  }
}

/** Rejects when the thread fails instead. */
async function nextMessage<T>(worker: Worker): Promise<T> {
  const [message] = (await once(worker, 'message')) as [T];
  return message;
}
