/** What is known of a table without reading its blocks: its properties and its size. */

export interface TableInfo {
  /** File number. */
  readonly id: number;
  /** Bytes of the file. */
  readonly bytes: number;
  /** Versions of keys, tombstones included. */
  readonly entries: number;
  readonly tombstones: number;
  /** Distinct keys; what `entries` has more are older versions. */
  readonly keys: number;
  /** First and last key. */
  readonly smallest: Uint8Array;
  readonly largest: Uint8Array;
  /** Lowest and highest sequence number of the entries. */
  readonly sequenceMin: number;
  readonly sequenceMax: number;
  /** Bytes of the blocks before compression. */
  readonly rawBytes: number;
  /** Numbers of the blob files that the entries refer to. */
  readonly blobs: readonly number[];
  readonly createdAtMs: number;
}

/** A table by its file. */
export interface TableRef {
  readonly path: string;
  readonly id: number;
}
