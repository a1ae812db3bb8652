/**
 * Drives a shard on its worker thread: turn after turn while there is something to do, parked when
 * there is not.
 *
 * Shortly after traffic the thread blocks on the doorbell in slices of some milliseconds, which wakes
 * fastest; after a while it waits asynchronously, which costs no CPU. The event loop gets a turn at
 * least every millisecond while there is work, and before each block: control messages, finished
 * jobs and timers come through it. While the thread blocks the shard is lent (lending.ts); clients that
 * make use of that keep it from parking, for only from a blocking wait can a shard be lent.
 *
 * No wake-up is lost. The worker notes the doorbell, looks at the rings, says that it sleeps
 * (H_SLEEPING), looks once more, and waits for the doorbell to differ from what it noted. A client
 * publishes, then looks at H_SLEEPING: either it sees 1 and rings, or the worker's second look comes
 * after the publication and sees the request.
 */
import { H_DOORBELL, H_SLEEPING } from '../kernel/assembly/layout.js';
import { ringDoorbell, takeAnnouncement } from '../kernel/doorbell.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Shard } from './shard.js';

/** Busy time between two visits to the event loop. */
const BUSY_MS_MAX = 1;
/**
 * Length of one blocking wait; messages end it, since who sends them rings. An end that lies nearer than
 * the system's next tick (4 ms, as a rule) would make it program a timer for each wait, which costs more
 * than the wake-up itself.
 */
const SLICE_MS = 16;
/** How long after the last request the thread blocks before it parks. */
const LINGER_MS = 8;
/** Longest time parked: a safety net, not a poll. */
const PARKED_MS_MAX = 10_000;

export class ShardDriver {
  readonly #kernel: Kernel;
  readonly #sliceMs: number;
  readonly #doorbell = H_DOORBELL >>> 2;
  readonly #sleeping = H_SLEEPING >>> 2;
  #stopped = false;

  constructor(kernel: Kernel, { sliceMs = SLICE_MS } = {}) {
    this.#kernel = kernel;
    this.#sliceMs = sliceMs;
  }

  /** Something happened outside the rings: the shard is to take a turn. */
  wake(): void {
    ringDoorbell(this.#kernel.i32);
  }

  /** The loop ends before its next turn. */
  stop(): void {
    this.#stopped = true;
    this.wake();
  }

  /** Runs until `stop`. Rejects when a turn throws: then the shard's state is not to be trusted. */
  async run(shard: Shard): Promise<void> {
    // Whoever waits for the shard to serve is told so before the thread may block.
    await visitEventLoop();
    let visitedMs = performance.now();
    let workedMs = visitedMs;
    let hasMessage = false;
    while (!this.#stopped) {
      const seen = Atomics.load(this.#kernel.i32, this.#doorbell);
      const worked = shard.turn();
      const nowMs = performance.now();
      if (worked) workedMs = nowMs;
      if (nowMs - visitedMs >= BUSY_MS_MAX || hasMessage) {
        hasMessage = false;
        await visitEventLoop();
        visitedMs = performance.now();
      } else if (worked && shard.hasMoreToDo) {
        // On with it.
      } else if (nowMs - workedMs < LINGER_MS) {
        if (this.#block(shard, seen)) workedMs = performance.now();
        hasMessage = takeAnnouncement(this.#kernel.i32);
      } else if (await this.#park(shard, seen)) {
        visitedMs = performance.now();
      }
    }
  }

  /**
   * Blocks the thread until the doorbell rings, for a slice at most; meanwhile the shard is lent to
   * whichever client has something to write. True when one had.
   */
  #block(shard: Shard, seen: number): boolean {
    const { i32 } = this.#kernel;
    const timeoutMs = Math.min(this.#sliceMs, shard.wakesInMs() ?? this.#sliceMs);
    let hasCommitted = false;
    Atomics.store(i32, this.#sleeping, 1);
    if (!shard.loop.hasRequests) {
      const isOffered = shard.lending.offer();
      Atomics.wait(i32, this.#doorbell, seen, timeoutMs);
      if (isOffered) hasCommitted = shard.lending.takeBack();
    }
    Atomics.store(i32, this.#sleeping, 0);
    return hasCommitted;
  }

  /** Waits for the doorbell while the event loop goes on. False: there was nothing to wait for. */
  async #park(shard: Shard, seen: number): Promise<boolean> {
    const { i32 } = this.#kernel;
    const timeoutMs = Math.min(PARKED_MS_MAX, shard.wakesInMs() ?? PARKED_MS_MAX);
    shard.lending.withdraw();
    Atomics.store(i32, this.#sleeping, 1);
    const wait = shard.loop.hasRequests
      ? undefined
      : waitAsync(i32, this.#doorbell, seen, timeoutMs);
    if (wait?.async === true) await wait.value;
    Atomics.store(i32, this.#sleeping, 0);
    return wait?.async === true;
  }
}

type WaitAsync = (
  words: Int32Array,
  index: number,
  value: number,
  timeoutMs: number,
) => { readonly async: boolean; readonly value: unknown };

// The library's ES2024 is not in the compiler's target yet; every supported Node has it.
const { waitAsync } = Atomics as unknown as { readonly waitAsync: WaitAsync };

function visitEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
