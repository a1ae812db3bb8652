/**
 * Merges sorted streams of entries, bytewise by key. Keys are hashed over the shards, so every key
 * comes from one of their streams only and neighbours come from different ones: what counts is the
 * cost of a comparison. One stream may be an overlay: of equal keys its entry comes first.
 *
 * All keys that are in hand share a prefix, found once per refill; of each stream's next key the 6
 * bytes after the prefix are kept as a number, its head. Nearly all comparisons end there. Streams
 * stand in a binary heap by their next key.
 */

import type { EntryStream } from './scan-stream.js';

const HEAD_BYTES = 6;

const NO_HEADS = new Float64Array(0);

export class Merge<S extends EntryStream> {
  readonly #sign: 1 | -1;
  /** Streams with an entry in hand, as a heap. */
  readonly #heap: S[] = [];
  /** Head of the next key of the stream at the same place in the heap. */
  #heads = NO_HEADS;
  /** Bytes that all keys in hand have in common. */
  #prefix = 0;

  constructor(reverse: boolean) {
    this.#sign = reverse ? -1 : 1;
  }

  /** Streams with an entry in hand. */
  get size(): number {
    return this.#heap.length;
  }

  /** The stream whose next entry comes first. */
  get first(): S | undefined {
    return this.#heap[0];
  }

  /** Takes streams that have been (re)filled; those without an entry are left out. */
  add(streams: readonly S[]): void {
    for (const stream of streams) if (stream.index < stream.count) this.#heap.push(stream);
    if (this.#heads.length < this.#heap.length) this.#heads = new Float64Array(this.#heap.length);
    this.#findPrefix();
    for (let i = 0; i < this.#heap.length; i++) this.#heads[i] = this.#headOf(this.#heap[i] as S);
    for (let i = (this.#heap.length >>> 1) - 1; i >= 0; i--) this.#siftDown(i);
  }

  /**
   * Steps over the first entry. False: its stream has no other in hand and has left the merge; if
   * it is not done it has to be refilled and added again before anything is taken.
   */
  advance(): boolean {
    const heap = this.#heap;
    const stream = heap[0] as S;
    stream.index++;
    if (stream.index < stream.count) {
      if (heap.length > 1) {
        this.#heads[0] = this.#headOf(stream);
        this.#siftDown(0);
      }
      return true;
    }
    const last = heap.pop() as S;
    if (heap.length > 0) {
      heap[0] = last;
      this.#heads[0] = this.#heads[heap.length] as number;
      this.#siftDown(0);
    }
    return false;
  }

  #siftDown(start: number): void {
    const heap = this.#heap;
    const heads = this.#heads;
    const size = heap.length;
    const stream = heap[start] as S;
    const head = heads[start] as number;
    let place = start;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#precedes(child + 1, child)) child++;
      if (!this.#comesBefore(heap[child] as S, heads[child] as number, stream, head)) break;
      heap[place] = heap[child] as S;
      heads[place] = heads[child] as number;
      place = child;
    }
    heap[place] = stream;
    heads[place] = head;
  }

  #precedes(a: number, b: number): boolean {
    return this.#comesBefore(
      this.#heap[a] as S,
      this.#heads[a] as number,
      this.#heap[b] as S,
      this.#heads[b] as number,
    );
  }

  #comesBefore(a: S, headA: number, b: S, headB: number): boolean {
    const order = headA !== headB ? headA - headB : compareKeys(a, b, this.#prefix);
    return order === 0 ? a.isOverlay : order * this.#sign < 0;
  }

  /** Streams are sorted, so what a stream's next and last key share, all between them share. */
  #findPrefix(): void {
    const [reference] = this.#heap;
    let entries = 0;
    for (const stream of this.#heap) entries += stream.count - stream.index;
    // For a few entries, finding the prefix costs more than it saves.
    if (reference === undefined || this.#heap.length === 1 || entries < 4 * this.#heap.length) {
      this.#prefix = 0;
      return;
    }
    let prefix = reference.keyLength(reference.index);
    for (const stream of this.#heap) {
      prefix = commonPrefix(reference, reference.index, stream, stream.index, prefix);
      prefix = commonPrefix(reference, reference.index, stream, stream.count - 1, prefix);
    }
    this.#prefix = prefix;
  }

  /** The bytes of a key after the common prefix as a number; zeros stand for bytes past its end. */
  #headOf(stream: S): number {
    const { bytes, index } = stream;
    const length = stream.keyLength(index) - this.#prefix;
    const at = stream.keyStart(index) + this.#prefix;
    if (length >= HEAD_BYTES) {
      const high =
        (((bytes[at] as number) << 16) |
          ((bytes[at + 1] as number) << 8) |
          (bytes[at + 2] as number)) >>>
        0;
      const low =
        (((bytes[at + 3] as number) << 16) |
          ((bytes[at + 4] as number) << 8) |
          (bytes[at + 5] as number)) >>>
        0;
      return high * 0x1000000 + low;
    }
    let head = 0;
    for (let i = 0; i < HEAD_BYTES; i++) {
      head = head * 256 + (i < length ? (bytes[at + i] as number) : 0);
    }
    return head;
  }
}

/** Bytewise, from byte `from` on, where the keys are known to agree before it. */
function compareKeys(a: EntryStream, b: EntryStream, from: number): number {
  const lengthA = a.keyLength(a.index);
  const lengthB = b.keyLength(b.index);
  const startA = a.keyStart(a.index);
  const startB = b.keyStart(b.index);
  const end = Math.min(lengthA, lengthB);
  for (let i = from; i < end; i++) {
    const difference = (a.bytes[startA + i] as number) - (b.bytes[startB + i] as number);
    if (difference !== 0) return difference;
  }
  return lengthA - lengthB;
}

/** Length of what two keys have in common, `max` at most. */
function commonPrefix(
  a: EntryStream,
  indexA: number,
  b: EntryStream,
  indexB: number,
  max: number,
): number {
  const end = Math.min(max, b.keyLength(indexB));
  const startA = a.keyStart(indexA);
  const startB = b.keyStart(indexB);
  let i = 0;
  while (i < end && a.bytes[startA + i] === b.bytes[startB + i]) i++;
  return i;
}
