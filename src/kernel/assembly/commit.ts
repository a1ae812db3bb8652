/**
 * Group commit: the shard worker's way from request rings to the log, the memtable and back.
 *
 *   groupBegin, groupCollect / groupAppend …   commits gather in the WAL buffer
 *   groupSeal                                  the group gets its header; the host writes it
 *   groupApply (apply.ts), groupPublish        it enters the memtable and becomes visible
 *   groupAck (acknowledge.ts)                  the clients are told
 *
 * At recovery groupOpen takes the place of the first two lines.
 *
 *   H_WAL_BASE                                                           + H_WAL_BYTES
 *   | group header | commits →                    | ... room ... | ← acknowledgements |
 *
 * Only the shard worker calls these, or a thread that it lent the shard to; the state between calls is
 * in the caller's instance's globals, and nothing of it outlasts a group.
 * Operations are copied into the buffer and checked there: what a client does to its ring later
 * changes nothing.
 */

import {
  acksStart,
  addAck,
  carriesAcks,
  dropAcks,
  groupCommitsMax,
  hasAckPlace,
} from './acknowledge';
import { startApply } from './apply';
import { copyBytes } from './bytes';
import {
  COMMIT_BODY_BYTES,
  COMMIT_HEADER_BYTES,
  COMMIT_KIND,
  COMMIT_OPERATIONS,
  COMMIT_OPERATION_BYTES,
  COMMIT_TRANSACTION,
  GROUP_BODY_BYTES,
  GROUP_CHECKED,
  GROUP_CHECKSUM,
  GROUP_COMMITS,
  GROUP_DURABLE_BYTES,
  GROUP_EPOCH,
  GROUP_FLAGS,
  GROUP_FLAG_CONTINUES,
  GROUP_HEADER_BYTES,
  GROUP_MAGIC,
  GROUP_SEQUENCE,
  GROUP_TIMESTAMP,
  GROUP_ZERO,
  KIND_ABORT,
  KIND_COMMIT,
  KIND_LAST,
  KIND_PLAIN,
} from './group-format';
import { placementSeed, xxh64 } from './hash';
import { heldKeys, heldRanges } from './held';
import {
  H_UNSETTLED,
  H_VISIBLE,
  H_WAL_BASE,
  H_WAL_BYTES,
  RECORD_ARGUMENT,
  RECORD_FLAGS,
  RECORD_FLAG_MORE,
  RECORD_FLAG_SYNC,
  RECORD_HEADER_BYTES,
  RECORD_KIND,
  RECORD_REQUEST_ID,
  REQUEST_WRITE,
} from './layout';
import { PUT_BYTES_MAX } from './memtable-node';
import { areOperations } from './operations';
import {
  RECORD_MALFORMED,
  RECORD_NONE,
  closeRequests,
  nextRequest,
  openRequests,
  requestPayloadBytes,
  takeRequest,
} from './ring';

const SEQUENCE_MAX: u64 = (1 << 53) - 1;

/** groupCollect, groupAppend: what stopped them. */
const COLLECT_EMPTY: i32 = 0;
const COLLECT_FULL: i32 = 1;
const COLLECT_OTHER: i32 = 2;
const COLLECT_BLOCKED: i32 = 3;
const MALFORMED: i32 = -1;

/** End of the commits in the buffer. */
let bodyEnd: u32 = 0;
let commits: u32 = 0;
let operations: u32 = 0;
/** Commits that are not plain. */
let controls: u32 = 0;
let syncWanted: bool = false;
let malformedRecord: u32 = 0;
/** Larger records may hold a value too large for a memtable. */
let recordBytesMax: u32 = 0xffffffff;
/** Collecting for a group that must fit the active memtable, and the bytes of it that are left. */
let isBounded: bool = false;
let roomBytes: u32 = 0;

// @ts-ignore: decorator
@inline
function body(): u32 {
  return load<u32>(H_WAL_BASE) + GROUP_HEADER_BYTES;
}

// ---- gathering ------------------------------------------------------------------

/** Where the commits of the gathered group begin, and end. */
export function groupBody(): u32 {
  return body();
}

export function groupEnd(): u32 {
  return bodyEnd;
}

/** Starts an empty group. Acknowledgements that still wait stay. */
export function groupBegin(): void {
  bodyEnd = body();
  commits = 0;
  operations = 0;
  controls = 0;
  syncWanted = false;
  isBounded = false;
  dropAcks();
}

/** From now on, records with more bytes of operations than this are left to the host. */
export function groupRecordMax(bytes: u32): void {
  recordBytesMax = bytes;
}

/**
 * The group that was just begun will be applied without another memtable: what may not fit `bytes`
 * bytes of one is left to the host, and so are writes that are to be durable.
 */
export function groupBound(bytes: u32): void {
  isBounded = true;
  roomBytes = bytes;
}

/** Takes room for a record of a bounded group. False: it may not fit. */
// @ts-ignore: decorator
@inline
function takeRoom(bytes: u32, count: u32): bool {
  const wanted = <u64>bytes + <u64>count * <u64>PUT_BYTES_MAX;
  if (wanted > <u64>roomBytes) return false;
  roomBytes -= <u32>wanted;
  return true;
}

/** True when the group takes another commit of `bytes` bytes of operations. */
// @ts-ignore: decorator
@inline
function hasPlace(bytes: u32): bool {
  if (commits >= groupCommitsMax() || !hasAckPlace()) return false;
  const room = acksStart() - bodyEnd;
  return room >= COMMIT_HEADER_BYTES && bytes <= room - COMMIT_HEADER_BYTES;
}

/** True when [at, end) is what a commit of that kind has, with `count` operations. */
// @ts-ignore: decorator
@inline
function isBody(kind: u32, at: u32, end: u32, count: u32): bool {
  if (kind == KIND_COMMIT) return count == 0 && end - at == COMMIT_BODY_BYTES;
  if (kind == KIND_ABORT) return count == 0 && at == end;
  return areOperations(at, end, count);
}

/** Copies operations behind the group and checks the copy. False: malformed, nothing was added. */
function addCommit(
  from: u32,
  bytes: u32,
  count: u32,
  kind: u32,
  transactionId: u64,
  client: u32,
  requestId: u32,
): bool {
  const header = bodyEnd;
  const start = header + COMMIT_HEADER_BYTES;
  copyBytes(start, from, bytes);
  if (!isBody(kind, start, start + bytes, count)) return false;
  store<u32>(header, bytes, COMMIT_OPERATION_BYTES);
  store<u32>(header, count, COMMIT_OPERATIONS);
  store<u64>(header, <u64>kind, COMMIT_KIND);
  store<u64>(header, transactionId, COMMIT_TRANSACTION);
  bodyEnd = start + bytes;
  addAck(client, requestId);
  commits++;
  operations += count;
  if (kind != KIND_PLAIN) controls++;
  return true;
}

/**
 * Moves the client's complete plain WRITE records into the group, one commit each, and gives their
 * room back. Returns why it stopped: 0 the ring is empty; 1 the group is full (of bytes, commits,
 * or `opsMax` operations; one commit may have more); 2 the next record is for the host: no WRITE,
 * one of several pieces, larger than a whole group or than `groupRecordMax`, or any while prepared
 * transactions hold keys, or one that a bounded group cannot have; 3 the client has not
 * made room for its earlier acknowledgements; -1 the next record is malformed (`groupMalformed` tells its address).
 *
 * Pieces: the last record of a WRITE in pieces looks like a complete one. While the host holds
 * earlier pieces of a WRITE of this client, it takes all its records itself.
 */
export function groupCollect(client: u32, opsMax: u32): i32 {
  if (carriesAcks(client)) return COLLECT_BLOCKED;
  openRequests(client);
  let result = COLLECT_EMPTY;
  while (true) {
    const record = nextRequest();
    if (record == RECORD_NONE) break;
    malformedRecord = record;
    result = record == RECORD_MALFORMED ? MALFORMED : collectRecord(client, record, opsMax);
    if (result != COLLECT_EMPTY) break;
    takeRequest();
  }
  closeRequests();
  return result;
}

/** Adds one record to the group; COLLECT_EMPTY when it went in. */
// @ts-ignore: decorator
@inline
function collectRecord(client: u32, record: u32, opsMax: u32): i32 {
  const flags = <u32>load<u8>(record, RECORD_FLAGS);
  if (<u32>load<u8>(record, RECORD_KIND) != REQUEST_WRITE) return COLLECT_OTHER;
  if (flags & RECORD_FLAG_MORE) return COLLECT_OTHER;
  const count = load<u32>(record, RECORD_ARGUMENT);
  const bytes = requestPayloadBytes;
  if (bytes > recordBytesMax) return COLLECT_OTHER;
  if (commits && (operations >= opsMax || count > opsMax - operations)) return COLLECT_FULL;
  if (!hasPlace(bytes)) return commits ? COLLECT_FULL : COLLECT_OTHER;
  // What others hold is for the host to look at.
  if (heldKeys | heldRanges) return COLLECT_OTHER;
  if (isBounded && (flags & RECORD_FLAG_SYNC || count > opsMax || !takeRoom(bytes, count))) {
    return COLLECT_OTHER;
  }
  const requestId = load<u32>(record, RECORD_REQUEST_ID);
  const from = record + RECORD_HEADER_BYTES;
  if (!addCommit(from, bytes, count, KIND_PLAIN, 0, client, requestId)) return MALFORMED;
  if (flags & RECORD_FLAG_SYNC) syncWanted = true;
  return COLLECT_EMPTY;
}

/** Address of the record that `groupCollect` found malformed; 0xffffffff: not even a record. */
export function groupMalformed(): u32 {
  return malformedRecord;
}

/**
 * Adds a commit whose operations, or body, stand in the shard's memory. `kind`: 0 plain, 1 prepare,
 * 2 commit, 3 abort. `client`: who is told by `groupAck`, or 0xffffffff: nobody.
 * Returns 0; 1 no room in this group (in an empty one: the commit is too large for a group);
 * -1 malformed.
 */
export function groupAppend(
  opsPtr: u32,
  opsBytes: u32,
  opCount: u32,
  kind: u32,
  transactionId: f64,
  client: u32,
  requestId: u32,
): i32 {
  if (kind > KIND_LAST) return MALFORMED;
  if (!hasPlace(opsBytes)) return COLLECT_FULL;
  const id = <u64>transactionId;
  return addCommit(opsPtr, opsBytes, opCount, kind, id, client, requestId) ? 0 : MALFORMED;
}

/** Where the operations of the next commit go, if the group takes so many bytes of them; else 0. */
export function groupPlace(opsBytes: u32): u32 {
  return hasPlace(opsBytes) ? bodyEnd + COMMIT_HEADER_BYTES : 0;
}

/** Bytes of the group, header included. */
export function groupBytes(): u32 {
  return bodyEnd - load<u32>(H_WAL_BASE);
}

export function groupCommits(): u32 {
  return commits;
}

export function groupOps(): u32 {
  return operations;
}

/** Commits of the group that are not plain. */
export function groupControls(): u32 {
  return controls;
}

/** Most bytes of operations that one commit may have and still fit a group. */
export function groupOpsBytesMax(): u32 {
  return acksStart() - body() - COMMIT_HEADER_BYTES;
}

/** 1 when a write of the group asked to be acknowledged only after fdatasync. */
export function groupSync(): i32 {
  return syncWanted ? 1 : 0;
}

// ---- the log --------------------------------------------------------------------

/**
 * Completes the group's header; commit i has sequence number `first + i`. The group is to be
 * written to segment `segment` at `fileOffset`. `flags`: 1 its one commit goes on in the next
 * group. Returns the bytes to write, from H_WAL_BASE on.
 */
export function groupSeal(
  first: f64,
  timestampUs: f64,
  epoch: f64,
  durableBytes: f64,
  segment: f64,
  fileOffset: f64,
  flags: u32,
): u32 {
  const group = load<u32>(H_WAL_BASE);
  const bytes = bodyEnd - group;
  store<u32>(group, GROUP_MAGIC);
  store<u32>(group, bytes - GROUP_HEADER_BYTES, GROUP_BODY_BYTES);
  store<u64>(group, <u64>first, GROUP_SEQUENCE);
  store<f64>(group, timestampUs, GROUP_TIMESTAMP);
  store<u64>(group, <u64>epoch, GROUP_EPOCH);
  store<u64>(group, <u64>durableBytes, GROUP_DURABLE_BYTES);
  store<u32>(group, commits, GROUP_COMMITS);
  store<u32>(group, flags, GROUP_FLAGS);
  store<u64>(group, 0, GROUP_ZERO);
  store<u64>(group, groupChecksum(group, bytes, segment, fileOffset), GROUP_CHECKSUM);
  startApply(body(), bodyEnd, <u64>first);
  return bytes;
}

function groupChecksum(group: u32, bytes: u32, segment: f64, fileOffset: f64): u64 {
  return xxh64(group + GROUP_CHECKED, bytes - GROUP_CHECKED, placementSeed(segment, fileOffset));
}

/**
 * Recovery: takes the group that the host read to H_WAL_BASE, of which `bytes` bytes are there.
 * Returns 0; 1 when it needs more bytes (`groupBytesWanted`); -1 when it is no group of that place,
 * or one that no version of this code wrote. After 0, `groupApply` applies it.
 */
export function groupOpen(bytes: u32, segment: f64, fileOffset: f64): i32 {
  groupBegin();
  const group = load<u32>(H_WAL_BASE);
  if (bytes < GROUP_HEADER_BYTES) return 1;
  if (load<u32>(group) != GROUP_MAGIC) return MALFORMED;
  const bodyBytes = load<u32>(group, GROUP_BODY_BYTES);
  if (bodyBytes > load<u32>(H_WAL_BYTES) - GROUP_HEADER_BYTES) return MALFORMED;
  const total = GROUP_HEADER_BYTES + bodyBytes;
  if (bytes < total) return 1;
  const sum = groupChecksum(group, total, segment, fileOffset);
  if (sum != load<u64>(group, GROUP_CHECKSUM)) return MALFORMED;

  const count = load<u32>(group, GROUP_COMMITS);
  const first = load<u64>(group, GROUP_SEQUENCE);
  const flags = load<u32>(group, GROUP_FLAGS);
  if (first > SEQUENCE_MAX || SEQUENCE_MAX - first < <u64>count) return MALFORMED;
  if (flags & ~GROUP_FLAG_CONTINUES || (flags && count != 1)) return MALFORMED;
  if (load<u64>(group, GROUP_ZERO) != 0) return MALFORMED;
  if (!areCommits(group + GROUP_HEADER_BYTES, group + total, count)) return MALFORMED;
  bodyEnd = group + total;
  commits = count;
  startApply(body(), bodyEnd, first);
  return 0;
}

/** Bytes of the whole group that starts with the header at H_WAL_BASE. */
export function groupBytesWanted(): u32 {
  return load<u32>(load<u32>(H_WAL_BASE), GROUP_BODY_BYTES) + GROUP_HEADER_BYTES;
}

/** True when [at, end) is exactly `count` well-formed commits. Counts their operations. */
function areCommits(at: u32, end: u32, count: u32): bool {
  while (at < end) {
    if (!count || end - at < COMMIT_HEADER_BYTES) return false;
    const bytes = load<u32>(at, COMMIT_OPERATION_BYTES);
    const opCount = load<u32>(at, COMMIT_OPERATIONS);
    const kinds = load<u64>(at, COMMIT_KIND);
    at += COMMIT_HEADER_BYTES;
    const kind = <u32>kinds & 0xff;
    if (bytes > end - at || kind > KIND_LAST || kinds >> 16) return false;
    if (!isBody(kind, at, at + bytes, opCount)) return false;
    operations += opCount;
    if (kind != KIND_PLAIN) controls++;
    at += bytes;
    count--;
  }
  return count == 0;
}

/** Makes every commit up to `sequence` visible to readers of the newest state. */
export function groupPublish(sequence: f64): void {
  // What came in under a smaller number is hidden by H_UNSETTLED until it may be seen.
  if (<u64>sequence > load<u64>(H_VISIBLE)) atomic.store<u64>(H_VISIBLE, <u64>sequence);
}

/** As `unsettledFrom`, unless reads ask from some lower number on already: then 0. */
export function unsettledIfNone(sequence: f64): i32 {
  if (load<u64>(H_UNSETTLED) != u64.MAX_VALUE) return 0;
  atomic.store<u64>(H_UNSETTLED, <u64>sequence);
  return 1;
}

/** From `sequence` on, latest reads ask the transaction table; negative: no read has to. */
export function unsettledFrom(sequence: f64): void {
  atomic.store<u64>(H_UNSETTLED, sequence < 0 ? u64.MAX_VALUE : <u64>sequence);
}
