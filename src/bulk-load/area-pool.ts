/** Areas of the load's memory that come and go: whoever finds none waits in line. */
export class AreaPool {
  readonly #free: number[];
  readonly #waiting: ((area: number) => void)[] = [];

  constructor(count: number) {
    this.#free = Array.from({ length: count }, (_, index) => count - 1 - index);
  }

  acquire(): Promise<number> {
    const area = this.#free.pop();
    if (area !== undefined) return Promise.resolve(area);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  release(area: number): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(area);
    else next(area);
  }
}
