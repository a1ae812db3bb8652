/**
 * Group commit: the shard worker's way from request rings to the log, the memtable and back.
 *
 *   groupBegin, groupCollect / groupAppend …   commits gather in the WAL buffer
 *   groupSeal                                  the group gets its header; the host writes it
 *   groupApply, groupPublish                   it enters the memtable and becomes visible
 *   groupAck                                   the clients are told
 *
 * At recovery groupOpen takes the place of the first two lines. Bytes of groups and commits are those
 * of docs/FORMAT.md, "WAL segment".
 *
 * The WAL buffer:
 *
 *   H_WAL_BASE                                                           + H_WAL_BYTES
 *   | group header | commits →                    | ... room ... | ← acknowledgements |
 *
 * Acknowledgement i is ACK_BYTES from the end downwards. Those of earlier groups that did not fit
 * their client's response ring come first and stay; a client that has such is not collected from, and
 * a group has at most a 64th of the places, so there is always one.
 *
 * Only the shard worker calls these; the state between calls is in its instance's globals. Operations
 * are copied into the buffer and checked there: what a client does to its ring later changes nothing.
 */

import { copyBytes } from './bytes';
import { placementSeed, xxh64 } from './hash';
import {
  COUNTER_BYTES_APPLIED,
  COUNTER_OPS_APPLIED,
  H_COUNTERS,
  H_SCRATCH_BASE,
  H_VISIBLE,
  H_WAL_BASE,
  H_WAL_BYTES,
  READER_COUNT,
  RECORD_ARGUMENT,
  RECORD_FLAGS,
  RECORD_FLAG_MORE,
  RECORD_FLAG_SYNC,
  RECORD_HEADER_BYTES,
  RECORD_KIND,
  RECORD_REQUEST_ID,
  REQUEST_WRITE,
  RESPONSE_OK,
  SCRATCH_CURSORS,
} from './layout';
import { TOUCH_BYTES, memtablePut, memtableTouch } from './memtable';
import {
  areOperations,
  nextOperation,
  operationKey,
  operationKeyLength,
  operationType,
  operationValue,
  operationValueLength,
} from './operations';
import {
  RECORD_MALFORMED,
  RECORD_NONE,
  closeRequests,
  closeResponses,
  nextRequest,
  openRequests,
  openResponses,
  putResponse,
  requestPayloadBytes,
  takeRequest,
} from './ring';

// On disk: these numbers do not change.
const GROUP_MAGIC: u32 = 0x50524747;
const GROUP_BODY_BYTES: u32 = 4;
const GROUP_CHECKSUM: u32 = 8;
const GROUP_CHECKED: u32 = 16; // the checksum covers everything from here on
const GROUP_SEQUENCE: u32 = 16;
const GROUP_TIMESTAMP: u32 = 24;
const GROUP_EPOCH: u32 = 32;
const GROUP_DURABLE_BYTES: u32 = 40;
const GROUP_COMMITS: u32 = 48;
const GROUP_FLAGS: u32 = 52;
const GROUP_ZERO: u32 = 56;
const GROUP_HEADER_BYTES: u32 = 64;
/** The one commit of this group goes on in the next group. */
const GROUP_FLAG_CONTINUES: u32 = 1;

const COMMIT_OPERATION_BYTES: u32 = 0;
const COMMIT_OPERATIONS: u32 = 4;
const COMMIT_KIND: u32 = 8; // u8 kind, u8 flags, u16 zero, u32 zero
const COMMIT_TRANSACTION: u32 = 16;
const COMMIT_HEADER_BYTES: u32 = 24;

const KIND_PLAIN: u32 = 0;
const KIND_COMMIT: u32 = 2;
const KIND_LAST: u32 = 3;

const SEQUENCE_MAX: u64 = (1 << 53) - 1;

/** Operations whose puts are prepared together. */
const AHEAD_MAX: u32 = 8;

/** client u32, request id u32, sequence f64. */
const ACK_BYTES: u32 = 16;
const ACKS_MAX: u32 = 65536;
/** As a client: nobody waits for the answer. */
const NOBODY: u32 = 0xffffffff;

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
let syncWanted: bool = false;
let firstSequence: u64 = 0;
let malformedRecord: u32 = 0;

/** Acknowledgements in the buffer; the first `carried` are of earlier groups. */
let acks: u32 = 0;
let carried: u32 = 0;
/** Bitmap of the clients that have carried ones. */
let carriers: u64 = 0;

/** groupApply: the next commit and its sequence number; the operations under way. */
let applyCommit: u32 = 0;
let applySequence: u64 = 0;
let applyAt: u32 = 0;
let applyEnd: u32 = 0;
/** Touching runs ahead of applying: the next operation to touch, the end of its commit, of them all. */
let aheadAt: u32 = 0;
let aheadEnd: u32 = 0;
let aheadLimit: u32 = 0;
/** Operations touched and not yet applied. */
let aheadCount: u32 = 0;
/** applyOps: what it stopped in, to go on there. */
let stagedFrom: u32 = 0;
let stagedAt: u32 = 0;
let stagedSequence: u64 = 0;

let activeMemtable: u32 = 0;

// @ts-ignore: decorator
@inline
function body(): u32 {
  return load<u32>(H_WAL_BASE) + GROUP_HEADER_BYTES;
}

/** Places for acknowledgements: a fourth of a small buffer, ACKS_MAX of a large one. */
// @ts-ignore: decorator
@inline
function acksMax(): u32 {
  return min(ACKS_MAX, (load<u32>(H_WAL_BYTES) >> 2) / ACK_BYTES);
}

/** No commit reaches beyond this address. */
// @ts-ignore: decorator
@inline
function bodyLimit(): u32 {
  return load<u32>(H_WAL_BASE) + load<u32>(H_WAL_BYTES) - acksMax() * ACK_BYTES;
}

// @ts-ignore: decorator
@inline
function ackAt(i: u32): u32 {
  return load<u32>(H_WAL_BASE) + load<u32>(H_WAL_BYTES) - (i + 1) * ACK_BYTES;
}

// ---- gathering ------------------------------------------------------------------

/** Starts an empty group. Acknowledgements that still wait stay. */
export function groupBegin(): void {
  bodyEnd = body();
  commits = 0;
  operations = 0;
  syncWanted = false;
  acks = carried;
}

/** True when the group takes another commit of `bytes` bytes of operations. */
// @ts-ignore: decorator
@inline
function hasPlace(bytes: u32): bool {
  if (commits >= groupCommitsMax() || acks >= acksMax()) return false;
  const room = bodyLimit() - bodyEnd;
  return room >= COMMIT_HEADER_BYTES && bytes <= room - COMMIT_HEADER_BYTES;
}

/** Most commits of one group. */
export function groupCommitsMax(): u32 {
  return max<u32>(acksMax() / READER_COUNT, 1);
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
  if (!areOperations(start, start + bytes, count)) return false;
  store<u32>(header, bytes, COMMIT_OPERATION_BYTES);
  store<u32>(header, count, COMMIT_OPERATIONS);
  store<u64>(header, <u64>kind, COMMIT_KIND);
  store<u64>(header, transactionId, COMMIT_TRANSACTION);
  bodyEnd = start + bytes;
  const ack = ackAt(acks);
  store<u32>(ack, client);
  store<u32>(ack, requestId, 4);
  acks++;
  commits++;
  operations += count;
  return true;
}

/**
 * Moves the client's complete plain WRITE records into the group, one commit each, and gives their
 * room back. Returns why it stopped: 0 the ring is empty; 1 the group is full (of bytes, commits, or
 * `opsMax` operations; one commit may have more); 2 the next record is for the host: no WRITE, one of
 * several pieces, or larger than a whole group; 3 the client has not made room for its earlier
 * acknowledgements; -1 the next record is malformed (`groupMalformed` tells its address).
 *
 * Pieces: the last record of a WRITE in pieces looks like a complete one. While the host holds
 * earlier pieces of a WRITE of this client, it takes all its records itself.
 */
export function groupCollect(client: u32, opsMax: u32): i32 {
  if ((carriers >> client) & 1) return COLLECT_BLOCKED;
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
  if (commits && (operations >= opsMax || count > opsMax - operations)) return COLLECT_FULL;
  if (!hasPlace(bytes)) return commits ? COLLECT_FULL : COLLECT_OTHER;
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
 * Adds a commit whose operations the host staged in the shard's memory. `kind`: 0 plain, 1 prepare,
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
  const answered = client < READER_COUNT ? client : NOBODY;
  const id = <u64>transactionId;
  return addCommit(opsPtr, opsBytes, opCount, kind, id, answered, requestId) ? 0 : MALFORMED;
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

/** Most bytes of operations that one commit may have and still fit a group. */
export function groupOpsBytesMax(): u32 {
  return bodyLimit() - body() - COMMIT_HEADER_BYTES;
}

/** 1 when a write of the group asked to be acknowledged only after fdatasync. */
export function groupSync(): i32 {
  return syncWanted ? 1 : 0;
}

/** Who waits for commit `i` of the group: a client slot, or 0xffffffff. */
export function groupClient(i: u32): u32 {
  return load<u32>(ackAt(carried + i));
}

/** The request that commit `i` of the group answers. */
export function groupRequestId(i: u32): u32 {
  return load<u32>(ackAt(carried + i), 4);
}

// ---- the log --------------------------------------------------------------------

/**
 * Completes the group's header; commit i has sequence number `firstSequence + i`. The group is to be
 * written to segment `segment` at `fileOffset`. `flags`: 1 its one commit goes on in the next group.
 * Returns the bytes to write, from H_WAL_BASE on.
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
  startApply(<u64>first);
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
  startApply(first);
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
    if (bytes > end - at || (<u32>kinds & 0xff) > KIND_LAST || kinds >> 16) return false;
    if (!areOperations(at, at + bytes, opCount)) return false;
    operations += opCount;
    at += bytes;
    count--;
  }
  return count == 0;
}

// ---- the memtable ---------------------------------------------------------------

/** The arena that `groupApply` and `applyOps` write to. */
export function setActiveMemtable(arena: u32): void {
  activeMemtable = arena;
}

function startApply(first: u64): void {
  applyCommit = body();
  applySequence = first;
  applyAt = 0;
  applyEnd = 0;
  startAhead(applyCommit, applyCommit, bodyEnd);
}

function startAhead(at: u32, end: u32, limit: u32): void {
  aheadAt = at;
  aheadEnd = end;
  aheadLimit = limit;
  aheadCount = 0;
}

/** Touches the next AHEAD_MAX operations. Anything malformed ends it: applying will tell. */
function touchAhead(): void {
  // The shard worker's own scratch: no scan of its is under way.
  const list = load<u32>(H_SCRATCH_BASE) + SCRATCH_CURSORS;
  let count: u32 = 0;
  while (count < AHEAD_MAX) {
    if (aheadAt >= aheadEnd) {
      if (aheadLimit - aheadEnd < COMMIT_HEADER_BYTES) break;
      const commit = aheadEnd;
      const bytes = load<u32>(commit, COMMIT_OPERATION_BYTES);
      aheadAt = commit + COMMIT_HEADER_BYTES;
      if (bytes > aheadLimit - aheadAt) break;
      aheadEnd = aheadAt + bytes;
      if (!isApplied(<u32>load<u8>(commit, COMMIT_KIND))) aheadAt = aheadEnd;
      continue;
    }
    aheadAt = nextOperation(aheadAt, aheadEnd);
    if (!aheadAt) break;
    store<u32>(list + count * TOUCH_BYTES, operationKey);
    store<u32>(list + count * TOUCH_BYTES, operationKeyLength, 4);
    count++;
  }
  // Alone, a key gains nothing. After the end, never again.
  if (count > 1) memtableTouch(activeMemtable, list, count);
  if (count < AHEAD_MAX) {
    aheadEnd = aheadLimit;
    aheadAt = aheadLimit;
    count = u32.MAX_VALUE;
  }
  aheadCount = count;
}

/** Prepares and aborts stand in the log only. */
// @ts-ignore: decorator
@inline
function isApplied(kind: u32): bool {
  return kind == KIND_PLAIN || kind == KIND_COMMIT;
}

/** Applies operations; returns the address of the first one that did not fit, `end`, or 0: malformed. */
function applyRange(at: u32, end: u32, sequence: u64): u32 {
  let applied: u64 = 0;
  let bytes: u64 = 0;
  while (at < end) {
    if (!aheadCount) touchAhead();
    aheadCount--;
    const next = nextOperation(at, end);
    if (!next) {
      at = 0;
      break;
    }
    const full = memtablePut(
      activeMemtable,
      operationKey,
      operationKeyLength,
      operationType,
      operationValue,
      operationValueLength,
      sequence,
    );
    if (full) break;
    applied++;
    bytes += <u64>(operationKeyLength + operationValueLength);
    at = next;
  }
  countApplied(COUNTER_OPS_APPLIED, applied);
  countApplied(COUNTER_BYTES_APPLIED, bytes);
  return at;
}

// @ts-ignore: decorator
@inline
function countApplied(counter: u32, more: u64): void {
  const at = H_COUNTERS + (counter << 3);
  atomic.store<u64>(at, load<u64>(at) + more);
}

/**
 * Applies the sealed (or opened) group to the active memtable. Operations of prepares and aborts are
 * passed over. Returns 0 done; 1 the arena is full: switch, `setActiveMemtable`, call again, it goes
 * on where it stopped; -1 malformed.
 */
export function groupApply(): i32 {
  while (true) {
    if (applyAt < applyEnd) {
      const at = applyRange(applyAt, applyEnd, applySequence - 1);
      if (!at) return MALFORMED;
      applyAt = at;
      if (at < applyEnd) return 1;
    }
    if (applyCommit >= bodyEnd) return 0;
    if (bodyEnd - applyCommit < COMMIT_HEADER_BYTES) return MALFORMED;
    const kind = <u32>load<u8>(applyCommit, COMMIT_KIND);
    const bytes = load<u32>(applyCommit, COMMIT_OPERATION_BYTES);
    applyAt = applyCommit + COMMIT_HEADER_BYTES;
    if (bytes > bodyEnd - applyAt) return MALFORMED;
    applyEnd = applyAt + bytes;
    applyCommit = applyEnd;
    applySequence++;
    if (!isApplied(kind)) applyAt = applyEnd;
  }
}

/**
 * Applies staged operations, all with one sequence number. Returns 0 done; 1 the arena is full:
 * switch, `setActiveMemtable` and call again with the same arguments, it goes on where it stopped;
 * -1 malformed (then operations before the malformed one were applied).
 */
export function applyOps(opsPtr: u32, opsBytes: u32, sequence: f64): i32 {
  const goesOn = stagedFrom == opsPtr && stagedSequence == <u64>sequence && stagedFrom != 0;
  const end = opsPtr + opsBytes;
  const from = goesOn ? stagedAt : opsPtr;
  startAhead(from, end, end);
  const at = applyRange(from, end, <u64>sequence);
  stagedFrom = 0;
  if (!at) return MALFORMED;
  if (at == end) return 0;
  stagedFrom = opsPtr;
  stagedSequence = <u64>sequence;
  stagedAt = at;
  return 1;
}

/** Makes every commit up to `sequence` visible to readers of the newest state. */
export function groupPublish(sequence: f64): void {
  atomic.store<u64>(H_VISIBLE, <u64>sequence);
}

// ---- acknowledgements -----------------------------------------------------------

/**
 * Answers every commit of the sealed group with RESPONSE_OK and its sequence number. Returns how many
 * answers, of this group and earlier ones, wait for room in their client's response ring.
 */
export function groupAck(): i32 {
  const first = load<u64>(load<u32>(H_WAL_BASE), GROUP_SEQUENCE);
  for (let i = carried; i < acks; i++) store<f64>(ackAt(i), <f64>(first + (i - carried)), 8);
  carried = sendAcks(carried, acks);
  acks = carried;
  return <i32>carried;
}

/**
 * Tries again to send the answers of earlier groups that wait; returns how many still do, with
 * RING_RESPONSE_BLOCKED set for their clients. Call it at every turn, and last of all before the
 * shard worker parks: others that write responses may take the mark away.
 */
export function groupAckRetry(): i32 {
  if (!carried) return 0;
  carriers = 0;
  const kept = sendAcks(0, carried);
  const gathering = acks - carried;
  if (gathering) memory.copy(ackAt(kept + gathering - 1), ackAt(acks - 1), gathering * ACK_BYTES);
  carried = kept;
  acks = kept + gathering;
  return <i32>carried;
}

/** Sends acknowledgements [from, end); those that wait move up to `from`. Returns where they end. */
function sendAcks(from: u32, end: u32): u32 {
  let kept = from;
  let open: u32 = NOBODY;
  for (let i = from; i < end; i++) {
    const ack = ackAt(i);
    const client = load<u32>(ack);
    if (client == NOBODY) continue;
    if (client != open) {
      if (open != NOBODY) closeResponses();
      openResponses(client);
      open = client;
    }
    // In order: where one waits, those after it do.
    const waits = <bool>((carriers >> client) & 1);
    if (!waits && putResponse(RESPONSE_OK, 0, load<u32>(ack, 4), 8, ack + 8, 8)) continue;
    carriers |= <u64>1 << client;
    memory.copy(ackAt(kept), ack, ACK_BYTES);
    kept++;
  }
  if (open != NOBODY) closeResponses();
  return kept;
}

/** Drops the answers to a client that is gone. */
export function groupForget(client: u32): void {
  for (let i: u32 = 0; i < acks; i++) {
    if (load<u32>(ackAt(i)) == client) store<u32>(ackAt(i), NOBODY);
  }
  carriers &= ~(<u64>1 << client);
}
