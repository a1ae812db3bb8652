/**
 * The shard worker's ends of a client's two rings: it consumes requests and produces responses.
 *
 * Positions are bytes that count up without end (mod 2^32) in steps of 8; a position's place in the
 * ring is its low bits. A record is contiguous: a PAD record fills the end of the ring where the
 * next one does not fit. Only the first 8 bytes of a PAD are looked at, since no more may be left.
 *
 * Publication: the producer writes the record, then stores the head; the consumer loads the head,
 * reads the record, then stores the tail. What a client says is checked: a record lies within the
 * published bytes and does not run over the end of the ring.
 */

import { copyBytes } from './bytes';
import {
  H_REQUEST_RING_BYTES,
  H_RESPONSE_RING_BYTES,
  H_RING_BASE,
  H_TOUCHED,
  RECORD_ARGUMENT,
  RECORD_FLAGS,
  RECORD_HEADER_BYTES,
  RECORD_KIND,
  RECORD_PAYLOAD_BYTES,
  RECORD_REQUEST_ID,
  REQUEST_PAD,
  RESPONSE_PAD,
  RINGS,
  RING_CONTROL_BYTES,
  RING_REQUEST_HEAD,
  RING_REQUEST_TAIL,
  RING_RESPONSE_BLOCKED,
  RING_RESPONSE_HEAD,
  RING_RESPONSE_TAIL,
} from './layout';

/** Instead of a record's address: the ring is empty, or holds something that is no record. */
export const RECORD_NONE: u32 = 0;
export const RECORD_MALFORMED: u32 = 0xffffffff;

// @ts-ignore: decorator
@inline
function controlOf(client: u32): u32 {
  return RINGS + client * RING_CONTROL_BYTES;
}

// @ts-ignore: decorator
@inline
function pairBase(client: u32): u32 {
  const pairBytes = load<u32>(H_REQUEST_RING_BYTES) + load<u32>(H_RESPONSE_RING_BYTES);
  return load<u32>(H_RING_BASE) + client * pairBytes;
}

// @ts-ignore: decorator
@inline
function recordBytes(payloadBytes: u32): u32 {
  return (RECORD_HEADER_BYTES + payloadBytes + 7) & ~7;
}

// ---- requests -----------------------------------------------------------------

let requestControl: u32 = 0;
let requestBase: u32 = 0;
let requestRingBytes: u32 = 0;
/** Where the next record starts; the client's view of it follows with `closeRequests`. */
let requestTail: u32 = 0;
let requestHead: u32 = 0;

/** Payload bytes of the record that `nextRequest` returned, whatever the client writes now. */
export let requestPayloadBytes: u32 = 0;

export function openRequests(client: u32): void {
  requestControl = controlOf(client);
  requestBase = pairBase(client);
  requestRingBytes = load<u32>(H_REQUEST_RING_BYTES);
  requestTail = load<u32>(requestControl, RING_REQUEST_TAIL);
  requestHead = requestTail;
}

/** Address of the next record, PAD passed over; RECORD_NONE; or RECORD_MALFORMED. */
export function nextRequest(): u32 {
  while (true) {
    if (requestTail == requestHead) {
      requestHead = atomic.load<u32>(requestControl + RING_REQUEST_HEAD);
      if (requestTail == requestHead) return RECORD_NONE;
    }
    const published = requestHead - requestTail;
    if (published > requestRingBytes || published & 7) return RECORD_MALFORMED;
    const offset = requestTail & (requestRingBytes - 1);
    const toEnd = requestRingBytes - offset;
    const record = requestBase + offset;
    if (load<u8>(record, RECORD_KIND) == <u8>REQUEST_PAD) {
      if (toEnd > published) return RECORD_MALFORMED;
      requestTail += toEnd;
      continue;
    }
    const most = min(toEnd, published);
    const payloadBytes = load<u32>(record, RECORD_PAYLOAD_BYTES);
    if (most < RECORD_HEADER_BYTES || payloadBytes > most - RECORD_HEADER_BYTES) {
      return RECORD_MALFORMED;
    }
    requestPayloadBytes = payloadBytes;
    return record;
  }
}

/** Goes past the record that `nextRequest` returned. */
// @ts-ignore: decorator
@inline
export function takeRequest(): void {
  requestTail += recordBytes(requestPayloadBytes);
}

/** Gives the room of what was taken back to the client. */
export function closeRequests(): void {
  if (load<u32>(requestControl, RING_REQUEST_TAIL) == requestTail) return;
  atomic.store<u32>(requestControl + RING_REQUEST_TAIL, requestTail);
}

/**
 * Address of the next request record, PAD passed over; 0 when there is none; 0xffffffff (-1) when
 * what the client published is no record. The record stays until `ringPop`.
 */
export function ringPeek(client: u32): u32 {
  openRequests(client);
  const record = nextRequest();
  closeRequests();
  return record;
}

/** Goes past the record that `ringPeek` returns and gives its room back. */
export function ringPop(client: u32): void {
  openRequests(client);
  const record = nextRequest();
  if (record != RECORD_NONE && record != RECORD_MALFORMED) takeRequest();
  closeRequests();
}

// ---- responses ----------------------------------------------------------------

let responseClient: u32 = 0;
let responseControl: u32 = 0;
let responseBase: u32 = 0;
let responseRingBytes: u32 = 0;
/** Where the next record goes; the client sees it with `closeResponses`. */
let responseHead: u32 = 0;
/** The client's tail as last seen. */
let responseTail: u32 = 0;

export function openResponses(client: u32): void {
  responseClient = client;
  responseControl = controlOf(client);
  responseRingBytes = load<u32>(H_RESPONSE_RING_BYTES);
  responseBase = pairBase(client) + load<u32>(H_REQUEST_RING_BYTES);
  responseHead = load<u32>(responseControl, RING_RESPONSE_HEAD);
  responseTail = atomic.load<u32>(responseControl + RING_RESPONSE_TAIL);
}

function hasRoom(bytes: u32): bool {
  const used = responseHead - responseTail;
  // More than all is used only when the client broke its tail: it gets nothing more.
  return used <= responseRingBytes && bytes <= responseRingBytes - used;
}

/**
 * Makes room for a record; returns its address, or 0: full, and then the client's tail is watched
 * (RING_RESPONSE_BLOCKED). The mark is set, then the tail looked at again; the client stores the
 * tail, then looks at the mark; so one of the two notices.
 */
function reserve(bytes: u32): u32 {
  const offset = responseHead & (responseRingBytes - 1);
  const toEnd = responseRingBytes - offset;
  const pad = bytes > toEnd ? toEnd : 0;
  if (!hasRoom(pad + bytes)) {
    responseTail = atomic.load<u32>(responseControl + RING_RESPONSE_TAIL);
    if (!hasRoom(pad + bytes)) {
      atomic.store<u32>(responseControl + RING_RESPONSE_BLOCKED, 1);
      responseTail = atomic.load<u32>(responseControl + RING_RESPONSE_TAIL);
      if (!hasRoom(pad + bytes)) return 0;
    }
  }
  if (pad) {
    const filler = responseBase + offset;
    store<u32>(filler, pad > RECORD_HEADER_BYTES ? pad - RECORD_HEADER_BYTES : 0);
    store<u32>(filler, RESPONSE_PAD, RECORD_KIND);
    responseHead += pad;
    return responseBase;
  }
  return responseBase + offset;
}

/** Writes a record, unseen until `closeResponses`. False: no room. */
export function putResponse(
  kind: u32,
  flags: u32,
  requestId: u32,
  argument: u32,
  payload: u32,
  payloadBytes: u32,
): bool {
  const bytes = recordBytes(payloadBytes);
  const record = reserve(bytes);
  if (!record) return false;
  store<u32>(record, payloadBytes, RECORD_PAYLOAD_BYTES);
  // Kind, flags and the unused u16 behind them.
  const flagsShift = (RECORD_FLAGS - RECORD_KIND) << 3;
  store<u32>(record, (kind & 0xff) | ((flags & 0xff) << flagsShift), RECORD_KIND);
  store<u32>(record, requestId, RECORD_REQUEST_ID);
  store<u32>(record, argument, RECORD_ARGUMENT);
  if (payloadBytes) copyBytes(record + RECORD_HEADER_BYTES, payload, payloadBytes);
  responseHead += bytes;
  return true;
}

/** Shows the client what was put and notes it in H_TOUCHED. */
export function closeResponses(): void {
  if (load<u32>(responseControl, RING_RESPONSE_HEAD) == responseHead) return;
  atomic.store<u32>(responseControl + RING_RESPONSE_HEAD, responseHead);
  store<u64>(H_TOUCHED, load<u64>(H_TOUCHED) | (<u64>1 << responseClient));
}

/**
 * Sends one response record. 0 done; 1 the ring is full (the client rings the doorbell after it
 * made room); -1 the payload is longer than half a ring takes: send it in pieces.
 */
export function ringPushResponse(
  client: u32,
  kind: u32,
  flags: u32,
  requestId: u32,
  argument: u32,
  payload: u32,
  payloadBytes: u32,
): i32 {
  if (payloadBytes > load<u32>(H_RESPONSE_RING_BYTES) / 2 - RECORD_HEADER_BYTES) return -1;
  openResponses(client);
  if (!putResponse(kind, flags, requestId, argument, payload, payloadBytes)) return 1;
  closeResponses();
  return 0;
}
