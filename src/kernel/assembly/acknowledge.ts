/**
 * Acknowledgements: who waits for which commit of the group, and for earlier ones.
 *
 * They stand in the WAL buffer, ACK_BYTES each, from its end downwards; the group grows towards
 * them. Those of earlier groups that did not fit their client's response ring come first and stay.
 * A client that has such is not collected from, and a group has at most a 64th of the places: so
 * there is always one.
 *
 * Only the shard worker calls these; the counts are in its instance's globals.
 */

import { GROUP_SEQUENCE } from './group-format';
import { H_WAL_BASE, H_WAL_BYTES, READER_COUNT, RESPONSE_OK } from './layout';
import { closeResponses, openResponses, putResponse } from './ring';

/** client u32, request id u32, sequence f64. */
const ACK_BYTES: u32 = 16;
const ACKS_MAX: u32 = 65536;
/** As a client: nobody waits for the answer. */
const NOBODY: u32 = 0xffffffff;

/** Acknowledgements in the buffer; the first `carried` are of earlier groups. */
let acks: u32 = 0;
let carried: u32 = 0;
/** Bitmap of the clients that have carried ones. */
let carriers: u64 = 0;

/** Places: a fourth of a small buffer, ACKS_MAX of a large one. */
// @ts-ignore: decorator
@inline
function acksMax(): u32 {
  return min(ACKS_MAX, (load<u32>(H_WAL_BYTES) >> 2) / ACK_BYTES);
}

// @ts-ignore: decorator
@inline
function ackAt(i: u32): u32 {
  return load<u32>(H_WAL_BASE) + load<u32>(H_WAL_BYTES) - (i + 1) * ACK_BYTES;
}

/** The group must end by this address. */
// @ts-ignore: decorator
@inline
export function acksStart(): u32 {
  return load<u32>(H_WAL_BASE) + load<u32>(H_WAL_BYTES) - acksMax() * ACK_BYTES;
}

/** Most commits of one group. */
export function groupCommitsMax(): u32 {
  return max<u32>(acksMax() / READER_COUNT, 1);
}

/** Forgets the group's own, which nobody will answer any more. */
export function dropAcks(): void {
  acks = carried;
}

// @ts-ignore: decorator
@inline
export function hasAckPlace(): bool {
  return acks < acksMax();
}

/** Notes who waits for the next commit of the group; a client that is no slot is nobody. */
// @ts-ignore: decorator
@inline
export function addAck(client: u32, requestId: u32): void {
  const ack = ackAt(acks++);
  store<u32>(ack, client < READER_COUNT ? client : NOBODY);
  store<u32>(ack, requestId, 4);
}

/** True when the client has not made room for answers to earlier groups. */
// @ts-ignore: decorator
@inline
export function carriesAcks(client: u32): bool {
  return <bool>((carriers >> client) & 1);
}

/** Who waits for commit `i` of the group: a client slot, or 0xffffffff. */
export function groupClient(i: u32): u32 {
  return load<u32>(ackAt(carried + i));
}

/** The request that commit `i` of the group answers. */
export function groupRequestId(i: u32): u32 {
  return load<u32>(ackAt(carried + i), 4);
}

/**
 * Answers every commit of the sealed group with RESPONSE_OK and its sequence number. Returns how
 * many answers, of this group and earlier ones, wait for room in their client's response ring.
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

/**
 * Sends acknowledgements [from, end); those that wait move up to `from`. Returns where they end.
 */
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
    const waits = carriesAcks(client);
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
