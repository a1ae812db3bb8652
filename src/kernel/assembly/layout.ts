/**
 * The memory map of a shard: every address and field offset that more than one
 * thread, or both the kernel and its host, must agree on.
 *
 * The file is compiled twice: by AssemblyScript into the kernel and by TypeScript
 * into the host (`u32` is `number` there), so the two can never disagree.
 *
 *   0x0000  unused: a null address never points at anything
 *   0x1000  HEADER      regions, then the hot words, a cache line each
 *   0x2000  READERS     READER_COUNT lines: one per client slot; line 0 is the shard worker
 *   0x4000  RINGS       READER_COUNT ring control blocks
 *   0x8000  the regions, in the order of the header: scratch, rings, arenas, WAL buffer,
 *           staging, cache, meta, job
 *
 * Who writes: the shard worker writes everything except a reader's own line, its
 * scratch, its request ring and the producer/consumer words that belong to it. While the worker
 * sleeps it may have lent the shard: then the thread that holds the latch (H_LATCH) writes in its
 * place what a commit changes.
 */

export const LAYOUT_MAGIC: u32 = 0x4c444b31; // "LDK1"
export const LAYOUT_VERSION: u32 = 1;

// ---- header -----------------------------------------------------------------

export const HEADER: u32 = 0x1000;
export const H_MAGIC: u32 = HEADER + 0;
export const H_LAYOUT_VERSION: u32 = HEADER + 4;
export const H_SHARD: u32 = HEADER + 8;
export const H_SCRATCH_BASE: u32 = HEADER + 12;
export const H_RING_BASE: u32 = HEADER + 16;
/** Bytes of one request ring; a power of two. */
export const H_REQUEST_RING_BYTES: u32 = HEADER + 20;
/** Bytes of one response ring; a power of two. */
export const H_RESPONSE_RING_BYTES: u32 = HEADER + 24;
export const H_ARENA_BASE: u32 = HEADER + 28;
/** Bytes of one memtable arena. */
export const H_ARENA_BYTES: u32 = HEADER + 32;
export const H_ARENA_COUNT: u32 = HEADER + 36;
export const H_WAL_BASE: u32 = HEADER + 40;
export const H_WAL_BYTES: u32 = HEADER + 44;
export const H_STAGING_BASE: u32 = HEADER + 48;
export const H_STAGING_BYTES: u32 = HEADER + 52;
export const H_CACHE_BASE: u32 = HEADER + 56;
export const H_CACHE_BYTES: u32 = HEADER + 60;
export const H_META_BASE: u32 = HEADER + 64;
export const H_META_BYTES: u32 = HEADER + 68;
export const H_JOB_BASE: u32 = HEADER + 72;
export const H_JOB_BYTES: u32 = HEADER + 76;
/** Bytes at the start of the cache region that form the small (probation) queue. */
export const H_CACHE_SMALL_BYTES: u32 = HEADER + 80;
/** Address of the hint table (hint.ts), 0 when there is none. */
export const H_HINT_BASE: u32 = HEADER + 84;
/** u32, atomic: lines of slots in use, less one; and what it grows to, at most. */
export const H_HINT_MASK: u32 = HEADER + 88;
export const H_HINT_MASK_MAX: u32 = HEADER + 96;
/** Address of the live map (live-map.ts): a bit for each CACHE_UNIT_BYTES of the cache region. */
export const H_LIVE_BASE: u32 = HEADER + 92;

/** u32, atomic: address of the current Version. Published by the shard worker (release). */
export const H_VERSION: u32 = HEADER + 128;
/** u64, atomic: the reclamation epoch; starts at 1, bumped at each retirement. */
export const H_EPOCH: u32 = HEADER + 192;
/** u64, atomic: every commit of this shard up to this sequence number is applied. */
export const H_VISIBLE: u32 = HEADER + 256;
/**
 * u64, atomic: the smallest sequence number of an applied commit over several shards that was not
 * known to be released when the shard worker looked last; all ones when there is none. Lowered before
 * such a commit enters the memtable, raised after its release. A latest read that finds a sequence
 * at or above it asks the transaction table. In the line of H_VISIBLE, which such a read has loaded.
 */
export const H_UNSETTLED: u32 = HEADER + 264;
/** i32, atomic: bumped by whoever wants the shard worker's attention. */
export const H_DOORBELL: u32 = HEADER + 320;
/** i32, atomic: 1 while the shard worker may be parked on the doorbell. */
export const H_SLEEPING: u32 = HEADER + 384;
/** u32, atomic: bumped by the shard worker at every turn of its loop (liveness). */
export const H_HEARTBEAT: u32 = HEADER + 448;
/** u64: bitmap of client slots that received responses since the host last cleared it. */
export const H_TOUCHED: u32 = HEADER + 512;
/** u64 counters written by the shard worker only; see COUNTER_*. */
export const H_COUNTERS: u32 = HEADER + 576;
export const COUNTER_CACHE_INSERTS: u32 = 0;
export const COUNTER_CACHE_EVICTIONS: u32 = 1;
export const COUNTER_CACHE_PROMOTIONS: u32 = 2;
export const COUNTER_CACHE_BYTES: u32 = 3;
export const COUNTER_OPS_APPLIED: u32 = 4;
export const COUNTER_BYTES_APPLIED: u32 = 5;
/** Blocks that new tables took over from the cached ones of the tables they replaced. */
export const COUNTER_CACHE_CARRIED: u32 = 6;
export const COUNTER_COUNT: u32 = 32;
/**
 * Two u32, atomic: bitmap of the client slots whose request ring is in use. A client sets its bit
 * before it publishes its first request; the shard worker clears it when it lets go of the client.
 */
export const H_CONNECTED: u32 = HEADER + 896;

// ---- a shard that is lent to a client's thread: kernel/shard-latch.ts, kernel/lent-shard.ts ----

/** i32, atomic: who may change the shard's memory and its log now; LATCH_*. */
export const H_LATCH: u32 = HEADER + 1024;
/** i32, atomic: clients that wait for the latch to be on offer; 1 while the worker is about to offer it again. */
export const H_LATCH_WAITERS: u32 = HEADER + 1028;
export const H_LATCH_SOON: u32 = HEADER + 1032;
/** i32, atomic: how far the group has come that the holder of the latch is committing; LENT_*. */
export const H_LENT_PHASE: u32 = HEADER + 1088;
/** i32: LENT_FAILED_*: what the worker has to do about a write that failed, and the errno (ASCII, 0 ends it). */
export const H_LENT_FAILURE: u32 = HEADER + 1092;
export const H_LENT_ERRNO: u32 = HEADER + 1096;
export const LENT_ERRNO_BYTES: u32 = 24;
/** u32: the active arena, the bytes of it that stay free, and most operations of a group. */
export const H_LENT_ARENA: u32 = HEADER + 1120;
export const H_LENT_RESERVE: u32 = HEADER + 1124;
export const H_LENT_OPS_MAX: u32 = HEADER + 1128;
/** f64: number of the log segment, where the next group goes in it, how far it is durable. */
export const H_LENT_SEGMENT: u32 = HEADER + 1136;
export const H_LENT_BYTES: u32 = HEADER + 1144;
export const H_LENT_DURABLE_BYTES: u32 = HEADER + 1152;
/** f64: of the last group that was committed since the shard was lent. */
export const H_LENT_SEQUENCE: u32 = HEADER + 1160;
export const H_LENT_TIMESTAMP: u32 = HEADER + 1168;
export const H_LENT_EPOCH: u32 = HEADER + 1176;
/** f64: what was committed since the shard was lent. */
export const H_LENT_GROUPS: u32 = HEADER + 1184;
export const H_LENT_COMMITS: u32 = HEADER + 1192;
export const H_LENT_OPERATIONS: u32 = HEADER + 1200;
/** f64: where the group goes that is under way. */
export const H_LENT_AT: u32 = HEADER + 1208;
/** Of the commit over several shards that the holder has under way: i32 slot, i32 word of the slot. */
export const H_LENT_SLOT: u32 = HEADER + 1216;
export const H_LENT_WORD: u32 = HEADER + 1220;
/** i32: client slot and request id of whoever is to be told of it; below 0: nobody. */
export const H_LENT_CLIENT: u32 = HEADER + 1224;
export const H_LENT_REQUEST: u32 = HEADER + 1228;
/** u32: where its operations stand in the WAL buffer, and their bytes. */
export const H_LENT_OPS: u32 = HEADER + 1232;
export const H_LENT_OPS_BYTES: u32 = HEADER + 1236;
/** f64: its transaction id. */
export const H_LENT_ID: u32 = HEADER + 1240;
/** f64: id, sequence (0: there is none) and time of the commit whose COMMIT record is to be written. */
export const H_LENT_RECORD_ID: u32 = HEADER + 1248;
export const H_LENT_RECORD_SEQUENCE: u32 = HEADER + 1256;
export const H_LENT_RECORD_TIMESTAMP: u32 = HEADER + 1264;

/** i32, atomic: 1 when a message was posted to the worker, which it finds in its event loop. */
export const H_MAIL: u32 = HEADER + 1280;

// ---- readers ----------------------------------------------------------------

/** Client slots, the shard worker's own (slot 0) included. */
export const READER_COUNT: u32 = 64;
export const READERS: u32 = 0x2000;
export const READER_BYTES: u32 = 128;
/** u64, atomic: the epoch the reader entered at; 0 when it is outside. */
export const READER_EPOCH: u32 = 0;
/** u64 counters, written by the reader alone. */
export const READER_GETS: u32 = 64;
export const READER_CACHE_HITS: u32 = 72;
export const READER_CACHE_MISSES: u32 = 80;
export const READER_FILTER_CHECKS: u32 = 88;
export const READER_FILTER_NEGATIVES: u32 = 96;
export const READER_MEMTABLE_HITS: u32 = 104;
export const READER_SCANNED: u32 = 112;

// ---- scratch: one per reader, private to its thread --------------------------

export const KEY_BYTES_MAX: u32 = 65536;
/** Results of a kernel call: 64 words. */
export const SCRATCH_RESULT: u32 = 0;
/** Behind the result words: where the host has an entry decoded to. */
export const SCRATCH_ENTRY: u32 = 768;
/** The key of a call, or the lower bound of a scan. */
export const SCRATCH_KEY: u32 = 1024;
/** The second key of a call: the other bound of a scan. */
export const SCRATCH_KEY2: u32 = SCRATCH_KEY + 66560;
/** Room at SCRATCH_KEY2 for keys that are looked up together; their hashes stand behind it. */
export const GET_MANY_KEY_BYTES: u32 = 34816;
export const GET_MANY_KEYS_MAX: u32 = 128;
/** Where values and scan batches are copied to. */
export const SCRATCH_OUT: u32 = SCRATCH_KEY2 + 66560;
export const SCRATCH_OUT_BYTES: u32 = 262144;
/** Entry descriptors of a scan batch: SCAN_DESCRIPTOR_BYTES each. */
export const SCRATCH_DESCRIPTORS: u32 = SCRATCH_OUT + SCRATCH_OUT_BYTES;
export const SCAN_BATCH_ENTRIES_MAX: u32 = 2048;
/** keyAddress u32, keyLength u32, valueAddress u32, valueLength u32 | SCAN_* flags. */
export const SCAN_DESCRIPTOR_BYTES: u32 = 16;
/** What `getMany` has found, of each key: GET_*, where in SCRATCH_OUT its value stands, its length, whether it is ASCII; u32. */
export const MANY_RESULT_BYTES: u32 = 16;
export const MANY_STATUS: u32 = 0;
export const MANY_VALUE: u32 = 4;
export const MANY_VALUE_BYTES: u32 = 8;
export const MANY_ASCII: u32 = 12;
export const SCRATCH_CURSORS: u32 =
  SCRATCH_DESCRIPTORS + SCAN_BATCH_ENTRIES_MAX * SCAN_DESCRIPTOR_BYTES;
/** Merge sources of a scan: memtables and runs. */
export const SOURCES_MAX: u32 = 40;
/** Room for one source: its cursor, path stack and materialized key. */
export const SOURCE_BYTES: u32 = 73728;
/** Behind the room of a thread's own block: where a block's columns are unpacked, when no scan is under way. */
export const SCRATCH_COLUMNS: u32 = SCRATCH_CURSORS + 393216;
export const SCRATCH_BYTES: u32 = 3407872; // SCRATCH_CURSORS + SOURCES_MAX * SOURCE_BYTES, rounded to 64 KiB

// ---- rings --------------------------------------------------------------------

export const RINGS: u32 = 0x4000;
export const RING_CONTROL_BYTES: u32 = 256;
/** u32, atomic, byte positions that grow without end (mod 2^32); index = position & (bytes - 1). */
export const RING_REQUEST_HEAD: u32 = 0; // written by the client
export const RING_REQUEST_TAIL: u32 = 64; // written by the shard worker
export const RING_RESPONSE_HEAD: u32 = 128; // written by the shard worker
export const RING_RESPONSE_TAIL: u32 = 192; // written by the client
/** u32, atomic: 1 while the shard worker has responses that did not fit; the client rings the doorbell after it made room. */
export const RING_RESPONSE_BLOCKED: u32 = 132;
/** u32, atomic: 1 while the client waits for room in the request ring; the shard worker notifies the client after it made room. */
export const RING_REQUEST_BLOCKED: u32 = 4;

/** Record in a ring: header, payload, padding to 8 bytes. Contiguous: a PAD record fills the end. */
export const RECORD_HEADER_BYTES: u32 = 16;
export const RECORD_PAYLOAD_BYTES: u32 = 0; // u32
export const RECORD_KIND: u32 = 4; // u8
export const RECORD_FLAGS: u32 = 5; // u8
export const RECORD_AUX: u32 = 6; // u16
export const RECORD_REQUEST_ID: u32 = 8; // u32
export const RECORD_ARGUMENT: u32 = 12; // u32

/** The payload goes on in the client's next record with the same request id. */
export const RECORD_FLAG_MORE: u32 = 1;
/** A write: acknowledge only after fdatasync, whatever the mode. */
export const RECORD_FLAG_SYNC: u32 = 2;
/** The shard worker must leave this load out of the cache's history (a scan). */
export const RECORD_FLAG_SCAN: u32 = 4;

export const REQUEST_PAD: u32 = 0; // fills up to the end of the ring
export const REQUEST_WRITE: u32 = 1; // payload: operations; argument: their count
export const REQUEST_GET: u32 = 2; // payload: snapshot f64 (-1: latest), key
export const REQUEST_LOAD_BLOCKS: u32 = 3; // payload: table id u32, first block u32, count u32
export const REQUEST_GET_MANY: u32 = 4; // payload: snapshot f64, then per key: length u32, bytes; argument: count
export const REQUEST_CACHE_BLOCK: u32 = 16; // payload: table id u32, block u32, the block as it stands on disk
export const REQUEST_CACHE_RECORD: u32 = 17; // payload: table id u32, key length u32, sequence f64, key, value; argument: missed before
export const REQUEST_PREPARE: u32 = 6; // payload: see protocol/prepare.ts; argument: operations
export const REQUEST_BLOB_BEGIN: u32 = 5; // payload: value length f64, key length u32, key; bytes follow as MORE records

export const RESPONSE_PAD: u32 = 0;
export const RESPONSE_OK: u32 = 1; // payload: sequence f64
export const RESPONSE_VALUE: u32 = 2; // payload: value bytes (MORE: in pieces); first piece's argument: total length
export const RESPONSE_MISSING: u32 = 3;
export const RESPONSE_ERROR: u32 = 4; // payload: JSON {code, message, details}
export const RESPONSE_VALUES: u32 = 5; // payload: per key: length u32 (0xffffffff: missing), bytes

// ---- operations (rings, WAL) ---------------------------------------------------

/** type u8, key length varint, value length varint (not for deletes), key, value. */
export const OP_PUT: u32 = 1;
export const OP_DELETE: u32 = 2;
export const OP_PUT_BLOB: u32 = 3; // value: BLOB_REFERENCE_BYTES

/** blob file id f64, length f64, xxh64 of the bytes u64. */
export const BLOB_REFERENCE_BYTES: u32 = 24;

// ---- memtable arena -------------------------------------------------------------

/** Head of an arena; leaves and versions, free room and nodes follow. Nothing is freed one by one. */
export const ARENA_ROOT: u32 = 0; // u32, atomic: tagged pointer to the root
export const ARENA_TOP: u32 = 4; // u32: start of the free room; leaves and versions are taken from here upwards
export const ARENA_END: u32 = 8; // u32: end of the free room; nodes are taken from here downwards
export const ARENA_KEYS: u32 = 12; // u32: distinct keys
export const ARENA_VERSIONS: u32 = 16; // u32: versions of keys
export const ARENA_SEQUENCE_MIN: u32 = 24; // u64
export const ARENA_SEQUENCE_MAX: u32 = 32; // u64
export const ARENA_HEAD_BYTES: u32 = 64;

/** Leaf: a key and its newest version. Pointers to leaves carry LEAF_TAG. */
export const LEAF_TAG: u32 = 1;
export const LEAF_KEY_LENGTH: u32 = 0; // u32
export const LEAF_HEAD: u32 = 4; // u32, atomic: newest version
export const LEAF_KEY: u32 = 8;

/** Version of a key, newest first. */
export const VERSION_SEQUENCE: u32 = 0; // u64
export const VERSION_OLDER: u32 = 8; // u32: next older version or 0
export const VERSION_VALUE_LENGTH: u32 = 12; // u32: length in the low 30 bits, OP_* type in the high 2
export const VERSION_VALUE: u32 = 16;
export const VERSION_LENGTH_MASK: u32 = 0x3fffffff;
export const VERSION_TYPE_SHIFT: u32 = 30;

// ---- Version: what a reader may see; immutable once published --------------------

export const MEMTABLES_MAX: u32 = 8;
/** memtable count u32, run count u32, memtables u32[MEMTABLES_MAX] newest first, then runs newest first. */
export const V_MEMTABLE_COUNT: u32 = 0;
export const V_RUN_COUNT: u32 = 4;
export const V_MEMTABLES: u32 = 8;
/** Per run: table count u32, address of u32[] of TableMeta addresses in key order. */
export const V_RUNS: u32 = 40;
export const V_RUN_BYTES: u32 = 8;

/** TableMeta: a table's index, filter and cache references, resident while the table lives. */
export const T_ID: u32 = 0; // u32
export const T_BLOCKS: u32 = 4; // u32
export const T_PREFIX_BYTES: u32 = 8; // u32: common prefix of all fences but the first
export const T_PREFIX: u32 = 12; // address
export const T_HEADS: u32 = 16; // address of u64[blocks]: 8 bytes of each fence after the prefix, big-endian value
export const T_OFFSETS: u32 = 20; // address of u32[blocks + 1]: file offsets of the blocks
export const T_FENCE_OFFSETS: u32 = 24; // address of u32[blocks + 1]
export const T_FENCES: u32 = 28; // address of the fences' bytes
export const T_CACHE_REFS: u32 = 32; // address of u32[blocks], atomic: cache entry, 0 or CACHE_GHOST
export const T_FILTER: u32 = 36; // address, 64-byte aligned
export const T_FILTER_LINES: u32 = 40; // u32
export const T_SMALLEST: u32 = 44; // address
export const T_SMALLEST_BYTES: u32 = 48;
export const T_LARGEST: u32 = 52; // address
export const T_LARGEST_BYTES: u32 = 56;
export const T_HAS_TOMBSTONES: u32 = 60;
export const TABLE_META_BYTES: u32 = 64;

// ---- block cache -------------------------------------------------------------------

/** Entries begin at multiples of this, and take as many. */
export const CACHE_UNIT_BYTES: u32 = 64;
/** Entry: head, then a raw (decompressed) block. */
export const CACHE_META: u32 = 0; // u32: TableMeta, of a record its table's id; 0 when the entry is dead
export const CACHE_BLOCK: u32 = 4; // u32: block number, or CACHE_RECORD
export const CACHE_ENTRY_BYTES: u32 = 8; // u32: bytes of the entry, head and padding included
export const CACHE_TOUCHED: u32 = 12; // u32: a bit for each entry that readers hit (reader.ts), and FROM_SCAN
export const CACHE_HEAD_BYTES: u32 = 16;
/**
 * In CACHE_BLOCK: a record, the newest version of one key that its table has, as a raw block with one
 * entry. It says nothing of other keys, and is found by its hint alone.
 */
export const CACHE_RECORD: u32 = 0xffffffff;
/** In T_CACHE_REFS: evicted from the small queue not long ago. */
export const CACHE_GHOST: u32 = 1;

// ---- raw block ------------------------------------------------------------------------

export const BLOCK_COUNT: u32 = 0; // u16
export const BLOCK_FLAGS: u32 = 2; // u8
export const BLOCK_FLAG_WIDE: u32 = 1; // entry offsets are u32, not u16
export const BLOCK_FLAG_DIFFERENCES: u32 = 2; // on disk only: each offset is less the one before it
export const BLOCK_PREFIX_BYTES: u32 = 4; // u32
export const BLOCK_BASE_SEQUENCE: u32 = 8; // u64
export const BLOCK_HEAD_BYTES: u32 = 16;
export const BLOCK_TRAILER_BYTES: u32 = 12;
/** In the trailer's first word, beside twice the raw block's bytes. */
export const STORED_COMPRESSED: u32 = 1;
export const STORED_COLUMNS: u32 = 0x80000000;

/** A block as columns (columns.ts); columns follow the head, the fingerprints and the prefix. */
export const COLUMNS_COUNT: u32 = 0; // u16
export const COLUMNS_PREFIX_BYTES: u32 = 2; // u16
export const COLUMNS_SUFFIX_MIN: u32 = 4; // u16
export const COLUMNS_VALUE_MIN: u32 = 6; // u16
export const COLUMNS_BASE: u32 = 8; // u64: smallest sequence, smallest type << 56, width of types << 60
export const COLUMNS_SEQUENCE_WIDTH: u32 = 16; // u8
export const COLUMNS_SUFFIX_WIDTH: u32 = 17; // u8
export const COLUMNS_VALUE_WIDTH: u32 = 18; // u8
export const COLUMNS_HEAD_BYTES: u32 = 19;
/** Width of a column whose numbers are varints. */
export const COLUMN_VARINTS: u32 = 64;
/** The largest raw block that is stored as columns: its offsets are not wide. */
export const COLUMNS_RAW_BYTES_MAX: u32 = 65535;
/** Memory to unpack columns in. */
export const COLUMNS_ROOM_BYTES: u32 = 294912;

/** A decoded entry, as `blockEntry` leaves it. */
export const ENTRY_SUFFIX: u32 = 0; // u32 address
export const ENTRY_SUFFIX_BYTES: u32 = 4; // u32
export const ENTRY_VALUE: u32 = 8; // u32 address
export const ENTRY_VALUE_BYTES: u32 = 12; // u32
export const ENTRY_TYPE: u32 = 16; // u32, OP_*
export const ENTRY_SEQUENCE: u32 = 24; // u64

/** First byte of a range of keys that was read: it has a start unless it is open below, an end unless open above. */
export const RANGE_HAS_START: u32 = 1;
export const RANGE_START_EXCLUSIVE: u32 = 2;
export const RANGE_HAS_END: u32 = 4;
export const RANGE_END_INCLUSIVE: u32 = 8;
