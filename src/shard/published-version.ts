/**
 * The Version that readers see: a structure in the meta region (layout.ts, "Version") whose address
 * stands in H_VERSION. Immutable once published; replaced whole, and freed when no reader can be
 * inside the old one any more.
 */
import {
  H_VERSION,
  MEMTABLES_MAX,
  SOURCES_MAX,
  V_MEMTABLE_COUNT,
  V_MEMTABLES,
  V_RUN_BYTES,
  V_RUN_COUNT,
  V_RUNS,
} from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Version } from '../version/version.js';
import type { MetaAllocator } from './meta-allocator.js';
import type { Retirement } from './retirement.js';

/** Runs a Version may have: scans have room for that many sources beside the memtables. */
export const RUNS_MAX = SOURCES_MAX - MEMTABLES_MAX;

export interface PublishedVersionOptions {
  readonly kernel: Kernel;
  readonly allocator: MetaAllocator;
  readonly retirement: Retirement;
  /** Address of the TableMeta of a loaded table. */
  readonly metaOf: (table: number) => number;
}

export class PublishedVersion {
  readonly #options: PublishedVersionOptions;
  #address = 0;

  constructor(options: PublishedVersionOptions) {
    this.#options = options;
  }

  /** Shows readers these memtables (newest first) and the tables of `version`. */
  publish(arenas: readonly number[], version: Version): void {
    const { kernel, allocator, retirement, metaOf } = this.#options;
    const { runs } = version;
    const listsAt = V_RUNS + runs.length * V_RUN_BYTES;
    const address = allocator.allocate(listsAt + version.tableCount * 4);
    const u32 = kernel.u32;
    u32[(address + V_MEMTABLE_COUNT) >>> 2] = arenas.length;
    u32[(address + V_RUN_COUNT) >>> 2] = runs.length;
    for (let i = 0; i < MEMTABLES_MAX; i++) {
      u32[((address + V_MEMTABLES) >>> 2) + i] = arenas[i] ?? 0;
    }
    let list = address + listsAt;
    for (let i = 0; i < runs.length; i++) {
      const tables = runs[i]?.tables ?? [];
      const run = (address + V_RUNS + i * V_RUN_BYTES) >>> 2;
      u32[run] = tables.length;
      u32[run + 1] = list;
      for (const table of tables) {
        u32[list >>> 2] = metaOf(table.id);
        list += 4;
      }
    }
    Atomics.store(u32, H_VERSION >>> 2, address);
    const old = this.#address;
    this.#address = address;
    if (old !== 0) retirement.after(() => allocator.free(old));
  }
}
