/** A small shard for tests of group commit: clients, staged operations, what the memtable holds. */

import { expect } from 'vitest';
import {
  H_ARENA_BASE,
  H_ARENA_BYTES,
  H_STAGING_BASE,
  H_WAL_BASE,
  OP_DELETE,
  OP_PUT,
  REQUEST_WRITE,
  RESPONSE_OK,
  VERSION_LENGTH_MASK,
  VERSION_VALUE,
  VERSION_VALUE_LENGTH,
} from '../../src/kernel/assembly/layout.js';
import { writeVarint } from '../../src/protocol/operations.js';
import { requestRing, responseRing } from '../../src/ring/ring-location.js';
import { RingReader } from '../../src/ring/ring-reader.js';
import { FULL, RingWriter } from '../../src/ring/ring-writer.js';
import { shardKernel, type TestedKernel } from './instantiate.js';

export interface Operation {
  readonly type: number;
  readonly key: string;
  readonly value?: string;
}

export const put = (key: string, value: string): Operation => ({ type: OP_PUT, key, value });
export const del = (key: string): Operation => ({ type: OP_DELETE, key });

export function encode(operations: readonly Operation[]): Buffer {
  const chunks = operations.map(({ type, key, value = '' }) => {
    const head = Buffer.alloc(11);
    let at = writeVarint(head, 1, key.length);
    head[0] = type;
    if (type === OP_DELETE)
      return Buffer.concat([head.subarray(0, at), Buffer.from(key, 'latin1')]);
    at = writeVarint(head, at, value.length);
    return Buffer.concat([head.subarray(0, at), Buffer.from(key + value, 'latin1')]);
  });
  return Buffer.concat(chunks);
}

export const NOBODY = 0xffffffff;
export const SEGMENT = 7;
export const OFFSET = 4096;

export let kernel: TestedKernel;
export let exports: TestedKernel['exports'];
export let wal: number;
export let staging: number;

/** Makes a new shard: what is exported below belongs to the last one. */
export function start(options: Parameters<typeof shardKernel>[0] = {}): void {
  kernel = shardKernel(options);
  exports = kernel.exports;
  wal = kernel.u32[H_WAL_BASE >>> 2] as number;
  staging = kernel.u32[H_STAGING_BASE >>> 2] as number;
  exports.memtableInit(arena(0), kernel.u32[H_ARENA_BYTES >>> 2] as number);
  exports.setActiveMemtable(arena(0));
  exports.groupBegin();
}

export const arena = (i: number): number =>
  (kernel.u32[H_ARENA_BASE >>> 2] as number) + i * (kernel.u32[H_ARENA_BYTES >>> 2] as number);

/** A client that writes requests and reads answers. */
export class Client {
  readonly requests: RingWriter;
  readonly responses: RingReader;
  readonly slot: number;

  constructor(slot: number) {
    this.slot = slot;
    this.requests = new RingWriter(kernel, requestRing(kernel, slot));
    this.responses = new RingReader(kernel, responseRing(kernel, slot));
  }

  /** False: the ring is full. */
  send(kind: number, flags: number, requestId: number, argument: number, bytes: Buffer): boolean {
    const address = this.requests.reserve(bytes.length);
    if (address === FULL) return false;
    kernel.bytes.set(bytes, address);
    this.requests.commit(kind, flags, requestId, argument, bytes.length);
    this.requests.publish();
    return true;
  }

  write(requestId: number, operations: readonly Operation[], flags = 0): boolean {
    return this.send(REQUEST_WRITE, flags, requestId, operations.length, encode(operations));
  }

  /** [request id, sequence] of every answer. */
  answers(): [number, number][] {
    const all: [number, number][] = [];
    while (this.responses.next()) {
      expect(this.responses.kind).toBe(RESPONSE_OK);
      expect(this.responses.payloadBytes).toBe(8);
      const sequence = kernel.view.getFloat64(this.responses.payload, true);
      all.push([this.responses.requestId, sequence]);
    }
    this.responses.release();
    return all;
  }
}

export const seal = (first: number, flags = 0): number =>
  exports.groupSeal(first, 1234.5, 9, 512, SEGMENT, OFFSET, flags);

/** Seals at `first`, applies, publishes and acknowledges. */
export function commitGroup(first: number): number {
  seal(first);
  expect(exports.groupApply()).toBe(0);
  exports.groupPublish(first + exports.groupCommits() - 1);
  return exports.groupAck();
}

export function find(key: string, snapshot: number, memtable = arena(0)): string | undefined {
  const length = kernel.bytes.write(key, staging, 'latin1');
  const address = exports.memtableFind(memtable, staging, length, BigInt(snapshot));
  if (address === 0) return undefined;
  const word = kernel.view.getUint32(address + VERSION_VALUE_LENGTH, true);
  if (word >>> 30 === OP_DELETE) return 'deleted';
  const value = address + VERSION_VALUE;
  return kernel.bytes.toString('latin1', value, value + (word & VERSION_LENGTH_MASK));
}

export function stage(operations: readonly Operation[]): number {
  const bytes = encode(operations);
  kernel.bytes.set(bytes, staging);
  return bytes.length;
}
