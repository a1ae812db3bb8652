/** A memtable in the kernel beside a plain model of it; every answer can be compared. */

import { expect } from 'vitest';
import {
  ARENA_KEYS,
  ARENA_VERSIONS,
  LEAF_HEAD,
  LEAF_KEY,
  LEAF_KEY_LENGTH,
  VERSION_LENGTH_MASK,
  VERSION_OLDER,
  VERSION_SEQUENCE,
  VERSION_TYPE_SHIFT,
  VERSION_VALUE,
  VERSION_VALUE_LENGTH,
} from '../../src/kernel/assembly/layout.js';
import { bareKernel, type TestedKernel } from './instantiate.js';

export interface Version {
  readonly sequence: number;
  readonly type: number;
  readonly value: string;
}

const KEY = 0x10000;
const VALUE = 0x30000;
const CURSOR = 0x60000;
const ARENA = 0x70000;

export class MemtableModel {
  readonly kernel: TestedKernel;
  /** Keys as latin1 strings, which order like their bytes; versions newest first. */
  readonly model = new Map<string, Version[]>();
  readonly arena = ARENA;
  #arenaBytes: number;

  constructor(arenaBytes = 4 * 1024 * 1024) {
    this.#arenaBytes = arenaBytes;
    this.kernel = bareKernel(ARENA + arenaBytes);
    this.reset();
  }

  reset(arenaBytes = this.#arenaBytes): void {
    // What an arena held before must not matter.
    this.kernel.bytes.fill(0xa5, ARENA, ARENA + arenaBytes);
    this.kernel.exports.memtableInit(ARENA, arenaBytes);
    this.model.clear();
  }

  /** 0, or 1 when the arena is full. */
  put(key: string, value: string, sequence: number, type = 1): number {
    const { bytes, exports } = this.kernel;
    const keyLength = bytes.write(key, KEY, 'latin1');
    const valueLength = bytes.write(value, VALUE, 'latin1');
    const args = [type, VALUE, valueLength, BigInt(sequence)] as const;
    const full = exports.memtablePut(ARENA, KEY, keyLength, ...args);
    if (full !== 0) return full;
    const versions = (this.model.get(key) ?? []).filter((v) => v.sequence !== sequence);
    versions.push({ sequence, type, value });
    versions.sort((a, b) => b.sequence - a.sequence);
    this.model.set(key, versions);
    return 0;
  }

  find(key: string, snapshot: number): Version | undefined {
    const keyLength = this.kernel.bytes.write(key, KEY, 'latin1');
    const address = this.kernel.exports.memtableFind(ARENA, KEY, keyLength, BigInt(snapshot));
    return address === 0 ? undefined : this.#version(address);
  }

  expectFind(key: string, snapshot: number): void {
    const expected = this.model.get(key)?.find((version) => version.sequence <= snapshot);
    expect(this.find(key, snapshot)).toEqual(expected);
  }

  sortedKeys(): string[] {
    return [...this.model.keys()].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  }

  /** Compares both directions, all chains and the counts. */
  expectSame(): void {
    const { exports, view } = this.kernel;
    const keys = this.sortedKeys();
    const forward: string[] = [];
    for (let leaf = exports.memtableFirst(CURSOR, ARENA); leaf !== 0; ) {
      const key = this.#key(leaf);
      forward.push(key);
      if (forward.length > keys.length) break;
      expect(this.#chain(leaf)).toEqual(this.model.get(key));
      leaf = exports.memtableNext(CURSOR);
    }
    expect(forward).toEqual(keys);
    const backward: string[] = [];
    for (let leaf = exports.memtableLast(CURSOR, ARENA); leaf !== 0; ) {
      backward.push(this.#key(leaf));
      if (backward.length > keys.length) break;
      leaf = exports.memtablePrev(CURSOR);
    }
    expect(backward.reverse()).toEqual(keys);
    expect(view.getUint32(ARENA + ARENA_KEYS, true)).toBe(keys.length);
    const versions = [...this.model.values()].reduce((sum, chain) => sum + chain.length, 0);
    expect(view.getUint32(ARENA + ARENA_VERSIONS, true)).toBe(versions);
  }

  /** Seeks both ways, then steps `moves` (true: next) from there. */
  expectSeek(target: string, moves: readonly boolean[] = []): void {
    const keys = this.sortedKeys();
    const { exports, bytes } = this.kernel;
    const length = bytes.write(target, KEY, 'latin1');
    const above = keys.findIndex((key) => key >= target);
    const start = above < 0 ? keys.length : above;
    this.#expectWalk(exports.memtableSeek(CURSOR, ARENA, KEY, length), start, keys, moves);
    const below = keys[start] === target ? start : start - 1;
    bytes.write(target, KEY, 'latin1');
    this.#expectWalk(exports.memtableSeekLast(CURSOR, ARENA, KEY, length), below, keys, moves);
  }

  #expectWalk(
    first: number,
    index: number,
    keys: readonly string[],
    moves: readonly boolean[],
  ): void {
    let leaf = first;
    let at = index;
    expect(leaf === 0 ? undefined : this.#key(leaf)).toBe(keys[at]);
    for (const forward of moves) {
      if (leaf === 0) break;
      leaf = forward
        ? this.kernel.exports.memtableNext(CURSOR)
        : this.kernel.exports.memtablePrev(CURSOR);
      at += forward ? 1 : -1;
      expect(leaf === 0 ? undefined : this.#key(leaf)).toBe(keys[at]);
    }
  }

  #key(leaf: number): string {
    const length = this.kernel.view.getUint32(leaf + LEAF_KEY_LENGTH, true);
    return this.kernel.bytes.toString('latin1', leaf + LEAF_KEY, leaf + LEAF_KEY + length);
  }

  #chain(leaf: number): Version[] {
    const chain: Version[] = [];
    let address = this.kernel.view.getUint32(leaf + LEAF_HEAD, true);
    while (address !== 0) {
      chain.push(this.#version(address));
      address = this.kernel.view.getUint32(address + VERSION_OLDER, true);
    }
    return chain;
  }

  #version(address: number): Version {
    const { view, bytes } = this.kernel;
    const word = view.getUint32(address + VERSION_VALUE_LENGTH, true);
    const value = address + VERSION_VALUE;
    return {
      sequence: Number(view.getBigUint64(address + VERSION_SEQUENCE, true)),
      type: word >>> VERSION_TYPE_SHIFT,
      value: bytes.toString('latin1', value, value + (word & VERSION_LENGTH_MASK)),
    };
  }
}
