import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Merge } from '../../src/router/merge.js';
import type { EntryStream } from '../../src/router/scan-stream.js';
import { asStringBuffer } from '../../src/router/string-buffer.js';

/** A sorted list that hands itself out in batches. */
class ListStream implements EntryStream {
  bytes = asStringBuffer(Buffer.alloc(0));
  readonly isOverlay = false;
  count = 0;
  index = 0;
  #starts: number[] = [];
  #batch: readonly Buffer[] = [];
  #rest: Buffer[];
  readonly #batchSize: number;

  constructor(keys: readonly Buffer[], batchSize: number) {
    this.#rest = [...keys];
    this.#batchSize = batchSize;
  }

  get done(): boolean {
    return this.#rest.length === 0;
  }

  fill(): void {
    this.#batch = this.#rest.splice(0, this.#batchSize);
    this.#starts = [];
    let at = 3;
    for (const key of this.#batch) {
      this.#starts.push(at);
      at += key.length;
    }
    this.bytes = asStringBuffer(Buffer.concat([Buffer.from('???'), ...this.#batch]));
    this.count = this.#batch.length;
    this.index = 0;
  }

  keyStart(index: number): number {
    return this.#starts[index] as number;
  }

  keyLength(index: number): number {
    return (this.#batch[index] as Buffer).length;
  }

  key(): Buffer {
    return this.#batch[this.index] as Buffer;
  }
}

function mergeAll(
  lists: readonly (readonly Buffer[])[],
  batchSize: number,
  reverse: boolean,
): Buffer[] {
  const streams = lists.map((keys) => new ListStream(keys, batchSize));
  for (const stream of streams) stream.fill();
  const merge = new Merge<ListStream>(reverse);
  merge.add(streams);
  const out: Buffer[] = [];
  for (let stream = merge.first; stream !== undefined; stream = merge.first) {
    out.push(stream.key());
    if (!merge.advance() && !stream.done) {
      stream.fill();
      merge.add([stream]);
    }
  }
  return out;
}

const keys = fc.oneof(
  fc.uint8Array({ maxLength: 4 }),
  fc.uint8Array({ maxLength: 12, min: 0, max: 2 }),
  fc
    .nat(10_000)
    .map((n) => Buffer.from(`a-long-common-prefix:${String(n).padStart(6, '0')}:suffix`)),
  fc.nat(300).map((n) => Buffer.alloc(n % 20, n)),
);

describe('merging', () => {
  it('puts the keys of all streams in order, bytewise, in either direction', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(keys, {
          maxLength: 150,
          selector: (key) => Buffer.from(key).toString('hex'),
        }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 20 }),
        fc.boolean(),
        (all, streams, batchSize, reverse) => {
          const lists: Buffer[][] = Array.from({ length: streams }, () => []);
          const sorted = all.map((key) => Buffer.from(key)).sort(Buffer.compare);
          if (reverse) sorted.reverse();
          sorted.forEach((key, i) => {
            (lists[(key.length * 7 + (key[0] ?? 0) + i * 3) % streams] as Buffer[]).push(key);
          });
          expect(mergeAll(lists, batchSize, reverse)).toEqual(sorted);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('tells a key from one that goes on with zeros', () => {
    const list = ['a', 'a\0', 'a\0\0\0\0\0\0', 'a\0\0\0\0\0\0\0'].map((key) => Buffer.from(key));
    const [one, two, three, four] = list as [Buffer, Buffer, Buffer, Buffer];
    expect(
      mergeAll(
        [
          [two, four],
          [one, three],
        ],
        1,
        false,
      ),
    ).toEqual(list);
    expect(
      mergeAll(
        [
          [four, two],
          [three, one],
        ],
        2,
        true,
      ),
    ).toEqual([...list].reverse());
  });

  it('of nothing is nothing', () => {
    expect(mergeAll([], 1, false)).toEqual([]);
    expect(mergeAll([[], []], 1, false)).toEqual([]);
  });
});
