/**
 * A file of a numbered series, such as a log, that a client writes to now and then while it belongs to
 * another thread: opened when it is wanted, and closed when nothing was written for a while, since its owner
 * may have gone on with the next one and deleted it.
 */
import { LightningError } from '../errors.js';
import type { FileHandle, FileSystem } from '../file-system/file-system.js';

const IDLE_MS = 1000;

export class IdleFile {
  readonly #fs: FileSystem;
  readonly #pathOf: (number: number) => string;
  #file: FileHandle | undefined;
  /** Of `#file`. */
  #number = 0;
  #usedAtMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(fs: FileSystem, pathOf: (number: number) => string) {
    this.#fs = fs;
    this.#pathOf = pathOf;
  }

  /** The file of that number; undefined: it cannot be opened now, and is left to its owner. */
  open(number: number): FileHandle | undefined {
    this.#usedAtMs = performance.now();
    if (this.#file !== undefined && this.#number === number) return this.#file;
    this.#closeFile();
    try {
      this.#file = this.#fs.open(this.#pathOf(number), 'r+');
    } catch (error) {
      if (error instanceof LightningError) return undefined;
      throw error;
    }
    this.#number = number;
    if (this.#timer === undefined) this.#closeWhenIdle(IDLE_MS);
    return this.#file;
  }

  /** It is opened again when it is wanted. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#closeFile();
  }

  #closeWhenIdle(delayMs: number): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const idleMs = performance.now() - this.#usedAtMs;
      if (idleMs >= IDLE_MS) this.#closeFile();
      else this.#closeWhenIdle(IDLE_MS - idleMs);
    }, delayMs);
    this.#timer.unref();
  }

  #closeFile(): void {
    const file = this.#file;
    this.#file = undefined;
    try {
      file?.close();
    } catch (error) {
      // What was written is with the system, or was refused; the owner syncs it.
      if (!(error instanceof LightningError)) throw error;
    }
  }
}

/** The system's code of a failed write. */
export function errnoOf({ details }: LightningError): string {
  const { errno } = details;
  return typeof errno === 'string' ? errno : 'UNKNOWN';
}
