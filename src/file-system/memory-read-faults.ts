/**
 * Calls of the file system in memory that read (contents, lengths, names), and those of them that fail:
 * by their number, or by what they read.
 */
import { fileError } from './file-system.js';

/** The errno of a call that falls short; the caller goes on with the rest. */
export const SHORT = 'SHORT';

/** Places of a file: from the first, up to but not with the last. */
export interface ByteRange {
  readonly from: number;
  readonly to: number;
}

interface CountedFault {
  /** Numbers of the first and of the last call that is refused. */
  readonly at: number;
  readonly last: number;
  readonly errno: string;
}

interface PlacedFault {
  /** A part of the path. */
  readonly path: string;
  readonly errno: string;
  readonly bytes?: ByteRange | undefined;
}

export class ReadFaults {
  /** Calls so far. */
  calls = 0;
  /** Of these, the refused ones and those that fell short. */
  hit = 0;
  #counted: CountedFault[] = [];
  #placed: PlacedFault[] = [];

  failOnce(k: number, errno: string): void {
    this.#counted.push({ at: this.calls + k, last: this.calls + k, errno });
  }

  failFrom(k: number, errno: string): void {
    this.#counted.push({ at: this.calls + k, last: Number.POSITIVE_INFINITY, errno });
  }

  failAt(fault: PlacedFault): void {
    this.#placed.push(fault);
  }

  clear(): void {
    this.#counted = [];
    this.#placed = [];
  }

  /** Counts a call, and throws when it is to fail. True: it falls short. */
  check(syscall: string, path: string, bytes?: ByteRange): boolean {
    this.calls++;
    const placed = this.#placed.find((fault) => isPlacedAt(fault, path, bytes));
    if (placed !== undefined) throw fileError({ code: placed.errno }, syscall, path);
    const counted = this.#counted.find(({ at, last }) => at <= this.calls && this.calls <= last);
    if (counted === undefined) return false;
    this.hit++;
    if (counted.errno === SHORT) return true;
    throw fileError({ code: counted.errno }, syscall, path);
  }
}

function isPlacedAt({ path: part, bytes }: PlacedFault, path: string, read?: ByteRange): boolean {
  if (!path.includes(part)) return false;
  if (bytes === undefined) return true;
  return read !== undefined && read.from < bytes.to && read.to > bytes.from;
}
