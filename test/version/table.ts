import type { TableInfo } from '../../src/sstable/table-info.js';

/** A table's description for tests of what only needs that. */
export function table(id: number, smallest: string, largest: string): TableInfo {
  return {
    id,
    bytes: 1000,
    entries: 10,
    tombstones: 0,
    keys: 10,
    smallest: new Uint8Array(Buffer.from(smallest)),
    largest: new Uint8Array(Buffer.from(largest)),
    sequenceMin: 1,
    sequenceMax: 10,
    rawBytes: 2000,
    blobs: [],
    createdAtMs: 0,
  };
}
