/**
 * The private memory of a pool thread, handed out from the bottom up and taken back whole when the
 * next job starts. Its size is fixed; pages that no job touches cost nothing.
 */

import { LightningError } from '../errors.js';
import type { Kernel } from '../kernel/kernel.js';
import type { MemoryRegion } from '../sstable/table-writer.js';

/** Below this the kernel keeps its constants, and address 0 stays unused. */
const FIRST_ADDRESS = 65536;
/** Vector loads may look this far behind what they need. */
const TAIL_BYTES = 65536;
const ALIGNMENT = 64;
const BUILDER_BYTES_MAX = 384 * 1024 * 1024;
const BUILDER_BYTES_MIN = 8 * 1024 * 1024;

/** Bytes that let every job work: most of them stay untouched. */
export const JOB_MEMORY_BYTES = 1024 * 1024 * 1024;

export class JobMemory {
  readonly #end: number;
  #next = FIRST_ADDRESS;

  /** All of the kernel's memory, forgetting what an earlier job left there. */
  constructor(kernel: Kernel) {
    this.#end = kernel.bytes.length - TAIL_BYTES;
  }

  /** Address of `bytes` bytes, 64-byte aligned, with whatever contents. */
  allocate(bytes: number): number {
    const address = this.#next;
    const next = address + Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    if (next > this.#end) {
      throw new LightningError(
        'LIGHTNING_LIMIT_EXCEEDED',
        `A job needs more than the ${this.#end} bytes of memory it has`,
        { details: { bytes: next, bytesMax: this.#end } },
      );
    }
    this.#next = next;
    return address;
  }

  /** A region for a table builder: a third of what is left, within bounds. */
  builderRegion(): MemoryRegion {
    const share = Math.floor((this.#end - this.#next) / 3);
    const bytes = Math.min(Math.max(share, BUILDER_BYTES_MIN), BUILDER_BYTES_MAX);
    return { address: this.allocate(bytes), bytes: Math.floor(bytes / ALIGNMENT) * ALIGNMENT };
  }
}

/** A buffer that grows by being replaced: what it held is lost. */
export class JobBuffer {
  readonly #memory: JobMemory;
  #address = 0;
  #bytes = 0;

  constructor(memory: JobMemory, bytes: number) {
    this.#memory = memory;
    this.reserve(bytes);
  }

  get address(): number {
    return this.#address;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Makes it at least `bytes` long. Doubles, so that all replaced buffers together stay small. */
  reserve(bytes: number): void {
    if (bytes <= this.#bytes) return;
    const larger = Math.max(bytes, this.#bytes * 2);
    this.#address = this.#memory.allocate(larger);
    this.#bytes = larger;
  }
}
