/**
 * Where the originals go: a folder in the database's directory that is named after the moment.
 *
 * A file gets a second name there before anything is changed, and loses its first one only when what
 * replaces it is in force. So a repair may be killed at any point: what was there is there.
 */
import { LightningError } from '../errors.js';
import type { FileSystem } from '../file-system/file-system.js';
import { createDirectories } from '../version/database-file.js';

const COPY_BYTES = 1024 * 1024;

export class Aside {
  readonly #fs: FileSystem;
  readonly #root: string;
  readonly #directory: string;
  #used = false;
  /** Files that are to go once they are replaced. */
  #leaving: string[] = [];

  constructor(fs: FileSystem, root: string, nowMs: number) {
    this.#fs = fs;
    this.#root = root;
    const stamp = new Date(nowMs).toISOString().replace(/[-:]|\.\d+/g, '');
    let name = `${root}/repaired-${stamp}`;
    for (let i = 2; fs.exists(name); i++) name = `${root}/repaired-${stamp}-${i}`;
    this.#directory = name;
  }

  /** The folder; undefined when nothing has been put there. */
  get directory(): string | undefined {
    return this.#used ? this.#directory : undefined;
  }

  /** Keeps files of the directory `folder` of the database; where it stands in the way, it leaves. */
  keep(folder: string, names: readonly string[], { leaves }: { readonly leaves: boolean }): void {
    const target = folder === '' ? this.#directory : `${this.#directory}/${folder}`;
    const source = folder === '' ? this.#root : `${this.#root}/${folder}`;
    const present = names.filter((name) => this.#fs.exists(`${source}/${name}`));
    if (present.length === 0) return;
    this.#used = true;
    for (const name of present) {
      const from = `${source}/${name}`;
      createDirectories(this.#fs, target);
      if (!this.#fs.exists(`${target}/${name}`)) this.#link(from, `${target}/${name}`);
      if (leaves) this.#leaving.push(from);
    }
    this.#fs.syncDirectory(target);
  }

  /** What replaces the files is in force: they lose their first names. */
  release(): void {
    for (const path of this.#leaving) if (this.#fs.exists(path)) this.#fs.unlink(path);
    this.#leaving = [];
  }

  #link(from: string, to: string): void {
    try {
      this.#fs.link(from, to);
    } catch (error) {
      if (!(error instanceof LightningError) || error.code !== 'LIGHTNING_IO') throw error;
      // Not every file system gives a file two names.
      this.#copy(from, to);
    }
  }

  #copy(from: string, to: string): void {
    const source = this.#fs.open(from, 'r');
    const target = this.#fs.open(to, 'create');
    try {
      const buffer = Buffer.alloc(COPY_BYTES);
      for (let at = 0; ; ) {
        const got = source.read(buffer, at);
        if (got === 0) break;
        target.write(buffer.subarray(0, got), at);
        at += got;
      }
      target.sync();
    } finally {
      source.close();
      target.close();
    }
  }
}
