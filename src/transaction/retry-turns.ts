/**
 * Whose turn it is to run again, of the transactions of one thread that met conflicts about the same
 * key: one at a time, in the order they came. Run together, all but one of them would fail again.
 *
 * One that keeps its turn for long loses it: it may wait, inside of its function, for another
 * transaction that is behind it.
 */

const TURN_MS_MAX = 250;

export interface Turn {
  readonly key: string;
  /** Called when it is its turn. */
  readonly go: () => void;
}

interface Queue {
  /** The first is the one whose turn it is. */
  readonly turns: Turn[];
  timer: NodeJS.Timeout | undefined;
}

export class RetryTurns {
  readonly #queues = new Map<string, Queue>();

  /** Queues up. When it is the first of its key, `go` is not called. */
  take(key: string, go: () => void): Turn {
    const turn: Turn = { key, go };
    const queue = this.#queues.get(key);
    if (queue === undefined) this.#queues.set(key, { turns: [turn], timer: undefined });
    else if (queue.turns.push(turn) === 2) this.#limit(queue);
    return turn;
  }

  isFirst(turn: Turn): boolean {
    return this.#queues.get(turn.key)?.turns[0] === turn;
  }

  /** It is over, or its time is: the next one goes. Idempotent. */
  release(turn: Turn): void {
    const queue = this.#queues.get(turn.key);
    const at = queue?.turns.indexOf(turn) ?? -1;
    if (queue === undefined || at < 0) return;
    queue.turns.splice(at, 1);
    if (queue.turns.length < 2) clearTimeout(queue.timer);
    if (queue.turns.length === 0) this.#queues.delete(turn.key);
    const [next] = queue.turns;
    if (at > 0 || next === undefined) return;
    this.#limit(queue);
    setImmediate(next.go);
  }

  #limit(queue: Queue): void {
    clearTimeout(queue.timer);
    const [first] = queue.turns;
    if (first === undefined || queue.turns.length < 2) return;
    queue.timer = setTimeout(() => this.release(first), TURN_MS_MAX);
  }
}
