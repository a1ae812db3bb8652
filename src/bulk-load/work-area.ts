/** The room of one running job, handed out from the bottom up. */

import { LightningError } from '../errors.js';
import type { MemoryRegion } from '../sstable/table-writer.js';
import { type LoadLayout, workAddress } from './load-memory.js';

const ALIGNMENT = 64;

export class WorkArea {
  readonly #end: number;
  #next: number;

  constructor(layout: LoadLayout, work: number) {
    this.#next = workAddress(layout, work);
    this.#end = this.#next + layout.workBytes;
  }

  /** Address of `bytes` bytes, 64-byte aligned, with whatever contents. */
  allocate(bytes: number): number {
    const address = this.#next;
    this.#next += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    if (this.#next <= this.#end) return address;
    throw new LightningError(
      'LIGHTNING_LIMIT_EXCEEDED',
      `A job of a bulk load needs ${this.#next - this.#end} bytes more than it has`,
    );
  }

  /** All that is left. */
  rest(): MemoryRegion {
    const address = this.#next;
    this.#next = this.#end;
    return { address, bytes: Math.floor((this.#end - address) / ALIGNMENT) * ALIGNMENT };
  }
}
