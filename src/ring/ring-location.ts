/**
 * Where the two rings of a (client, shard) pair lie in the shard's memory. The request ring of
 * client `c` starts at H_RING_BASE + c * (request bytes + response bytes); its response ring follows.
 */

import {
  H_CONNECTED,
  H_REQUEST_RING_BYTES,
  H_RESPONSE_RING_BYTES,
  H_RING_BASE,
  RECORD_HEADER_BYTES,
  RING_CONTROL_BYTES,
  RING_REQUEST_BLOCKED,
  RING_REQUEST_HEAD,
  RING_REQUEST_TAIL,
  RING_RESPONSE_BLOCKED,
  RING_RESPONSE_HEAD,
  RING_RESPONSE_TAIL,
  RINGS,
} from '../kernel/assembly/layout.js';

/** The views of a shard's memory that a ring works on; a `Kernel` is one. */
export interface RingMemory {
  readonly bytes: Buffer;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
}

export interface RingLocation {
  /** Address of the first byte. */
  readonly base: number;
  /** A power of two. */
  readonly bytes: number;
  /** Indexes into the memory's 32-bit words. */
  readonly headWord: number;
  readonly tailWord: number;
  /** 1 while the producer has something that did not fit. */
  readonly blockedWord: number;
}

export function requestRing(memory: RingMemory, client: number): RingLocation {
  const requestBytes = memory.u32[H_REQUEST_RING_BYTES >>> 2] as number;
  const control = RINGS + client * RING_CONTROL_BYTES;
  return {
    base: pairBase(memory, client),
    bytes: requestBytes,
    headWord: (control + RING_REQUEST_HEAD) >>> 2,
    tailWord: (control + RING_REQUEST_TAIL) >>> 2,
    blockedWord: (control + RING_REQUEST_BLOCKED) >>> 2,
  };
}

export function responseRing(memory: RingMemory, client: number): RingLocation {
  const requestBytes = memory.u32[H_REQUEST_RING_BYTES >>> 2] as number;
  const control = RINGS + client * RING_CONTROL_BYTES;
  return {
    base: pairBase(memory, client) + requestBytes,
    bytes: memory.u32[H_RESPONSE_RING_BYTES >>> 2] as number,
    headWord: (control + RING_RESPONSE_HEAD) >>> 2,
    tailWord: (control + RING_RESPONSE_TAIL) >>> 2,
    blockedWord: (control + RING_RESPONSE_BLOCKED) >>> 2,
  };
}

function pairBase(memory: RingMemory, client: number): number {
  const requestBytes = memory.u32[H_REQUEST_RING_BYTES >>> 2] as number;
  const responseBytes = memory.u32[H_RESPONSE_RING_BYTES >>> 2] as number;
  return (memory.u32[H_RING_BASE >>> 2] as number) + client * (requestBytes + responseBytes);
}

/** Most payload bytes of one record: a record takes at most half the ring, so it always fits in time. */
export function recordPayloadBytesMax(ringBytes: number): number {
  return ringBytes / 2 - RECORD_HEADER_BYTES;
}

/** The client is about to use its request ring: from now on the shard worker looks at it. */
export function connectRing(memory: RingMemory, client: number): void {
  Atomics.or(memory.i32, (H_CONNECTED >>> 2) + (client >>> 5), 1 << (client & 31));
}

/** The client's request ring is not looked at any more. For the shard worker. */
export function disconnectRing(memory: RingMemory, client: number): void {
  Atomics.and(memory.i32, (H_CONNECTED >>> 2) + (client >>> 5), ~(1 << (client & 31)));
}

/**
 * For a consumer whose tail the kernel moves: true when the producer waits for room. Call after
 * room was made; the mark is cleared, so wake the producer.
 */
export function takeBlocked(memory: RingMemory, location: RingLocation): boolean {
  return (
    Atomics.load(memory.i32, location.blockedWord) !== 0 &&
    Atomics.exchange(memory.i32, location.blockedWord, 0) === 1
  );
}
