/** Runs the clients that book rooms; see phantom-client.mjs. */

import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Isolation, LightningDb } from 'lightning-db';

const CLIENT = fileURLToPath(new URL('./phantom-client.mjs', import.meta.url));
const THREADS = 4;

export interface Bookings {
  /** Rooms with more guests than places. */
  readonly overbooked: readonly string[];
  readonly guests: number;
  readonly conflicts: number;
}

export interface BookingOptions {
  readonly isolation: Isolation;
  readonly rooms: number;
  /** Per client. */
  readonly attempts: number;
  readonly shards: number;
  /** All guests are on this shard. */
  readonly onlyShard?: number | undefined;
}

export async function bookRooms(db: LightningDb, options: BookingOptions): Promise<Bookings> {
  const { rooms } = options;
  const places = 2;
  const arrived = new Int32Array(new SharedArrayBuffer(4));
  const conflicts = await Promise.all(
    Array.from({ length: THREADS }, (_, client) => {
      const common = { places, arrived, threads: THREADS, lanes: 2 };
      const workerData = { handle: db.share(), client, ...options, ...common };
      return new Promise<number>((resolve, reject) => {
        const worker = new Worker(CLIENT, { workerData });
        worker.once('message', resolve);
        worker.once('error', reject);
      });
    }),
  );
  const overbooked: string[] = [];
  let guests = 0;
  for (let room = 0; room < rooms; room++) {
    const found = Array.from(db.scanSync({ prefix: `room:${room}:`, values: false }));
    guests += found.length;
    if (found.length > places) overbooked.push(found.join(', '));
  }
  return { overbooked, guests, conflicts: conflicts.reduce((sum, n) => sum + n, 0) };
}
