/**
 * The memory map of a bulk load: one shared memory in which the main thread and the pool's threads
 * hand each other chunks of entries (slots), pieces of text and working room.
 *
 * Compiled twice, like `layout.ts`: by AssemblyScript into the kernel and by TypeScript into the host.
 *
 * Who writes: a slot, text area or work area has one owner at a time, a job or the main thread; the
 * message that starts or ends a job hands it over. Sorted slots are read-only.
 */

// ---- chunk: see sort.ts -------------------------------------------------------------

export const CHUNK_COUNT: u32 = 0; // u32: entries
export const CHUNK_TOP: u32 = 4; // u32: where the next payload byte goes
export const CHUNK_END: u32 = 8; // u32: end of the slot, a multiple of 16
export const CHUNK_HEAD_BYTES: u32 = 16;
/** In a descriptor's key length: the value is a reference to a blob. */
export const CHUNK_BLOB: u32 = 0x80000000;
export const CHUNK_DESCRIPTOR_BYTES: u32 = 8;
/** What an entry takes besides its bytes: its descriptor and its place in the sort. */
export const CHUNK_ENTRY_OVERHEAD_BYTES: u32 = 24;

/** Record of a sorted run. */
export const RUN_KEY: u32 = 0; // u32: address of the key; the value follows it
export const RUN_KEY_LENGTH: u32 = 4; // u32, with CHUNK_BLOB
export const RUN_VALUE_LENGTH: u32 = 8; // u32
export const RUN_RECORD_BYTES: u32 = 16;

// ---- CSV: see csv.ts ------------------------------------------------------------------

/** Words of the parser's configuration and state, u32 each. */
export const CSV_CURSOR: u32 = 0; // address of the next record
export const CSV_TEXT_END: u32 = 4; // end of the text in memory
export const CSV_STOP: u32 = 8; // records that begin after this address belong to the next range
export const CSV_FINAL: u32 = 12; // 1: the text ends with the input
export const CSV_CHUNK: u32 = 16; // the chunk that receives the entries
export const CSV_DELIMITER: u32 = 20; // byte
export const CSV_QUOTES: u32 = 24; // 1: quotation marks quote
export const CSV_COLUMNS: u32 = 28; // columns every record must have
export const CSV_FIELDS: u32 = 32; // address of CSV_FIELD_BYTES per column
export const CSV_KEY: u32 = 36; // address of the key's pieces
export const CSV_KEY_PIECES: u32 = 40;
export const CSV_VALUE: u32 = 44; // address of the value's pieces
export const CSV_VALUE_PIECES: u32 = 48;
export const CSV_VALUE_BYTES_MAX: u32 = 52; // longest value kept in the chunk
export const CSV_LARGE: u32 = 56; // address of room for one key and one large value
export const CSV_LARGE_BYTES: u32 = 60;
// Results.
export const CSV_RECORD: u32 = 64; // address of the record that is bad or large
export const CSV_RESULT_KEY: u32 = 68; // large: address of the key; the value follows it
export const CSV_RESULT_KEY_LENGTH: u32 = 72;
export const CSV_RESULT_VALUE_LENGTH: u32 = 76;
export const CSV_RESULT_FIELDS: u32 = 80; // fields of the last record that was split
export const CSV_STATE_BYTES: u32 = 96;

export const CSV_FIELD_START: u32 = 0; // u32: address
export const CSV_FIELD_LENGTH: u32 = 4; // u32
export const CSV_FIELD_FLAGS: u32 = 8; // u32
export const CSV_FIELD_BYTES: u32 = 12;
/** Quoted in the source; the marks are not part of the field. */
export const CSV_FIELD_QUOTED: u32 = 1;
/** Holds doubled quotation marks. */
export const CSV_FIELD_ESCAPED: u32 = 2;

/** Piece of a key or value: kind, then for a literal address and length, for a field its column. */
export const CSV_PIECE_BYTES: u32 = 12;
export const CSV_PIECE_LITERAL: u32 = 0;
export const CSV_PIECE_FIELD: u32 = 1;
/** The field as a JSON string. */
export const CSV_PIECE_JSON: u32 = 2;

/** All records of the range are done. */
export const CSV_DONE: u32 = 0;
/** The chunk is full; CSV_CURSOR is where to go on. */
export const CSV_FULL: u32 = 1;
/** The record at CSV_CURSOR goes on behind the text. */
export const CSV_MORE: u32 = 2;
/** A value that belongs in a blob: CSV_RESULT_*; CSV_CURSOR is behind the record. */
export const CSV_VALUE_LARGE: u32 = 3;
/** From here on: what is wrong with the record at CSV_RECORD; CSV_CURSOR is where to go on. */
export const CSV_BAD: u32 = 16;
export const CSV_BAD_QUOTE_IN_FIELD: u32 = 16;
export const CSV_BAD_AFTER_QUOTE: u32 = 17;
export const CSV_BAD_UNTERMINATED: u32 = 18;
export const CSV_BAD_FIELD_COUNT: u32 = 19;
export const CSV_BAD_KEY_MISSING: u32 = 20;
export const CSV_BAD_KEY_LONG: u32 = 21;
export const CSV_BAD_VALUE_LONG: u32 = 22;
export const CSV_BAD_UTF8: u32 = 23;

// ---- JSON arrays: see text.ts ---------------------------------------------------------------

export const JSON_CURSOR: u32 = 0; // address of the next byte to look at
export const JSON_END: u32 = 4; // end of the text
export const JSON_DEPTH: u32 = 8; // brackets open; 1 between elements
export const JSON_IN_STRING: u32 = 12;
export const JSON_ELEMENT: u32 = 16; // address where the current element begins
export const JSON_OUT: u32 = 20; // address of {address, length} per element found
export const JSON_ELEMENTS_MAX: u32 = 24;
export const JSON_ELEMENTS: u32 = 28; // elements found by the last call
export const JSON_CLOSED: u32 = 32; // address behind the array's closing bracket, 0 until then
export const JSON_STATE_BYTES: u32 = 48;

// ---- merge of runs: see load-merge.ts ---------------------------------------------------------

/** State of a merge, at the start of its room: f64 records that went out, f64 that were dropped. */
export const RUNS_EMITTED: u32 = 0;
export const RUNS_DROPPED: u32 = 8;
export const RUNS_STATE_BYTES: u32 = 64;
