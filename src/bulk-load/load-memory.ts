/**
 * The shared memory of one bulk load, divided into areas:
 *
 *   slots   chunks of entries: filled by the main thread or a parse job, sorted in place, kept until
 *           they are in tables
 *   texts   pieces of input being parsed
 *   works   room of one running job: sorting, building tables, a record too long for a slot
 *
 * An area has one owner at a time (see load-layout.ts). Pages that nobody touches cost nothing.
 */

import { InvalidArgumentError } from '../errors.js';
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
const SLOT_BYTES = 16 * MIB;
const SLOT_BYTES_MIN = 4 * MIB;
/** A piece of input. */
export const RANGE_BYTES = 8 * MIB;
/** Longest record of a text: what a text area has beyond a piece. */
export const RECORD_BYTES_MAX = 32 * MIB;
/** Loads of a vector may reach behind a text. */
const SLACK_BYTES = 4096;
/** Room of a job beside what a sort needs: tables being built, a large record. */
const WORK_BYTES_MIN = 64 * MIB;

export const LOAD_MEMORY_BYTES_MIN = 16 * MIB;
export const LOAD_MEMORY_BYTES_MAX = 2048 * MIB;
export const LOAD_JOBS_MAX = 12;

export interface LoadLayout {
  readonly slotBase: number;
  readonly slotBytes: number;
  readonly slots: number;
  readonly textBase: number;
  readonly textBytes: number;
  readonly texts: number;
  readonly workBase: number;
  readonly workBytes: number;
  /** The last one is the main thread's own. */
  readonly works: number;
}

/** Divides a memory for `jobs` jobs at a time and about `memoryBytes` of chunks. */
export function planLoadLayout(options: {
  readonly memoryBytes: number;
  readonly jobs: number;
}): LoadLayout {
  const { memoryBytes, jobs } = options;
  if (memoryBytes < LOAD_MEMORY_BYTES_MIN || memoryBytes > LOAD_MEMORY_BYTES_MAX) {
    throw new InvalidArgumentError(
      `Option "memoryBytes" must be from ${LOAD_MEMORY_BYTES_MIN} to ${LOAD_MEMORY_BYTES_MAX} bytes, but it is ${memoryBytes}`,
      { details: { option: 'memoryBytes' } },
    );
  }
  // One job more than threads, so that none waits for the main thread to hand out the next.
  const jobWorks = jobs + 1;
  const texts = jobs + 2;
  // Every job may hold a slot that is not part of the order yet; as many again make spills worth it.
  const slotsMin = 2 * (jobWorks + 1);
  const slotBytes = Math.max(
    SLOT_BYTES_MIN,
    Math.min(SLOT_BYTES, Math.floor(memoryBytes / slotsMin / MIB) * MIB),
  );
  const slots = Math.max(slotsMin, Math.floor(memoryBytes / slotBytes));
  const sortBytes = Math.ceil((slotBytes / CHUNK_ENTRY_OVERHEAD_BYTES) * 17) + MIB;
  const textBytes = RANGE_BYTES + RECORD_BYTES_MAX + SLACK_BYTES;
  const workBytes = Math.max(WORK_BYTES_MIN, sortBytes);
  const slotBase = BASE;
  const textBase = slotBase + slots * slotBytes;
  const workBase = textBase + texts * textBytes;
  const works = jobWorks + 1;
  return { slotBase, slotBytes, slots, textBase, textBytes, texts, workBase, workBytes, works };
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
