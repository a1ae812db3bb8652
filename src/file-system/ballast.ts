/**
 * Ballast: a file of no use but the room that it takes. On a full disk it is thrown off, so that what
 * has to be written for room to become free again (a version edit, a durability mark) can be. It is
 * taken on again when there is room.
 */
import { LightningError } from '../errors.js';
import type { FileSystem } from './file-system.js';

export const BALLAST_NAME = 'BALLAST';
export const BALLAST_BYTES = 256 * 1024;

export class Ballast {
  readonly #fs: FileSystem;
  readonly #directory: string;
  #isThere = false;

  constructor(fs: FileSystem, directory: string) {
    this.#fs = fs;
    this.#directory = directory;
  }

  get isThere(): boolean {
    return this.#isThere;
  }

  /** Takes room, unless it is taken or there is none to spare: then it goes without. */
  fill(): void {
    if (this.#isThere) return;
    const path = this.#path;
    try {
      if (this.#fs.exists(path) && this.#fs.fileSize(path) === BALLAST_BYTES) {
        this.#isThere = true;
        return;
      }
      const file = this.#fs.open(path, 'create');
      try {
        // Zeros would do, but some file systems store none of them.
        file.write(Buffer.alloc(BALLAST_BYTES, BALLAST_NAME), 0);
        file.datasync();
      } finally {
        file.close();
      }
      this.#isThere = true;
    } catch (error) {
      if (!(error instanceof LightningError)) throw error;
      this.#remove();
    }
  }

  /** Gives the room free; false when there was none to give. */
  release(): boolean {
    if (!this.#isThere) return false;
    this.#isThere = false;
    return this.#remove();
  }

  get #path(): string {
    return `${this.#directory}/${BALLAST_NAME}`;
  }

  #remove(): boolean {
    try {
      if (this.#fs.exists(this.#path)) this.#fs.unlink(this.#path);
      return true;
    } catch (error) {
      if (!(error instanceof LightningError)) throw error;
      return false;
    }
  }
}
