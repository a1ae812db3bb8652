/**
 * The files of a shard's tables, as one client thread reads them for itself. Handles are opened when
 * they are first wanted and closed when they have not been for a while, so that files of tables that
 * are gone do not hold on to their room for long.
 */

import { closeSync, openSync, readSync } from 'node:fs';
import { shardFileName } from '../file-system/file-names.js';
import { readOn } from '../file-system/transfer.js';

/** More than a shard of 50 million records has tables: opening one costs several reads. */
export const HANDLES_MAX = 512;
const IDLE_MS = 1000;

interface Handle {
  readonly fd: number;
  isUsed: boolean;
}

export class TableFiles {
  readonly #directory: string;
  readonly #handles = new Map<number, Handle>();
  #timer: NodeJS.Timeout | undefined;

  /** `directory`: the shard's own. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  get openCount(): number {
    return this.#handles.size;
  }

  /**
   * Reads `length` bytes of a table's file to `target` at `at`. False when that cannot be done here,
   * for whatever reason: the shard worker has a say then, and the proper error.
   */
  read(table: number, offset: number, length: number, target: Uint8Array, at: number): boolean {
    try {
      const { fd } = this.#handle(table);
      const got = readOn(length, (done, wanted) =>
        readSync(fd, target, at + done, wanted, offset + done),
      );
      return got === length;
    } catch {
      // Gone with a compaction, too many open files, a failing disk.
      return false;
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const { fd } of this.#handles.values()) closeSync(fd);
    this.#handles.clear();
  }

  #handle(table: number): Handle {
    const open = this.#handles.get(table);
    if (open !== undefined) {
      open.isUsed = true;
      return open;
    }
    if (this.#handles.size >= HANDLES_MAX) this.#closeSome();
    const handle = {
      fd: openSync(`${this.#directory}/${shardFileName('table', table)}`, 'r'),
      isUsed: true,
    };
    this.#handles.set(table, handle);
    this.#timer ??= setInterval(() => this.#closeIdle(), IDLE_MS).unref();
    return handle;
  }

  #closeIdle(): void {
    for (const [table, handle] of this.#handles) {
      if (handle.isUsed) handle.isUsed = false;
      else this.#close(table, handle);
    }
    if (this.#handles.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Makes room: a quarter of the handles, the oldest first. */
  #closeSome(): void {
    let left = HANDLES_MAX >> 2;
    for (const [table, handle] of this.#handles) {
      if (left-- === 0) return;
      this.#close(table, handle);
    }
  }

  #close(table: number, { fd }: Handle): void {
    this.#handles.delete(table);
    closeSync(fd);
  }
}
