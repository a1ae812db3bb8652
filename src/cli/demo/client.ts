/** A second client: a worker thread that joins the database its parent opened. */

import { parentPort, workerData } from 'node:worker_threads';
import { LightningDb, type LightningDbHandle } from '../../index.js';
import { type Measured, type MeasureName, measure } from './measurements.js';

/** What the parent hands over. The table travels as two long strings: cheap to clone. */
export interface ClientData {
  readonly handle: LightningDbHandle;
  readonly keys: string;
  readonly values: string;
  readonly rounds: Int32Array;
  readonly client: number;
  readonly clients: number;
}

/** Parent to client. */
export type ClientRequest =
  | { readonly kind: 'measure'; readonly name: MeasureName; readonly seconds: number }
  | { readonly kind: 'close' };

/** Client to parent. */
export type ClientResponse =
  | { readonly kind: 'ready' }
  | ({ readonly kind: 'measured' } & Measured)
  | { readonly kind: 'failed'; readonly message: string };

async function main(): Promise<void> {
  const port = parentPort;
  if (port === null) throw new Error('The second client runs as a worker only');
  const { handle, keys, values, rounds, client, clients } = workerData as ClientData;
  const respond = (response: ClientResponse): void => port.postMessage(response);
  const db = await LightningDb.attach(handle);
  const table = { keys: keys.split('\n'), values: values.split('\n') };
  port.on('message', async (request: ClientRequest) => {
    if (request.kind === 'close') {
      await db.close();
      port.close();
      return;
    }
    try {
      const { name, seconds } = request;
      const context = { db, table, rounds, client, clients, seconds };
      respond({ kind: 'measured', ...(await measure(name, context)) });
    } catch (error) {
      respond({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
    }
  });
  respond({ kind: 'ready' });
}

await main();
