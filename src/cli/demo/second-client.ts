/** The parent's side of the second client. */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { LightningDbHandle } from '../../index.js';
import type { ClientData, ClientRequest, ClientResponse } from './client.js';
import type { Measured, MeasureName } from './measurements.js';
import type { NetworkTable } from './networks.js';

export class SecondClient {
  readonly #worker: Worker;

  private constructor(worker: Worker) {
    this.#worker = worker;
  }

  /** Starts the worker; resolves when it has joined the database. */
  static async start(
    handle: LightningDbHandle,
    table: NetworkTable,
    rounds: Int32Array,
  ): Promise<SecondClient> {
    const workerData: ClientData = {
      handle,
      keys: table.keys.join('\n'),
      values: table.values.join('\n'),
      rounds,
      client: 1,
      clients: 2,
    };
    const client = new SecondClient(
      new Worker(new URL('./demo-client.js', import.meta.url), { workerData }),
    );
    await client.#response();
    return client;
  }

  async measure(name: MeasureName, seconds: number): Promise<Measured> {
    this.#request({ kind: 'measure', name, seconds });
    const response = await this.#response();
    if (response.kind !== 'measured') throw new Error('The second client answered out of turn');
    return response;
  }

  async close(): Promise<void> {
    const exit = once(this.#worker, 'exit');
    this.#request({ kind: 'close' });
    await exit;
  }

  #request(request: ClientRequest): void {
    this.#worker.postMessage(request);
  }

  async #response(): Promise<ClientResponse> {
    const waiting = new AbortController();
    const { signal } = waiting;
    try {
      const exit = once(this.#worker, 'exit', { signal }).then(() => {
        throw new Error('The second client ended before it answered');
      });
      const message = once(this.#worker, 'message', { signal });
      const [response] = (await Promise.race([message, exit])) as [ClientResponse];
      if (response.kind === 'failed') throw new Error(response.message);
      return response;
    } finally {
      waiting.abort();
    }
  }
}
