/**
 * The memory of the kernel's lock table (locks.ts): which keys prepared commits hold. Taken when it is
 * needed first, larger when many keys are held, small again when none is.
 *
 * Whoever enters keys makes room for them first, and is told when there is none: what is counted are
 * the keys themselves, for a bound by bytes would be many times too large for a large commit.
 */

import type { Kernel } from '../kernel/kernel.js';
import { OperationReader } from '../protocol/operations.js';
import type { MetaAllocator } from './meta-allocator.js';
import type { PreparedCommit } from './prepared-commit.js';

const LOCK_BYTES = 16;
const LOCK_SLOTS_MIN = 1 << 13;
/** A larger table is given up when it is empty. */
const LOCK_SLOTS_KEPT_MAX = 1 << 16;
const SET_SLOTS = 1 << 15;
const BITMAP_BYTES = 32;

/** Where the keys of a commit stand. */
export interface LockedKeys {
  readonly keysAt: number;
  readonly keyBytes: number;
  /** Operations that tell the keys which are written. */
  readonly lockAt: number;
  readonly lockBytes: number;
}

export class LockTable {
  readonly #kernel: Kernel;
  readonly #allocator: MetaAllocator;
  readonly #holders: () => readonly PreparedCommit[];
  #memory = 0;
  #slots = 0;

  constructor(kernel: Kernel, allocator: MetaAllocator, holders: () => readonly PreparedCommit[]) {
    this.#kernel = kernel;
    this.#allocator = allocator;
    this.#holders = holders;
  }

  /** Whether anything was ever entered, or compared. */
  get exists(): boolean {
    return this.#memory !== 0;
  }

  /** False: there is no memory for it. */
  make(): boolean {
    return this.#memory !== 0 || this.#resize(LOCK_SLOTS_MIN);
  }

  /** Room for the keys of one more commit. False: there is no memory for it. */
  makeRoom(keys: LockedKeys): boolean {
    if (!this.make()) return false;
    const held = this.#kernel.exports.locksHeld() >>> 0;
    // An operation, and an entry of a list, has two bytes at least.
    if ((held + ((keys.lockBytes + keys.keyBytes) >>> 1)) * 2 <= this.#slots) return true;
    const needed = (held + this.#count(keys)) * 2;
    let slots = this.#slots;
    while (needed > slots) slots *= 2;
    return slots === this.#slots || this.#resize(slots);
  }

  /** Enters the keys of a commit. False: there is no memory for it. */
  enter(commit: PreparedCommit): boolean {
    if (!this.makeRoom(commit)) return false;
    this.#setLocks(commit, 1);
    commit.isEntered = true;
    return true;
  }

  leave(commit: PreparedCommit): void {
    if (!commit.isEntered) return;
    this.#setLocks(commit, 0);
    commit.isEntered = false;
    if (this.#slots <= LOCK_SLOTS_KEPT_MAX || this.#kernel.exports.locksHeld() > 0) return;
    this.#resize(LOCK_SLOTS_MIN);
  }

  /** Of commits that are hit, for the kernel. */
  get bitmap(): number {
    return this.#memory + this.#slots * LOCK_BYTES + SET_SLOTS * 8;
  }

  isHit(slot: number): boolean {
    const word = this.#kernel.u32[(this.bitmap >>> 2) + (slot >>> 5)] as number;
    return (word & (1 << (slot & 31))) !== 0;
  }

  #setLocks({ slot, keysAt, keyBytes, lockAt, lockBytes }: PreparedCommit, isAdded: 0 | 1): void {
    const { exports } = this.#kernel;
    exports.locksKeys(keysAt, keyBytes, slot + 1, isAdded);
    exports.locksOps(lockAt, lockBytes, slot + 1, isAdded);
  }

  #count({ keysAt, keyBytes, lockAt, lockBytes }: LockedKeys): number {
    const { bytes } = this.#kernel;
    let count = 0;
    const reader = new OperationReader(bytes, lockAt, lockAt + lockBytes);
    while (reader.next()) count++;
    for (let at = keysAt; at < keysAt + keyBytes; at += 4 + bytes.readUInt32LE(at)) count++;
    return count;
  }

  /** What is known of the group that is gathered is found out anew. */
  #resize(slots: number): boolean {
    const entered = this.#holders().filter(({ isEntered }) => isEntered);
    const bytes = slots * LOCK_BYTES + SET_SLOTS * 8 + BITMAP_BYTES;
    const memory = this.#allocator.tryAllocate(bytes);
    if (memory < 0) return false;
    if (this.#memory !== 0) this.#allocator.free(this.#memory);
    this.#memory = memory;
    this.#slots = slots;
    this.#kernel.exports.locksInit(memory, slots, SET_SLOTS);
    for (const commit of entered) this.#setLocks(commit, 1);
    return true;
  }
}
