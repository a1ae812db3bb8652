/**
 * Calls to another thread over comlink. Such a call is never settled when the other thread dies, and
 * nothing keeps this one alive meanwhile; here both are seen to.
 */

import { type Outcome, unwrap } from '../coordinator/control-plane.js';

/** A worker or a port: while it is referenced, it keeps the thread alive. */
export interface Referenced {
  ref(): void;
  unref(): void;
}

export class PendingCalls {
  readonly #target: Referenced;
  readonly #rejects = new Set<(error: Error) => void>();
  #ended: Error | undefined;

  constructor(target: Referenced) {
    this.#target = target;
  }

  /** Makes a call; rejects with the error that the callee met, or when the other thread is gone. */
  async run<T>(invoke: () => Promise<Outcome<T>>): Promise<T> {
    if (this.#ended !== undefined) throw this.#ended;
    return unwrap(
      await new Promise<Outcome<T>>((resolve, reject) => {
        const settle = (): void => {
          this.#rejects.delete(gone);
          if (this.#rejects.size === 0) this.#target.unref();
        };
        const gone = (error: Error): void => {
          settle();
          reject(error);
        };
        this.#rejects.add(gone);
        if (this.#rejects.size === 1) this.#target.ref();
        invoke().then(
          (outcome) => {
            settle();
            resolve(outcome);
          },
          (error: Error) => gone(error),
        );
      }),
    );
  }

  /** The other thread is gone: fails what is under way and all later calls. */
  end(error: Error): void {
    this.#ended = error;
    for (const reject of [...this.#rejects]) reject(error);
  }
}
