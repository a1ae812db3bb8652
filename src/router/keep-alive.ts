/**
 * Keeps the process running while something is awaited that Node does not count: an answer in a
 * ring. A MessagePort that is referenced holds the event loop; nothing is ever sent through it.
 */

import { MessageChannel, type MessagePort } from 'node:worker_threads';

export class KeepAlive {
  readonly #port: MessagePort;
  readonly #other: MessagePort;
  #holds = 0;

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#other = port2;
    this.#port.on('message', ignore);
    this.#port.unref();
    this.#other.unref();
  }

  hold(): void {
    if (this.#holds++ === 0) this.#port.ref();
  }

  drop(): void {
    if (--this.#holds === 0) this.#port.unref();
  }

  /** Holds until the promise is settled. */
  async during<T>(promise: Promise<T>): Promise<T> {
    this.hold();
    try {
      return await promise;
    } finally {
      this.drop();
    }
  }

  close(): void {
    this.#port.close();
    this.#other.close();
  }
}

function ignore(): void {}
