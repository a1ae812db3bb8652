/**
 * The benchmark's records, made on the fly: nothing grows with their number. Record `id` (from 0)
 * has a 50-byte key, ordered like the ids, and a 200-byte value of 100 characters that stand twice,
 * the shape of db_bench's `compression_ratio=0.5`.
 *
 *   key    "user:" id in 12 digits ":profile:" its last 8 digits "-abcdefghijklmno"
 *   value  id in 5 characters of 6 bits, version, slot in 2 characters, 92 random characters; again
 *
 * Keys and values are written into Buffers that take turns: one stays as it is until KEY_SLOTS
 * (VALUE_SLOTS) more were made, so a batch of 1000 may hold on to its own. Operations that are in
 * flight side by side have `lane`s: a store whose threads read a caller's Buffers late finds them
 * unchanged, however many others overtake it. What is read is verified by the bytes that say which
 * record it is, in both halves: the same few comparisons for every store.
 */

const KEY_SLOTS = 2048;
const VALUE_SLOTS = 4096;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const CODES = Uint8Array.from(ALPHABET, (character) => character.charCodeAt(0));
const HALF = 100;
/** Five characters of six bits. */
export const RECORDS_MAX = 2 ** 30;

export const KEY_BYTES = 50;
export const VALUE_BYTES = 2 * HALF;
export const RECORD_BYTES = KEY_BYTES + VALUE_BYTES;
/** Any version will do: the record is being overwritten while it is read. */
export const ANY_VERSION = -1;

const KEY_TEMPLATE = 'user:000000000000:profile:00000000-abcdefghijklmno';
const KEY_DIGITS_END = 17;
const KEY_REPEATED_END = 34;
/** No record's key ends so; it lies between those of two records. */
export const MISSING_CODE = 'p'.charCodeAt(0);
const PRESENT_CODE = 'o'.charCodeAt(0);

/** xorshift32; `next()` is in [1, 2^32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0 || 1;
    // Seeds that follow one another start far apart.
    for (let i = 0; i < 8; i++) this.next();
  }

  next(): number {
    let s = this.#state;
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    this.#state = s;
    return s >>> 0;
  }

  below(limit: number): number {
    return Math.floor((this.next() / 4294967296) * limit);
  }
}

/**
 * A bijection of [0, count) that looks random: multiplications by odd numbers and shifts, each of
 * them reversible in the next power of two, walked until the result is below `count`.
 */
export class Permutation {
  readonly #count: number;
  readonly #mask: number;
  readonly #shift: number;
  readonly #odd: number;

  constructor(count: number, seed: number) {
    const bits = Math.max(4, 32 - Math.clz32(Math.max(1, count - 1)));
    this.#count = count;
    this.#mask = bits === 32 ? -1 : (1 << bits) - 1;
    this.#shift = (bits >>> 1) + 1;
    this.#odd = (new Random(seed).next() << 1) | 1;
  }

  at(index: number): number {
    let x = index;
    do {
      x = (Math.imul(x ^ 0x2545f491, this.#odd) & this.#mask) >>> 0;
      x ^= x >>> this.#shift;
      x = (Math.imul(x, 0x9e3779b1) & this.#mask) >>> 0;
      x ^= x >>> this.#shift;
      x = (Math.imul(x, this.#odd) & this.#mask) >>> 0;
      x = (x ^ (x >>> this.#shift)) >>> 0;
    } while (x >= this.#count);
    return x;
  }
}

/** The Buffers, and which part of them is meant. */
interface SlotShare {
  readonly keys: readonly Buffer[];
  readonly values: readonly Buffer[];
  readonly index: number;
  readonly of: number;
}

function wholeSlots(seed: number): SlotShare {
  const random = new Random(seed);
  const keys = Buffer.allocUnsafeSlow(KEY_SLOTS * KEY_BYTES);
  const values = Buffer.allocUnsafeSlow(VALUE_SLOTS * VALUE_BYTES);
  return {
    keys: Array.from({ length: KEY_SLOTS }, (_, slot) => {
      const key = keys.subarray(slot * KEY_BYTES, (slot + 1) * KEY_BYTES);
      key.write(KEY_TEMPLATE, 'latin1');
      return key;
    }),
    values: Array.from({ length: VALUE_SLOTS }, (_, slot) => {
      const value = values.subarray(slot * VALUE_BYTES, (slot + 1) * VALUE_BYTES);
      for (let i = 8; i < HALF; i++) value[i] = CODES[random.next() >>> 26] as number;
      value[6] = CODES[slot & 63] as number;
      value[7] = CODES[slot >>> 6] as number;
      value.copyWithin(HALF, 0, HALF);
      return value;
    }),
    index: 0,
    of: 1,
  };
}

export class Records {
  readonly count: number;
  readonly seed: number;
  readonly #keys: readonly Buffer[];
  readonly #values: readonly Buffer[];
  readonly #order: Permutation;
  readonly #keyMask: number;
  readonly #valueMask: number;
  readonly #keyBase: number;
  readonly #valueBase: number;
  #keySlot = 0;
  #valueSlot = 0;

  constructor(count: number, seed = 42, share: SlotShare = wholeSlots(seed)) {
    if (!Number.isSafeInteger(count) || count < 1 || count > RECORDS_MAX) {
      throw new RangeError(`Cannot make ${count} records: from 1 to ${RECORDS_MAX}`);
    }
    this.count = count;
    this.seed = seed;
    this.#order = new Permutation(count, seed);
    this.#keys = share.keys;
    this.#values = share.values;
    this.#keyMask = KEY_SLOTS / share.of - 1;
    this.#valueMask = VALUE_SLOTS / share.of - 1;
    this.#keyBase = share.index * (this.#keyMask + 1);
    this.#valueBase = share.index * (this.#valueMask + 1);
  }

  /** The same records in the `index`-th of `of` parts of the Buffers (`of`: a power of two, at most 1024). */
  lane(index: number, of: number): Records {
    return new Records(this.count, this.seed, this.share(index, of));
  }

  protected share(index: number, of: number): SlotShare {
    return { keys: this.#keys, values: this.#values, index, of };
  }

  /** The id of the record that is written `index`-th when records come in random order. */
  shuffled(index: number): number {
    return this.#order.at(index);
  }

  key(id: number): Buffer {
    return this.#key(id, PRESENT_CODE);
  }

  /** A key that no record has, next to that of record `id`. */
  missingKey(id: number): Buffer {
    return this.#key(id, MISSING_CODE);
  }

  value(id: number, version: number): Buffer {
    const value = this.#values[this.#valueBase + this.#valueSlot] as Buffer;
    this.#valueSlot = (this.#valueSlot + 1) & this.#valueMask;
    value[0] = value[HALF] = CODES[id & 63] as number;
    value[1] = value[HALF + 1] = CODES[(id >>> 6) & 63] as number;
    value[2] = value[HALF + 2] = CODES[(id >>> 12) & 63] as number;
    value[3] = value[HALF + 3] = CODES[(id >>> 18) & 63] as number;
    value[4] = value[HALF + 4] = CODES[(id >>> 24) & 63] as number;
    value[5] = value[HALF + 5] = CODES[version & 63] as number;
    return value;
  }

  /** Throws unless `found` says that it is record `id` in `version`, at its start and in its middle. */
  verify(found: Uint8Array | undefined, id: number, version: number): void {
    if (
      found === undefined ||
      found.length !== VALUE_BYTES ||
      difference(found, id, version) !== 0
    ) {
      throw new Error(`Wrong value of record ${id}: ${text(found)}`);
    }
  }

  /** Compares every byte. */
  verifyWhole(found: Uint8Array | undefined, id: number, version: number): void {
    this.verify(found, id, version);
    const value = found as Uint8Array;
    const slot = CODES.indexOf(value[6] as number) | (CODES.indexOf(value[7] as number) << 6);
    const made = this.#values[slot];
    for (let i = 6; i < HALF; i++) {
      if (value[i] !== made?.[i] || value[HALF + i] !== value[i])
        throw new Error(`Wrong value of record ${id}: ${text(found)}`);
    }
  }

  /** Throws unless `found` is the key of record `id`. */
  verifyKey(found: Uint8Array, id: number): void {
    if (found.length !== KEY_BYTES || idOf(found) !== id || found[KEY_BYTES - 1] !== PRESENT_CODE) {
      throw new Error(`Expected the key of record ${id}, found "${text(found)}"`);
    }
  }

  #key(id: number, last: number): Buffer {
    const key = this.#keys[this.#keyBase + this.#keySlot] as Buffer;
    this.#keySlot = (this.#keySlot + 1) & this.#keyMask;
    let rest = id;
    let at = KEY_DIGITS_END - 1;
    let again = KEY_REPEATED_END - 1;
    // Eight digits stand twice; four more are needed beyond 100 M records.
    for (let digit = 0; digit < 8; digit++) {
      const quotient = (rest / 10) | 0;
      key[at--] = key[again--] = 48 + rest - quotient * 10;
      rest = quotient;
    }
    for (let digit = 0; digit < 4; digit++) {
      const quotient = (rest / 10) | 0;
      key[at--] = 48 + rest - quotient * 10;
      rest = quotient;
    }
    key[KEY_BYTES - 1] = last;
    return key;
  }
}

/** The id that a key spells. */
export function idOf(key: Uint8Array): number {
  let id = 0;
  for (let at = 5; at < KEY_DIGITS_END; at++) id = id * 10 + (key[at] as number) - 48;
  return id;
}

function text(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? 'nothing' : Buffer.from(bytes).toString('latin1').slice(0, 60);
}

/** 0 when a value's bytes are those of record `id`, wherever they say which record it is. */
export function difference(found: Uint8Array, id: number, version: number): number {
  const own =
    ((found[0] as number) ^ (CODES[id & 63] as number)) |
    ((found[1] as number) ^ (CODES[(id >>> 6) & 63] as number)) |
    ((found[2] as number) ^ (CODES[(id >>> 12) & 63] as number)) |
    ((found[3] as number) ^ (CODES[(id >>> 18) & 63] as number)) |
    ((found[4] as number) ^ (CODES[(id >>> 24) & 63] as number));
  const halves =
    ((found[0] as number) ^ (found[HALF] as number)) |
    ((found[1] as number) ^ (found[HALF + 1] as number)) |
    ((found[4] as number) ^ (found[HALF + 4] as number)) |
    ((found[5] as number) ^ (found[HALF + 5] as number)) |
    ((found[HALF - 1] as number) ^ (found[VALUE_BYTES - 1] as number));
  const writing =
    version === ANY_VERSION ? 0 : (found[5] as number) ^ (CODES[version & 63] as number);
  return own | halves | writing;
}
