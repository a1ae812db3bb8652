/**
 * The shared memory of one bulk load, divided into areas:
 *
 *   slots   chunks of entries: filled by the main thread or a parse job, then sorted in place
 *   heap    sorted runs, packed, waiting to become tables
 *   texts   pieces of input being parsed
 *   works   room of one running job: sorting, building tables, a record too long for a slot
 *
 * An area has one owner at a time (see load-layout.ts). Pages that nobody touches cost nothing.
 */

import { CHUNK_ENTRY_OVERHEAD_BYTES } from '../kernel/assembly/load-layout.js';
import { createJobMemory } from '../kernel/shard-memory.js';

const MIB = 1024 * 1024;
const BASE = 65536;
/** i32, atomic: 1 asks running jobs to give up. */
const ABORT_WORD = 4096 / 4;
/** u32 per work area, a cache line each: entries that a running build has put into tables. */
const PROGRESS_BASE = 8192;
const PROGRESS_LINE_BYTES = 64;

/** Entries are gathered in chunks of this size: large enough for few runs, small enough to overlap. */
const SLOT_BYTES_MAX = 8 * MIB;
const SLOT_BYTES_MIN = 4 * MIB;
const SLOTS_PER_MEMORY = 16;
/** Runs in the heap start at multiples of this. */
export const RUN_ALIGNMENT = 16;
/** A piece of input. */
export const RANGE_BYTES = 4 * MIB;
export const RANGE_BYTES_MIN = 1 * MIB;
/** Longest record of a text: what a text area has beyond a piece. */
export const RECORD_BYTES_MAX = 32 * MIB;
/** Loads of a vector may reach behind a text. */
const SLACK_BYTES = 4096;
/** Room of a job beside what a sort needs: tables being built, a large record. */
const WORK_BYTES_MIN = 64 * MIB;

export const LOAD_MEMORY_BYTES_MIN = 16 * MIB;
export const LOAD_MEMORY_BYTES_MAX = 1536 * MIB;
export const LOAD_JOBS_MAX = 12;

export interface LoadLayout {
  readonly slotBase: number;
  readonly slotBytes: number;
  readonly slots: number;
  readonly heapBase: number;
  readonly heapBytes: number;
  readonly textBase: number;
  readonly textBytes: number;
  readonly texts: number;
  readonly workBase: number;
  readonly workBytes: number;
  /** The last one is the main thread's own. */
  readonly works: number;
}

/** Divides a memory for `jobs` jobs at a time and `memoryBytes` of sorted entries. */
export function planLoadLayout(options: {
  readonly memoryBytes: number;
  readonly jobs: number;
}): LoadLayout {
  const { memoryBytes, jobs } = options;
  const slotBytes = clamp(
    Math.floor(memoryBytes / SLOTS_PER_MEMORY / MIB) * MIB,
    SLOT_BYTES_MIN,
    SLOT_BYTES_MAX,
  );
  // One job more than threads, so that none waits for the main thread to hand out the next; and the
  // main thread's own.
  const works = jobs + 2;
  const texts = jobs + 2;
  // Being filled, parsed or sorted; in line; being packed.
  const slots = 2 * jobs + 4;
  const sortBytes = Math.ceil((slotBytes / CHUNK_ENTRY_OVERHEAD_BYTES) * 17) + MIB;
  const textBytes = RANGE_BYTES + RECORD_BYTES_MAX + SLACK_BYTES;
  const workBytes = Math.max(WORK_BYTES_MIN, sortBytes);
  const slotBase = BASE;
  const heapBase = slotBase + slots * slotBytes;
  const textBase = heapBase + memoryBytes;
  const workBase = textBase + texts * textBytes;
  return {
    slotBase,
    slotBytes,
    slots,
    heapBase,
    heapBytes: memoryBytes,
    textBase,
    textBytes,
    texts,
    workBase,
    workBytes,
    works,
  };
}

function clamp(value: number, min: number, max: number): number {
  return Math.max(min, Math.min(max, value));
}

export function createLoadMemory(layout: LoadLayout): WebAssembly.Memory {
  return createJobMemory(layout.workBase + layout.works * layout.workBytes + BASE);
}

export function slotAddress(layout: LoadLayout, slot: number): number {
  return layout.slotBase + slot * layout.slotBytes;
}

export function textAddress(layout: LoadLayout, text: number): number {
  return layout.textBase + text * layout.textBytes;
}

export function workAddress(layout: LoadLayout, work: number): number {
  return layout.workBase + work * layout.workBytes;
}

export function requestAbort(memory: WebAssembly.Memory): void {
  Atomics.store(new Int32Array(memory.buffer), ABORT_WORD, 1);
}

export function isAbortRequested(words: Int32Array): boolean {
  return Atomics.load(words, ABORT_WORD) === 1;
}

/** Index in a Uint32Array of the word where the job in a work area counts what it has done. */
export function progressWord(work: number): number {
  return (PROGRESS_BASE + work * PROGRESS_LINE_BYTES) / 4;
}
