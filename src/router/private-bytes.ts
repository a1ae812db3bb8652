/**
 * Buffers for the application: private bytes, which never change under it. Small ones are parts of a
 * slab, as those of `Buffer.allocUnsafe` are, so one that is kept keeps its slab's SLAB_BYTES. They are made
 * by the constructor that Buffers' own methods use (`Buffer[Symbol.species]`), at a quarter of the
 * cost, and without a view of the source for each: measured on Node 20 for 200 bytes, `allocUnsafe`
 * and `set(subarray)` 75 ns, a view of a slab that is copied whole 18 ns, one that is copied by a view
 * at hand 45 ns.
 *
 * A slab has many owners, so none of them may give it away: it is marked as Node marks its own pool, and
 * goes as a copy when it is in the transfer list of a message. Memory that was taken from us all the
 * same (`ArrayBuffer.prototype.transfer`) is not used any more.
 */

import { markAsUntransferable } from 'node:worker_threads';

const SLAB_BYTES = 16 * 1024;
/** What is longer has memory of its own. */
const SHARED_BYTES_MAX = 2048;
const ALIGNMENT = 8;

const NOTHING = Buffer.alloc(0);

type BufferConstructor = new (memory: ArrayBufferLike, start: number, length: number) => Buffer;
const PartOf: BufferConstructor = (Buffer as unknown as { [Symbol.species]: BufferConstructor })[
  Symbol.species
];

let slab = newSlab(SLAB_BYTES);
let slabMemory = slab.buffer;
let slabUsed = 0;

function newSlab(bytes: number): Buffer {
  const made = Buffer.allocUnsafeSlow(bytes);
  markAsUntransferable(made.buffer);
  return made;
}

function startSlab(): void {
  slab = newSlab(SLAB_BYTES);
  slabMemory = slab.buffer;
  slabUsed = 0;
}

/** A private copy of what a view shows. */
export function privateCopy(view: Uint8Array): Buffer {
  const { length } = view;
  if (length > SHARED_BYTES_MAX) {
    const own = Buffer.allocUnsafeSlow(length);
    own.set(view);
    return own;
  }
  // Its length is 0 when its memory was taken away.
  if (slabUsed + length > slab.length) startSlab();
  const start = slabUsed;
  slab.set(view, start);
  slabUsed = (start + length + ALIGNMENT - 1) & -ALIGNMENT;
  return new PartOf(slabMemory, start, length);
}

/** Private copies of parts of a source that are wanted in ascending order: neighbours are copied at once. */
export class PrivateParts {
  #source: Buffer;
  #end = 0;
  #copy: Buffer | undefined;
  /** What of the source is in the copy. */
  #copiedFrom = 0;
  #copiedTo = 0;

  constructor(source: Buffer) {
    this.#source = source;
  }

  /** From now on parts are of `source[0, end)`. */
  of(source: Buffer, end: number): void {
    this.#source = source;
    this.#end = end;
    this.#copy = undefined;
    this.#copiedFrom = 0;
    this.#copiedTo = 0;
  }

  /** The bytes of `source[start, end)`. */
  take(start: number, end: number): Buffer {
    const { length } = this.#copy ?? NOTHING;
    if (length === 0 || start < this.#copiedFrom || end > this.#copiedTo) {
      if (end - start > SHARED_BYTES_MAX) {
        const own = Buffer.allocUnsafeSlow(end - start);
        own.set(this.#source.subarray(start, end));
        return own;
      }
      this.#copyFrom(start);
    }
    const { buffer } = this.#copy as Buffer;
    return new PartOf(buffer, start - this.#copiedFrom, end - start);
  }

  #copyFrom(start: number): void {
    const end = Math.min(this.#end, start + SLAB_BYTES);
    this.#copy = newSlab(end - start);
    this.#copy.set(this.#source.subarray(start, end));
    this.#copiedFrom = start;
    this.#copiedTo = end;
  }
}

/**
 * Private copies of parts of a source of which all is wanted, in ascending order: as many as there is room for
 * in the common slab are copied at once.
 */
export class PrivateSequence {
  #source: Buffer = NOTHING;
  /** Where the parts begin in the source, and where they end. */
  #base = 0;
  #end = 0;
  #memory: ArrayBufferLike = NOTHING.buffer;
  /** What is in `#memory`, from `#place` on, ends here. */
  #copiedTo = -1;
  #place = 0;

  /** From now on parts are of `source[base, base + length)`. */
  of(source: Buffer, base: number, length: number): void {
    this.#source = source;
    this.#base = base;
    this.#end = length;
    // Less than the end of any part, also of an empty one.
    this.#copiedTo = -1;
  }

  /** The `length` bytes from `start` on; `start` is a multiple of ALIGNMENT. */
  take(start: number, length: number): Buffer {
    if (start + length > this.#copiedTo) {
      if (length > SHARED_BYTES_MAX) {
        const own = Buffer.allocUnsafeSlow(length);
        own.set(this.#source.subarray(this.#base + start, this.#base + start + length));
        return own;
      }
      this.#copyFrom(start, length);
    }
    return new PartOf(this.#memory, this.#place + start, length);
  }

  #copyFrom(start: number, length: number): void {
    if (slabUsed + length > slab.length) startSlab();
    const end = Math.min(this.#end, start + slab.length - slabUsed);
    slab.set(this.#source.subarray(this.#base + start, this.#base + end), slabUsed);
    this.#memory = slabMemory;
    this.#place = slabUsed - start;
    this.#copiedTo = end;
    slabUsed = (slabUsed + end - start + ALIGNMENT - 1) & -ALIGNMENT;
  }
}
