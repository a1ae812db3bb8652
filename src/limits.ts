/**
 * Hard limits: what the file format, the 4 GiB of a shard's memory or plain caution allow.
 * Each option's own range stands here too, so that documentation, validation and tests agree.
 */

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** Longest key, in encoded bytes. The empty key is a key. */
export const KEY_BYTES_MAX = 64 * KIB;
/** Longest value, in encoded bytes. */
export const VALUE_BYTES_MAX = 1 * GIB;
/** Sequence numbers stay integers that a double represents exactly. */
export const SEQUENCE_MAX = Number.MAX_SAFE_INTEGER;

export const SHARDS_MAX = 64;
/** Threads that may use one shard: the shard worker and up to 63 clients. */
export const CLIENTS_MAX = 64;

/** Least cache of one shard: its main queue holds a block of the longest value that stays inline. */
export const CACHE_BYTES_PER_SHARD_MIN = 4 * MIB;
/** The default takes a quarter of the memory, and no more than this. */
export const CACHE_BYTES_DEFAULT_MAX = 1 * GIB;

export const MEMTABLE_BYTES_MIN = 256 * KIB;
export const MEMTABLE_BYTES_MAX = 1 * GIB;
export const MEMTABLE_BYTES_DEFAULT = 32 * MIB;
/**
 * A shard's memtables live in this many arenas of half a `memtableSize`: one takes writes while the
 * others wait for their flush, so that all of them together stay within two `memtableSize`.
 */
export const ARENA_COUNT = 4;

export const RING_BYTES_MIN = 256;
export const RING_BYTES_MAX = 16 * MIB;
export const RING_BYTES_DEFAULT = 1 * MIB;

export const WRITE_BATCH_SIZE_MAX = 1_000_000;
export const WRITE_BATCH_SIZE_DEFAULT = 1000;
export const SYNC_INTERVAL_MS_MAX = 3_600_000;

export const TRANSACTIONS_ACTIVE_MAX = 1_000_000;
export const TRANSACTIONS_ACTIVE_DEFAULT = 1000;
export const TRANSACTION_TIMEOUT_MS_DEFAULT = 60_000;
export const TRANSACTION_TIMEOUT_MS_MAX = 86_400_000;
export const TRANSACTION_RETRIES_DEFAULT = 100;
export const TRANSACTION_RETRIES_MAX = 1_000_000;

export const PREFETCH_BLOCKS_MAX = 1024;
export const PREFETCH_BLOCKS_DEFAULT = 64;

export const BLOCK_BYTES_MIN = 256;
export const BLOCK_BYTES_MAX = 64 * KIB;
export const BLOCK_BYTES_DEFAULT = 4 * KIB;
export const TABLE_BYTES_MIN = 64 * KIB;
export const TABLE_BYTES_MAX = 1 * GIB;
export const TABLE_BYTES_DEFAULT = 16 * MIB;
export const FILTER_BITS_PER_KEY_MIN = 2;
export const FILTER_BITS_PER_KEY_MAX = 32;
export const FILTER_BITS_PER_KEY_DEFAULT = 10;

/** Bytes per second: a job writes pieces of a MiB. */
export const COMPACTION_RATE_MIN = 1024 * 1024;
export const COMPACTION_THREADS_MAX = 64;
/** Two at least, so that a flush never waits for a long compaction. */
export const COMPACTION_THREADS_DEFAULT_MIN = 2;
export const COMPACTION_THREADS_DEFAULT_MAX = 16;

/**
 * Most memory for young objects of an engine's thread. V8 would let it grow to 48 MiB a thread, of which
 * a thread that makes little garbage needs nothing: 20 MiB less in a process with two shards.
 */
export const YOUNG_GENERATION_MB = 4;
