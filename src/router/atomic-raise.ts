/** Atomic maximum; returns the larger of the two. */
export function raise(words: BigInt64Array, index: number, value: bigint): bigint {
  for (;;) {
    const current = Atomics.load(words, index);
    if (current >= value) return current;
    if (Atomics.compareExchange(words, index, current, value) === current) return value;
  }
}
