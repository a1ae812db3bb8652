/** The counter that numbers a shard's files. A number is never used for two files. */
export class FileNumbers {
  #next = 1;

  /** The lowest number that is not taken. */
  get next(): number {
    return this.#next;
  }

  /** Takes `count` numbers in a row; returns the first. */
  allocate(count: number): number {
    const first = this.#next;
    this.#next += count;
    return first;
  }

  /** No number below `next` is given out from now on. */
  raise(next: number): void {
    if (next > this.#next) this.#next = next;
  }

  /** Gives back the numbers from `first` on of a range that ends at `end`, when it was the last. */
  giveBack(first: number, end: number): void {
    if (end === this.#next && first < end) this.#next = first;
  }
}
