/** Hostile bytes from valid ones, by a seed: what damage, malice and a broken program would make. */
import { seededRandom } from '../../src/file-system/memory.js';

/** Inputs per decoder. LIGHTNING_FUZZ_INPUTS=1000000 is a long run, in which slow ones get as many. */
export const INPUTS = Number(process.env['LIGHTNING_FUZZ_INPUTS'] ?? 2000);
const IS_LONG = process.env['LIGHTNING_FUZZ_INPUTS'] !== undefined;

/** How many inputs a slow decoder gets, of which the tests take a share. */
export function inputsOf(share: number): number {
  return IS_LONG ? INPUTS : Math.floor(INPUTS * share);
}

export const SEED = Number(process.env['LIGHTNING_FUZZ_SEED'] ?? 20261125);

const INTERESTING = [0, 1, 2, 7, 0x7f, 0x80, 0xff, 0xfff8, 0xffff, 0x10000, 0x7fffffff, 0x80000000];
const BYTES_MAX = 128 * 1024;

export class Mutator {
  readonly random: () => number;

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  below(n: number): number {
    return Math.floor(this.random() * n);
  }

  /** Some changes to one of the samples; now and then bytes of no meaning at all. */
  mutate(samples: readonly Buffer[]): Buffer {
    if (this.random() < 0.03) {
      return Buffer.from(Array.from({ length: this.below(200) }, () => this.below(256)));
    }
    let bytes: Buffer = Buffer.from(samples[this.below(samples.length)] as Buffer);
    for (let changes = 1 + this.below(4); changes > 0; changes--) {
      bytes = this.#change(bytes, samples);
    }
    return bytes.subarray(0, BYTES_MAX);
  }

  #change(bytes: Buffer, samples: readonly Buffer[]): Buffer {
    const at = this.below(bytes.length + 1);
    const length = Math.min(bytes.length - at, 1 + this.below(24));
    switch (this.below(8)) {
      case 0:
        if (at < bytes.length) bytes[at] = (bytes[at] as number) ^ (1 << this.below(8));
        return bytes;
      case 1:
        if (at < bytes.length) bytes[at] = this.below(256);
        return bytes;
      case 2: {
        const value = (INTERESTING[this.below(INTERESTING.length)] as number) >>> 0;
        if (at + 4 <= bytes.length) bytes.writeUInt32LE(value, at);
        return bytes;
      }
      case 3:
        return bytes.subarray(0, at);
      case 4:
        return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
      case 5:
        return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
      case 6: {
        const other = samples[this.below(samples.length)] as Buffer;
        const from = this.below(other.length + 1);
        const piece = other.subarray(from, from + 1 + this.below(40));
        return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
      }
      default: {
        const value = INTERESTING[this.below(INTERESTING.length)] as number;
        if (at + 8 <= bytes.length) bytes.writeDoubleLE(this.random() < 0.5 ? value : -value, at);
        return bytes;
      }
    }
  }
}
