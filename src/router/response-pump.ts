/**
 * Brings answers to whoever awaits them, on the event loop, for all shards of a client at once.
 *
 * While requests are pending the pump looks for answers once a turn of the event loop. Finding none,
 * it waits on the thread for a moment, if answers have lately come soon and the loop has nothing
 * else to do (`ThreadWait`). Where that does not pay it polls, a turn at a time. When nothing has
 * come for a while it parks: one `Atomics.waitAsync` on the client's doorbell, which costs nothing
 * and wakes late. How long polling goes on adapts to what it yields: a shard that syncs every write
 * is not worth a core.
 *
 * Who awaits one operation after the other gets the answer without a turn between, from a wait right
 * after the request went out; and so does who committed on its own thread, where the answers are there
 * at once. But the event loop has its turn every LOOP_MS_MAX.
 *
 * States: idle (nothing pending), polling (a turn is scheduled), parked (only the doorbell wakes).
 * A wait that was armed stays armed until the doorbell rings, through polling and idling; the
 * doorbell's `waiting` word is 1 only while the ring is wanted.
 */

import type { ClientDoorbell } from './client-doorbell.js';
import type { KeepAlive } from './keep-alive.js';
import type { ShardClient } from './shard-client.js';
import { ThreadWait } from './thread-wait.js';

/** Longest time without an answer that is spent polling, and what it shrinks to. */
const POLL_US_MAX = 80;
const POLL_US_MIN = 5;
/** Longest time that answers are taken without a turn of the event loop. */
const LOOP_MS_MAX = 1;
/** A turn that comes no later than this found nothing else to do on the event loop. */
const LOOP_IDLE_US = 50;
/** So many requests in a row, each alone: the caller awaits one at a time. */
const ALONE_MIN = 4;
/** How many parkings in a row go without polling before it is tried again. */
const POLL_RETRY_AFTER = 32;

interface WaitAsync {
  waitAsync(
    words: Int32Array,
    index: number,
    value: number,
  ): { readonly async: false } | { readonly async: true; readonly value: Promise<string> };
}

const atomics = Atomics as unknown as WaitAsync;

export class ResponsePump {
  readonly #doorbell: ClientDoorbell;
  readonly #shards: readonly ShardClient[];
  readonly #keepAlive: KeepAlive;
  /** Called when a shard's state may have changed. */
  readonly #checkShards: () => void;
  #active = false;
  #polling = false;
  #armed = false;
  #pollUs = POLL_US_MAX;
  #parksWithoutPoll = 0;
  #lastAnswerMs = 0;
  /** When the turn that runs next was asked for, and when the last one ran. */
  #turnAskedMs = 0;
  #turnMs = 0;
  /** Requests in a row that had no other beside them. */
  #alone = 0;
  /** One answer, and any of many, take their own times. */
  readonly #waitForOne: ThreadWait;
  readonly #waitForMany: ThreadWait;

  constructor(
    doorbell: ClientDoorbell,
    shards: readonly ShardClient[],
    keepAlive: KeepAlive,
    checkShards: () => void,
  ) {
    this.#doorbell = doorbell;
    this.#shards = shards;
    this.#keepAlive = keepAlive;
    this.#checkShards = checkShards;
    this.#waitForOne = new ThreadWait(doorbell);
    this.#waitForMany = new ThreadWait(doorbell);
  }

  /** Something is pending: see to it that its answer is taken. */
  start(): void {
    const pending = this.#pending();
    this.#alone = pending === 1 ? this.#alone + 1 : 0;
    if (this.#polling) return;
    this.#lastAnswerMs = performance.now();
    const isSoon = this.#alone >= ALONE_MIN || this.#shards.some(({ hasReady }) => hasReady);
    if (isSoon && this.#lastAnswerMs - this.#turnMs < LOOP_MS_MAX) {
      this.#waitOnThread(pending);
      if (this.#pending() === 0) {
        this.#idle();
        return;
      }
    }
    if (!this.#active) {
      this.#active = true;
      this.#keepAlive.hold();
    }
    this.#poll();
  }

  /** Ends the wait on the doorbell, if there is one. The pump can be started again. */
  stop(): void {
    this.#idle();
    if (this.#armed) Atomics.notify(this.#doorbell.words, this.#doorbell.doorbell);
  }

  /** Says whether rings are wanted; a wait on the thread itself leaves this to be restored. */
  restoreWaiting(): void {
    this.#setWaiting(this.#active && !this.#polling ? 1 : 0);
  }

  #poll(): void {
    this.#polling = true;
    this.#setWaiting(0);
    this.#turnAskedMs = performance.now();
    setImmediate(this.#turn);
  }

  readonly #turn = (): void => {
    this.#polling = false;
    this.#turnMs = performance.now();
    const isLoopIdle = (this.#turnMs - this.#turnAskedMs) * 1000 < LOOP_IDLE_US;
    const pending = this.#pending();
    const answers = isLoopIdle && pending > 0 ? this.#waitOnThread(pending) : this.#receive();
    if (answers > 0) this.#pollUs = POLL_US_MAX;
    this.#goOn(answers);
  };

  /** Takes answers; when there are none, waits on the thread for some. Returns how many came. */
  #waitOnThread(pending: number): number {
    const { words, doorbell } = this.#doorbell;
    const rings = Atomics.load(words, doorbell);
    const answers = this.#receive();
    const wait = pending === 1 ? this.#waitForOne : this.#waitForMany;
    if (answers > 0 || !wait.isWorthwhile()) return answers;
    wait.wait(rings);
    return this.#receive();
  }

  #goOn(answers: number): void {
    if (this.#pending() === 0) {
      this.#idle();
      return;
    }
    const nowMs = performance.now();
    if (answers > 0) {
      this.#lastAnswerMs = nowMs;
      this.#poll();
    } else if ((nowMs - this.#lastAnswerMs) * 1000 < this.#pollUs) {
      this.#poll();
    } else {
      this.#park();
    }
  }

  #park(): void {
    // Polling did not pay: next time less of it, and now and then a try.
    this.#pollUs = Math.max(this.#pollUs / 2, POLL_US_MIN);
    if (++this.#parksWithoutPoll >= POLL_RETRY_AFTER) {
      this.#parksWithoutPoll = 0;
      this.#pollUs = POLL_US_MAX;
    }
    const { words, doorbell } = this.#doorbell;
    this.#setWaiting(1);
    const rings = Atomics.load(words, doorbell);
    this.#checkShards();
    if (this.#receive() > 0 || this.#pending() === 0) {
      this.#lastAnswerMs = performance.now();
      this.#poll();
      return;
    }
    if (this.#armed) return;
    const wait = atomics.waitAsync(words, doorbell, rings);
    if (!wait.async) {
      this.#poll();
      return;
    }
    this.#armed = true;
    void wait.value.then(this.#wake);
  }

  readonly #wake = (): void => {
    this.#armed = false;
    if (!this.#active || this.#polling) return;
    this.#setWaiting(0);
    this.#checkShards();
    this.#lastAnswerMs = performance.now();
    this.#goOn(this.#receive());
  };

  #idle(): void {
    if (!this.#active) return;
    this.#active = false;
    this.#setWaiting(0);
    this.#keepAlive.drop();
  }

  /** Takes the answers of all shards and moves what waits for room in their rings. */
  #receive(): number {
    let answers = 0;
    for (const shard of this.#shards) {
      if (shard.pending === 0) continue;
      answers += shard.receive();
      if (shard.hasQueued) shard.flush();
    }
    return answers;
  }

  #pending(): number {
    let pending = 0;
    for (const shard of this.#shards) pending += shard.pending;
    return pending;
  }

  #setWaiting(value: number): void {
    Atomics.store(this.#doorbell.words, this.#doorbell.waiting, value);
  }
}
