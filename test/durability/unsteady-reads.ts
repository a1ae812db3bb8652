/**
 * What may come of a database whose file system refuses to read, or reads in pieces: right values and
 * `LIGHTNING_IO`, for those who asked; nothing else, and nothing that stays.
 */

import { LightningError } from '../../src/errors.js';
import { seededRandom } from '../../src/file-system/memory.js';
import type { Account } from './account.js';
import type { LocalDatabase } from './local-database.js';
import { allKeys } from './script.js';

const READS_PER_STEP = 3;

export class UnsteadyReads {
  readonly #account: Account;
  readonly #random: () => number;
  readonly #keys = allKeys();

  constructor(account: Account, seed: number) {
    this.#account = account;
    this.#random = seededRandom(seed);
  }

  /** Some keys are read; undefined: as it should be. `hits`: how many calls have failed so far. */
  async afterStep(db: LocalDatabase, hits: () => number): Promise<string | undefined> {
    for (let n = 0; n < READS_PER_STEP; n++) {
      const shard = Math.floor(this.#random() * db.shards.length);
      const key = this.#keys[Math.floor(this.#random() * this.#keys.length)] as string;
      const before = hits();
      const failure = await this.#read(db, shard, key, () => hits() > before);
      if (failure !== undefined) return failure;
    }
    return undefined;
  }

  /** Every key is read while calls still fail; undefined: as it should be. */
  async everything(db: LocalDatabase): Promise<string | undefined> {
    for (let shard = 0; shard < db.shards.length; shard++) {
      for (const key of this.#keys) {
        const failure = await this.#read(db, shard, key, () => true);
        if (failure !== undefined) return failure;
      }
    }
    return undefined;
  }

  async #read(
    db: LocalDatabase,
    shard: number,
    key: string,
    mayFail: () => boolean,
  ): Promise<string | undefined> {
    const place = `${shard}/${key}`;
    try {
      const value = await db.shard(shard).client.get(key);
      if (this.#account.allows(place, value)) return undefined;
      return `${place} was read as "${value?.slice(0, 20)}"`;
    } catch (error) {
      if (!isReadRefusal(error)) throw error;
      if (mayFail() || isDamaged(db, shard)) return undefined;
      return `${place} is refused although nothing failed: ${error.message}`;
    }
  }
}

export function isReadRefusal(error: unknown): error is LightningError {
  return error instanceof LightningError && error.code === 'LIGHTNING_IO';
}

/** A table that could not be read at open stays so until the next one. */
export function isDamaged(db: LocalDatabase, shard: number): boolean {
  return db.shard(shard).shard.state.tables.damage.some(({ extent }) => extent !== 'filter');
}
