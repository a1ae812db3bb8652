/** All stores by name. */

import {
  attachLightning,
  LIGHTNING,
  type LightningSettings,
  lightningKind,
} from '../src/cli/bench/lightning-store.js';
import { NULL_STORE, nullKind, UncheckedRecords } from '../src/cli/bench/null-store.js';
import { Records } from '../src/cli/bench/records.js';
import type { BenchClient, ClientAccess, StoreKind } from '../src/cli/bench/store.js';
import { CLASSIC_LEVEL, levelKind } from './level-store.js';
import { LMDB, lmdbKind, openLmdbClient } from './lmdb-store.js';
import { isInstalled } from './peer-package.js';
import { ROCKSDB, rocksdbKind } from './rocksdb-store.js';
import { openSqliteClient, SQLITE, sqliteKind } from './sqlite-store.js';

export const PEERS: readonly string[] = [LMDB, CLASSIC_LEVEL, ROCKSDB, SQLITE];

/** Peers that can be loaded here. */
export function installedPeers(): string[] {
  return PEERS.filter(isInstalled);
}

/** A store, and the records that go with it. */
export function newStore(
  name: string,
  settings: LightningSettings,
  count: number,
  seed: number,
): { readonly kind: StoreKind; readonly records: Records } {
  if (name === NULL_STORE) {
    const records = new UncheckedRecords(count, seed);
    return { kind: nullKind(records), records };
  }
  return { kind: kindOf(name, settings), records: new Records(count, seed) };
}

function kindOf(name: string, settings: LightningSettings): StoreKind {
  switch (name) {
    case LIGHTNING:
      return lightningKind(settings);
    case LMDB:
      return lmdbKind;
    case CLASSIC_LEVEL:
      return levelKind;
    case ROCKSDB:
      return rocksdbKind;
    case SQLITE:
      return sqliteKind;
    default:
      throw new Error(`There is no store "${name}": ${[LIGHTNING, ...PEERS].join(', ')}`);
  }
}

/** Joins from another thread. */
export function openClient(access: ClientAccess): Promise<BenchClient> {
  switch (access.store) {
    case LIGHTNING:
      return attachLightning(access);
    case LMDB:
      return openLmdbClient(access);
    case SQLITE:
      return openSqliteClient(access);
    default:
      throw new Error(`"${access.store}" cannot be opened by several threads`);
  }
}
