/**
 * Keys by hash, and the versions of each in the order they were added: the index over what a
 * transaction wrote or read. The bytes of the keys lie in one store per shard; this knows where.
 *
 * An entry is a number, counted from 0. A few entries are looked through from the newest back; many
 * have a hash table. Entries are taken back in the reverse order only (`truncate`), so the table,
 * whose places are found by stepping to the next free one, is then exactly as it was before.
 */

/** A key: what a `KeyScratch` holds. */
export interface HashedKey {
  readonly bytes: Uint8Array;
  readonly length: number;
  readonly hash: number;
}

/** Where keys of one shard lie. */
export interface KeyStore {
  readonly bytes: Uint8Array;
}

/** No entry. */
export const NONE = -1;

const CAPACITY_FIRST = 16;
/** Up to so many entries are looked through one by one. */
const LINEAR_MAX = 16;

export class KeyIndex {
  count = 0;
  hashes = new Int32Array(CAPACITY_FIRST);
  shards = new Uint8Array(CAPACITY_FIRST);
  keyStarts = new Int32Array(CAPACITY_FIRST);
  keyLengths = new Int32Array(CAPACITY_FIRST);
  /** The entry before this one of the same key, or NONE. */
  previous = new Int32Array(CAPACITY_FIRST);
  /** The first entry of the same key; it stands for the key. */
  first = new Int32Array(CAPACITY_FIRST);
  /** Of a first entry: the newest of its key. */
  newest = new Int32Array(CAPACITY_FIRST);
  readonly #stores: readonly (KeyStore | undefined)[];
  /** First entry + 1 at the place of its hash; 0: free. Empty while there are few entries. */
  #table = new Int32Array(0);
  #keys = 0;

  /** `stores`: by shard; they may grow and be replaced. */
  constructor(stores: readonly (KeyStore | undefined)[]) {
    this.#stores = stores;
  }

  /** Distinct keys. */
  get keys(): number {
    return this.#keys;
  }

  /** The newest entry of the key in the scratch, or NONE. */
  find(key: HashedKey, shard: number): number {
    if (this.count > LINEAR_MAX) return this.#findInTable(key, shard);
    const hash = key.hash | 0;
    for (let entry = this.count - 1; entry >= 0; entry--) {
      if (this.hashes[entry] === hash && this.#isKey(entry, key, shard)) return entry;
    }
    return NONE;
  }

  /** Adds an entry for the key in the scratch, which lies at `keyStart`. `found`: what `find` said. */
  add(key: HashedKey, shard: number, keyStart: number, found: number): number {
    const entry = this.count;
    if (entry === this.hashes.length) this.#grow();
    this.hashes[entry] = key.hash | 0;
    this.shards[entry] = shard;
    this.keyStarts[entry] = keyStart;
    this.keyLengths[entry] = key.length;
    this.previous[entry] = found;
    const first = found === NONE ? entry : (this.first[found] as number);
    this.first[entry] = first;
    this.newest[first] = entry;
    this.count = entry + 1;
    if (found === NONE) this.#keys++;
    if (this.count > LINEAR_MAX) {
      if (this.count === LINEAR_MAX + 1 || this.#table.length < this.#keys * 2) this.#rebuild();
      else if (found === NONE) this.#place(entry);
    }
    return entry;
  }

  /** Takes back all entries from `count` on. */
  truncate(count: number): void {
    const hadTable = this.count > LINEAR_MAX;
    for (let entry = this.count - 1; entry >= count; entry--) {
      const before = this.previous[entry] as number;
      if (before !== NONE) {
        this.newest[this.first[entry] as number] = before;
        continue;
      }
      this.#keys--;
      if (hadTable && count > LINEAR_MAX) this.#table[this.#placeOf(entry)] = 0;
    }
    this.count = count;
  }

  clear(): void {
    this.count = 0;
    this.#keys = 0;
    if (this.#table.length > 0) this.#table = new Int32Array(0);
    if (this.hashes.length > 64 * CAPACITY_FIRST) this.#resize(CAPACITY_FIRST);
  }

  #findInTable(key: HashedKey, shard: number): number {
    const table = this.#table;
    const mask = table.length - 1;
    const hash = key.hash | 0;
    for (let place = hash & mask; ; place = (place + 1) & mask) {
      const first = (table[place] as number) - 1;
      if (first < 0) return NONE;
      if (this.hashes[first] === hash && this.#isKey(first, key, shard)) {
        return this.newest[first] as number;
      }
    }
  }

  #isKey(entry: number, key: HashedKey, shard: number): boolean {
    const { length } = key;
    if (this.keyLengths[entry] !== length || this.shards[entry] !== shard) return false;
    const { bytes } = this.#stores[shard] as KeyStore;
    const start = this.keyStarts[entry] as number;
    const wanted = key.bytes;
    for (let i = 0; i < length; i++) if (bytes[start + i] !== wanted[i]) return false;
    return true;
  }

  /** Puts a first entry into the table, which has room. */
  #place(first: number): void {
    const mask = this.#table.length - 1;
    let place = (this.hashes[first] as number) & mask;
    while (this.#table[place] !== 0) place = (place + 1) & mask;
    this.#table[place] = first + 1;
  }

  #placeOf(first: number): number {
    const mask = this.#table.length - 1;
    let place = (this.hashes[first] as number) & mask;
    while (this.#table[place] !== first + 1) place = (place + 1) & mask;
    return place;
  }

  #rebuild(): void {
    let size = 64;
    while (size < this.#keys * 4) size *= 2;
    this.#table = new Int32Array(size);
    for (let entry = 0; entry < this.count; entry++) {
      if (this.previous[entry] === NONE) this.#place(entry);
    }
  }

  #grow(): void {
    this.#resize(this.hashes.length * 2);
  }

  #resize(capacity: number): void {
    this.hashes = resized(this.hashes, capacity);
    this.keyStarts = resized(this.keyStarts, capacity);
    this.keyLengths = resized(this.keyLengths, capacity);
    this.previous = resized(this.previous, capacity);
    this.first = resized(this.first, capacity);
    this.newest = resized(this.newest, capacity);
    const shards = new Uint8Array(capacity);
    shards.set(this.shards.subarray(0, Math.min(capacity, this.shards.length)));
    this.shards = shards;
  }
}

function resized(old: Int32Array, capacity: number): Int32Array<ArrayBuffer> {
  const words = new Int32Array(capacity);
  words.set(old.subarray(0, Math.min(capacity, old.length)));
  return words;
}
