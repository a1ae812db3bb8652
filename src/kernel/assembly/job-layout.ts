/**
 * What the jobs' kernel code (table builder, flush, merge, verify) and its host agree on: status
 * codes and the fields of the builder's state, which stands at the start of its region.
 *
 * Compiled twice, like layout.ts. The memory belongs to one job; nothing here is shared.
 */

// ---- status of builderAdd, flushRun, mergeRun -----------------------------------

/** Done: the entry is in, the source is exhausted. */
export const JOB_DONE: i32 = 0;
/** Write BUILDER_OUT_BYTES bytes at BUILDER_OUT to the file, call builderDrained, call again. */
export const JOB_DRAIN: i32 = 1;
/** The table is full: finish it, begin the next one, call again. */
export const JOB_FULL: i32 = 2;
/** mergeRun: source `mergeSource()` has no more blocks: mergeFeed or mergeEnd it, call again. */
export const JOB_INPUT: i32 = 3;
/** The list of dropped blobs is full: take it, call droppedBlobsTaken, call again. */
export const JOB_BLOBS: i32 = 4;
/** mergeRun: source `mergeSource()` needs a raw buffer of `mergeRawBytes()`: mergeRaw, go on. */
export const JOB_RAW: i32 = 5;
/** The versions of one key that must be kept are more, or larger, than one block can hold. */
export const JOB_TOO_LARGE: i32 = -1;
/** Entries are not in order, or an entry is not well formed. */
export const JOB_DISORDER: i32 = -2;
/** mergeRun: block `mergeBlock()` of source `mergeSource()` is not what was written. */
export const JOB_CORRUPT: i32 = -3;

// ---- builder --------------------------------------------------------------------

/** Start of what goes to the file next, and how much it is. */
export const BUILDER_OUT: u32 = 0; // u32 address
export const BUILDER_OUT_BYTES: u32 = 4; // u32
/** After builderFinish: the sections, checksums included. */
export const BUILDER_FILTER: u32 = 8; // u32 address
export const BUILDER_FILTER_BYTES: u32 = 12; // u32
export const BUILDER_INDEX: u32 = 16; // u32 address
export const BUILDER_INDEX_BYTES: u32 = 20; // u32
/** Bytes of the index's fences when they are unpacked. */
export const BUILDER_FENCE_BYTES: u32 = 24; // u32
export const BUILDER_SMALLEST: u32 = 32; // u32 address
export const BUILDER_SMALLEST_BYTES: u32 = 36; // u32
export const BUILDER_LARGEST: u32 = 40; // u32 address
export const BUILDER_LARGEST_BYTES: u32 = 44; // u32
/** f64 each: numbers of blob files that the table's entries refer to. */
export const BUILDER_BLOBS: u32 = 48; // u32 address
export const BUILDER_BLOB_COUNT: u32 = 52; // u32
export const BUILDER_KEYS: u32 = 56; // u32
export const BUILDER_BLOCKS: u32 = 60; // u32
export const BUILDER_ENTRIES: u32 = 64; // f64
export const BUILDER_TOMBSTONES: u32 = 72; // f64
/** Bytes of the blocks before compression. */
export const BUILDER_RAW_BYTES: u32 = 80; // f64
/** Bytes of the file so far: all blocks, drained or not. */
export const BUILDER_FILE_BYTES: u32 = 88; // f64
export const BUILDER_SEQUENCE_MIN: u32 = 96; // f64
export const BUILDER_SEQUENCE_MAX: u32 = 104; // f64
export const BUILDER_STATE_BYTES: u32 = 128;

/** Blob references in one table. */
export const TABLE_BLOBS_MAX: u32 = 8192;
/** Dropped blobs between two calls of droppedBlobsTaken. */
export const DROPPED_BLOBS_MAX: u32 = 4096;
/** Live snapshots that a retention can name. */
export const SNAPSHOTS_MAX: u32 = 4096;
/** Sources of one merge. */
export const MERGE_SOURCES_MAX: u32 = 64;
/** Output that is worth a write. */
export const WRITE_BYTES_MIN: u32 = 1048576;

// ---- verify -----------------------------------------------------------------------

export const VERIFY_OK: i32 = 0;
/** The raw buffer is too small: give one of `verifyRawBytes()` and call again. */
export const VERIFY_RAW: i32 = 1;
export const VERIFY_CHECKSUM: i32 = -1;
export const VERIFY_COMPRESSION: i32 = -2;
export const VERIFY_MALFORMED: i32 = -3;
/** The block's first key is not above the last of the block before. */
export const VERIFY_ORDER: i32 = -4;
/** The index would send a reader of some key elsewhere. */
export const VERIFY_FENCE: i32 = -5;
export const VERIFY_FINGERPRINT: i32 = -6;
/** The filter denies a key. */
export const VERIFY_FILTER: i32 = -7;

export const VERIFY_FIRST: u32 = 0; // u32 address: first key of the table
export const VERIFY_FIRST_BYTES: u32 = 4; // u32
export const VERIFY_LAST: u32 = 8; // u32 address: last key so far
export const VERIFY_LAST_BYTES: u32 = 12; // u32
export const VERIFY_ENTRIES: u32 = 16; // f64
export const VERIFY_TOMBSTONES: u32 = 24; // f64
export const VERIFY_BLOBS: u32 = 32; // f64
export const VERIFY_RAW_BYTES: u32 = 40; // f64
export const VERIFY_SEQUENCE_MIN: u32 = 48; // f64
export const VERIFY_SEQUENCE_MAX: u32 = 56; // f64
/** Sum of the blob files' numbers. */
export const VERIFY_BLOB_SUM: u32 = 64; // f64
/** Distinct keys. */
export const VERIFY_KEYS: u32 = 72; // f64
export const VERIFY_STATE_BYTES: u32 = 128;
export const VERIFY_ENTRY_BYTES: u32 = 64;
export const VERIFY_KEY_BYTES: u32 = 65600;
/** Memory of a verification: state, a decoded entry, three keys, room for columns. */
export const VERIFY_BYTES: u32 = 491904; // 196992 + COLUMNS_ROOM_BYTES
