/**
 * Threads that die at a step, in one thread with all others: every later call of one that is dead throws,
 * so nothing that it would have done then is done.
 */

import type { FileSystem } from '../../src/file-system/file-system.js';
import type { ControlBlock } from '../../src/router/control-block.js';

export class Died extends Error {}

type Actor = 'client' | 'coordinator';

/** Of each, the calls in which it may die. */
const CONTROL_STEPS = [
  'allocateDecisions',
  'decisionsAllocated',
  'nextTimestamp',
  'letGo',
] as const;
const TABLE_STEPS = [
  'preparedByAll',
  'setSequence',
  'decide',
  'commit',
  'revoke',
  'doubt',
  'markReady',
  'tellOwner',
  'takeReady',
  'startAwaiting',
  'stopAwaiting',
  'prepared',
  'abort',
  'begin',
] as const;
const LOG_STEPS = ['offer', 'takeBack', 'take', 'appended', 'giveBack', 'leave'] as const;

/** Who is about to die, and when. */
export class Fate {
  actor: Actor | undefined;
  /** Steps that are left to it. */
  left = -1;
  doomed: Actor | undefined;
  readonly dead = new Set<Actor>();
  readonly passed = new Set<string>();

  doom(actor: Actor, steps: number): void {
    this.doomed = actor;
    this.left = steps;
  }

  step(name: string): void {
    const { actor } = this;
    if (actor === undefined) return;
    if (this.dead.has(actor)) throw new Died(name);
    if (this.doomed !== actor) return;
    if (--this.left >= 0) return;
    this.doomed = undefined;
    this.dead.add(actor);
    this.passed.add(`${actor} ${name}`);
    throw new Died(name);
  }

  /** From now on all that changes what threads share is a step. */
  watch(control: ControlBlock): void {
    this.#watch(control, CONTROL_STEPS);
    this.#watch(control.transactions, TABLE_STEPS);
    this.#watch(control.transactions.lentLog, LOG_STEPS);
    // Who waits for the coordinator sees at once that it does not decide.
    Object.assign(control.transactions, { awaitChange: () => undefined });
  }

  #watch(target: object, names: readonly string[]): void {
    for (const name of names) {
      const own = Reflect.get(target, name) as (...args: unknown[]) => unknown;
      const step = (...args: unknown[]): unknown => {
        this.step(name);
        return own.apply(target, args);
      };
      Object.assign(target, { [name]: step });
    }
  }

  /** Each write is a step; who dies in one may have written a part. */
  watchWrites(fs: FileSystem, random: () => number): FileSystem {
    const open: FileSystem['open'] = (path, mode) => {
      const file = fs.open(path, mode);
      const write = file.write.bind(file);
      file.write = (bytes, position) => {
        try {
          this.step('write');
        } catch (error) {
          write(bytes.subarray(0, Math.floor(random() * (bytes.length + 1))), position);
          throw error;
        }
        write(bytes, position);
      };
      return file;
    };
    return new Proxy(fs, {
      get: (target, name) => {
        const found: unknown = name === 'open' ? open : Reflect.get(target, name);
        return typeof found === 'function' ? found.bind(target) : found;
      },
    });
  }

  as<T>(actor: Actor, work: () => T): T {
    const before = this.actor;
    this.actor = actor;
    try {
      return work();
    } finally {
      this.actor = before;
    }
  }
}
