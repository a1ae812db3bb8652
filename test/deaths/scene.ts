/** An open database whose workers can be ended: the built workers, the rest from the sources. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type LightningDbConfig, resolveConfig } from '../../src/config.js';
import type { LightningError, LightningErrorCode } from '../../src/errors.js';
import { LightningDb } from '../../src/lightning-db.js';
import type { ControlBlock } from '../../src/router/control-block.js';
import { type OpenDatabase, openDatabase } from '../../src/router/open-database.js';
// First: it takes hold of the workers that are started.
import { EngineWorkers } from '../torture/engine-workers.mjs';

export const REASON_OF_TEST = 'thrown by a test';

export class Scene {
  readonly engine = new EngineWorkers();
  readonly #directory = mkdtempSync(join(tmpdir(), 'lightning-db-deaths-'));
  #opened: OpenDatabase | undefined;
  #db: LightningDb | undefined;

  get db(): LightningDb {
    if (this.#db === undefined) throw new Error('The database is not open');
    return this.#db;
  }

  get opened(): OpenDatabase {
    if (this.#opened === undefined) throw new Error('The database is not open');
    return this.#opened;
  }

  get control(): ControlBlock {
    return this.opened.session.client.control;
  }

  /** Opens it, for the first time or again. */
  async open(options: LightningDbConfig = {}): Promise<void> {
    const config = resolveConfig({
      shards: 2,
      memtableSize: 1 << 20,
      cacheSize: 16 << 20,
      workerDirectory: this.engine.directory,
      ...options,
    });
    this.#opened = await openDatabase(join(this.#directory, 'db'), config, {});
    const Constructor = LightningDb as unknown as new (backend: OpenDatabase) => LightningDb;
    this.#db = new Constructor(this.#opened);
  }

  /** Whatever became of the database, nothing is left of it. */
  async remove(): Promise<void> {
    await this.#opened?.supervisor.terminate();
    await this.#db?.close().catch(() => undefined);
    this.engine.close();
    rmSync(this.#directory, { recursive: true });
  }

  /** Some key of the shard, another for each number. */
  keyOf(shard: number, n = 0): string {
    const { client } = this.opened.session;
    for (let i = n * 1000; ; i++) {
      client.key.setText(`key-${i}`);
      if (client.route().shard === shard) return `key-${i}`;
    }
  }

  /** Has the coordinator die; resolves when there is another, if there is to be one. */
  async killCoordinator(): Promise<void> {
    const { control } = this;
    await this.engine.kill('coordinator', 'throw');
    const hasNext = (): boolean =>
      this.engine.has('coordinator') && control.coordinator.thread() !== undefined;
    await until(() => hasNext() || control.coordinator.fencedReason() !== undefined);
  }

  /** Has the coordinator die until it is not replaced any more. */
  async endCoordinator(): Promise<void> {
    for (let death = 0; death < 4; death++) await this.killCoordinator();
    if (this.control.coordinator.fencedReason() === undefined) throw new Error('It is replaced');
  }

  /** Does `code` on another thread, with the attached `db` and `data`. */
  onThread(code: string, data: object = {}): Worker {
    const script = `
      const { parentPort, workerData } = require('node:worker_threads');
      const { LightningDb } = require('lightning-db');
      LightningDb.attach(workerData.handle).then(async (db) => {
        const { data } = workerData;
        ${code}
      });`;
    return new Worker(script, { eval: true, workerData: { handle: this.db.share(), data } });
  }

  /** A batch of one key in each of the two shards. */
  async writeBoth(n: number, value: string): Promise<void> {
    const batch = this.db.batch();
    await batch.put(this.keyOf(0, n), value).put(this.keyOf(1, n), value).write();
  }

  readBoth(n: number): Promise<(string | undefined)[]> {
    return this.db.getMany([this.keyOf(0, n), this.keyOf(1, n)]);
  }

  /** A flush, and a commit over both shards: what takes a coordinator, its pool, and all shards. */
  async useAll(value: string): Promise<void> {
    await eventually(() => this.db.flush());
    await eventually(() => this.writeBoth(50, value));
    const found = await this.readBoth(50);
    if (found.some((one) => one !== value)) throw new Error(`Not ${value}: ${found.join()}`);
  }

  /** Writes to one shard, one after the other, until told to stop: what was acknowledged. */
  writing(shard: number): { stop: () => Promise<Map<string, string>> } {
    const told = new Map<string, string>();
    let isOver = false;
    const done = (async () => {
      for (let i = 0; !isOver; i++) {
        const key = this.keyOf(shard, 1 + (i % 20));
        await this.db.put(key, `${i}`);
        told.set(key, `${i}`);
        if (i % 50 === 0) await pause(1);
      }
    })();
    return {
      stop: async () => {
        isOver = true;
        await done;
        return told;
      },
    };
  }
}

/** What the thread posts next. */
export function message(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

export async function until(what: () => boolean): Promise<void> {
  while (!what()) await pause(5);
}

/** Does the work until it is not refused because something is away. */
export async function eventually<T>(
  work: () => Promise<T>,
  refusal: LightningErrorCode = 'LIGHTNING_SHARD_UNAVAILABLE',
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      const { code } = error as LightningError;
      const isAway = code === refusal || code === 'LIGHTNING_ABORTED';
      if (!isAway || attempt > 2000) throw error;
      await pause(10);
    }
  }
}
