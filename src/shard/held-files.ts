/**
 * Files of the shard that are being read elsewhere: deleting one waits until nobody holds it any
 * more. What is left when the process ends first is deleted at the next open, as orphans are.
 */
import { LightningError } from '../errors.js';
import type { FileSystem } from '../file-system/file-system.js';

export class HeldFiles {
  readonly #fs: FileSystem;
  /** Path → how many hold it. */
  readonly #holders = new Map<string, number>();
  readonly #doomed = new Set<string>();

  constructor(fs: FileSystem) {
    this.#fs = fs;
  }

  /** Keeps the file until the returned function is called. */
  hold(path: string): () => void {
    this.#holders.set(path, (this.#holders.get(path) ?? 0) + 1);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#release(path);
    };
  }

  /** Deletes a file, or has it deleted when it is let go of. Throws when it cannot be deleted now. */
  unlink(path: string): void {
    if (this.#holders.has(path)) this.#doomed.add(path);
    else this.#fs.unlink(path);
  }

  #release(path: string): void {
    const holders = (this.#holders.get(path) ?? 1) - 1;
    if (holders > 0) {
      this.#holders.set(path, holders);
      return;
    }
    this.#holders.delete(path);
    if (!this.#doomed.delete(path)) return;
    try {
      this.#fs.unlink(path);
    } catch (error) {
      // It stays as a file that nothing refers to.
      if (!(error instanceof LightningError)) throw error;
    }
  }
}
