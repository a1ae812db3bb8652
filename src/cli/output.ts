/**
 * Standard output that may be a pipe: waits when the reader is slow, and ends quietly when the
 * reader has gone (`| head`).
 */

export class Output {
  readonly #stream: NodeJS.WriteStream;
  readonly #gone: Promise<void>;
  #closed = false;
  #failure: unknown;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
    this.#gone = new Promise((resolve) => {
      stream.on('error', (error: NodeJS.ErrnoException) => {
        this.#closed = true;
        if (error.code !== 'EPIPE') this.#failure = error;
        resolve();
      });
    });
  }

  /** Whether the reader has gone: what is still to come can be left out. */
  get closed(): boolean {
    return this.#closed;
  }

  get stream(): NodeJS.WriteStream {
    return this.#stream;
  }

  /** Resolves when there is room for more. */
  async write(text: string | Uint8Array): Promise<void> {
    if (this.#closed || this.#stream.write(text)) return;
    const drained = new Promise<void>((resolve) => this.#stream.once('drain', resolve));
    await Promise.race([drained, this.#gone]);
  }

  async line(text: string): Promise<void> {
    await this.write(`${text}\n`);
  }

  /** One value as one line of JSON. */
  async json(value: unknown): Promise<void> {
    await this.line(toJson(value));
  }

  /** Resolves when everything is with the operating system. Throws what the stream failed with. */
  async flush(): Promise<void> {
    if (!this.#closed && this.#stream.writableLength > 0) {
      const written = new Promise<void>((resolve) => this.#stream.write('', () => resolve()));
      await Promise.race([written, this.#gone]);
    }
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/** JSON of a value that may hold bigints, which JSON does not know. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'bigint' ? Number(part) : part,
  );
}
