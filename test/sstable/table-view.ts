/** Reads a table as the engine does: index, filter and block functions of the kernel. */

import { xxh64 } from '../../src/encoding/xxh64.js';
import { CorruptionError } from '../../src/errors.js';
import type { FileSystem } from '../../src/file-system/file-system.js';
import * as layout from '../../src/kernel/assembly/layout.js';
import type { Kernel } from '../../src/kernel/kernel.js';
import { blockOffset, type LoadedTable, loadTable } from '../../src/sstable/table-reader.js';
import type { Entry } from './table-model.js';

const KEY_AT = 65536;
const ENTRY_AT = KEY_AT + 70_000;
const STORED_AT = 256 * 1024;

export class TableView {
  readonly loaded: LoadedTable;
  readonly blocks: number;
  readonly #kernel: Kernel;
  readonly #file: Buffer;
  readonly #path: string;
  readonly #rawAt: number;
  readonly #roomAt: number;
  #opened = -1;
  #raw = 0;

  /** `kernel` is this view's alone. */
  constructor(fs: FileSystem, kernel: Kernel, path: string, id: number) {
    this.#kernel = kernel;
    this.#path = path;
    this.#file = fs.readFile(path);
    this.#rawAt = STORED_AT + Math.ceil(this.#file.length / 64) * 64 + 64;
    let next = Math.floor(kernel.bytes.length / 2 / 64) * 64;
    this.#roomAt = next;
    next += layout.COLUMNS_ROOM_BYTES;
    this.loaded = loadTable(
      fs,
      kernel,
      { path, id },
      {
        allocate(bytes) {
          const address = next;
          next += Math.ceil(bytes / 64) * 64;
          return address;
        },
        free() {
          // the memory dies with the test
        },
      },
    );
    this.blocks = this.#meta(layout.T_BLOCKS);
  }

  /** Newest version at or below `snapshot`. Throws CorruptionError when the block is bad. */
  find(key: Buffer, snapshot: number): Entry | undefined {
    const { exports, bytes } = this.#kernel;
    bytes.set(key, KEY_AT);
    const hash = xxh64(key);
    if (!this.mayContain(key)) return undefined;
    this.#open(exports.tableFindBlock(this.loaded.meta, KEY_AT, key.length));
    const i = exports.blockFind(this.#raw, KEY_AT, key.length, hash, BigInt(snapshot));
    return i < 0 ? undefined : this.#entry(i);
  }

  mayContain(key: Buffer): boolean {
    const filter = this.#meta(layout.T_FILTER);
    const lines = this.#meta(layout.T_FILTER_LINES);
    return this.#kernel.exports.filterMayContain(filter, lines, xxh64(key)) !== 0;
  }

  /** First entry whose key is not below the target. */
  seek(key: Buffer): Entry | undefined {
    const { exports, bytes } = this.#kernel;
    bytes.set(key, KEY_AT);
    const block = exports.tableFindBlock(this.loaded.meta, KEY_AT, key.length);
    this.#open(block);
    const i = exports.blockSeek(this.#raw, KEY_AT, key.length);
    if (i < exports.blockCount(this.#raw)) return this.#entry(i);
    if (block + 1 === this.blocks) return undefined;
    this.#open(block + 1);
    return this.#entry(0);
  }

  all(): Entry[] {
    const entries: Entry[] = [];
    for (let block = 0; block < this.blocks; block++) {
      this.#open(block);
      const count = this.#kernel.exports.blockCount(this.#raw);
      for (let i = 0; i < count; i++) entries.push(this.#entry(i));
    }
    return entries;
  }

  #meta(field: number): number {
    return this.#kernel.u32[(this.loaded.meta + field) >>> 2] as number;
  }

  #entry(i: number): Entry {
    const { exports, bytes, u32, u64 } = this.#kernel;
    exports.blockEntry(this.#raw, i, ENTRY_AT);
    const word = (offset: number): number => u32[(ENTRY_AT + offset) >>> 2] as number;
    const copy = (address: number, length: number): Buffer =>
      Buffer.from(bytes.subarray(address, address + length));
    const prefix = exports.blockPrefixPtr(this.#raw);
    return {
      key: Buffer.concat([copy(prefix, exports.blockPrefixLen(this.#raw)), copy(word(0), word(4))]),
      value: copy(word(8), word(12)),
      type: word(16),
      sequence: Number(u64[(ENTRY_AT + 24) >>> 3]),
    };
  }

  #open(block: number): void {
    if (block === this.#opened) return;
    const { exports, bytes } = this.#kernel;
    const from = blockOffset(this.#kernel, this.loaded.meta, block);
    const length = blockOffset(this.#kernel, this.loaded.meta, block + 1) - from;
    bytes.set(this.#file.subarray(from, from + length), STORED_AT);
    const corrupt = (): CorruptionError =>
      new CorruptionError('A block is bad', { file: this.#path, offset: from });
    const { id } = this.loaded.info;
    if (exports.storedVerify(STORED_AT, length, id, from) === 0) throw corrupt();
    if (exports.storedIsPossible(STORED_AT, length) === 0) throw corrupt();
    const opened = exports.storedOpen(STORED_AT, length, this.#rawAt, this.#roomAt);
    if (opened <= 1) throw corrupt();
    this.#raw = opened;
    this.#opened = block;
  }
}
