/** What becomes of records that cannot be read. */

import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import { InvalidArgumentError, ParseError } from '../errors.js';
import { fileError } from '../file-system/file-system.js';
import type { BulkLoadOptions, BulkLoadReject } from './options.js';

/** What a source without a name is called in messages. */
export const STREAM_NAME = '(stream)';
const LISTED_DEFAULT = 100;
/** Bytes of a rejected record's text that go to the rejects file. */
const EXCERPT_BYTES = 64 * 1024;

export class RejectLog {
  readonly #options: BulkLoadOptions;
  readonly #file: string;
  readonly #listed: BulkLoadReject[] = [];
  readonly #listedMax: number;
  #output: number | undefined;
  #count = 0;

  /** `file`: what the source is called in messages. */
  constructor(options: BulkLoadOptions, file: string) {
    this.#options = options;
    this.#file = file;
    this.#listedMax = options.rejectsMax ?? LISTED_DEFAULT;
  }

  get count(): number {
    return this.#count;
  }

  get listed(): readonly BulkLoadReject[] {
    return this.#listed;
  }

  /**
   * Makes the rejects file, empty. `source`: the file that is loaded, if it is one. Throws when the
   * rejects would take its place.
   */
  begin(source: string | undefined): void {
    const path = this.#options.rejectsFile;
    if (path === undefined) return;
    if (source !== undefined && isSameFile(source, path)) {
      throw new InvalidArgumentError(
        `Option "rejectsFile" names the file that is loaded, "${path}": choose another`,
        { details: { option: 'rejectsFile' } },
      );
    }
    try {
      this.#output = openSync(path, 'w');
    } catch (cause) {
      throw fileError(cause, 'write', path);
    }
  }

  /** Bytes of each rejected record's text that `add` wants. */
  get excerptBytes(): number {
    return this.#options.rejectsFile === undefined ? 0 : EXCERPT_BYTES;
  }

  /** Notes one record, or throws `ParseError` when the load is to stop at it. */
  add(line: number, reason: string, text: string | undefined): void {
    if (this.#options.onError !== 'skip') throw this.errorAt(line, reason);
    const reject = { file: this.#file, line, reason };
    this.#count++;
    if (this.#listed.length < this.#listedMax) this.#listed.push(reject);
    this.#write(JSON.stringify({ ...reject, record: text }));
    this.#options.onReject?.(reject);
  }

  errorAt(line: number, reason: string): ParseError {
    return new ParseError(`Cannot read "${this.#file}", line ${line}: ${reason}`, {
      details: { file: this.#file, line, reason },
    });
  }

  close(): void {
    if (this.#output === undefined) return;
    closeSync(this.#output);
    this.#output = undefined;
  }

  #write(line: string): void {
    const path = this.#options.rejectsFile;
    if (path === undefined || this.#output === undefined) return;
    try {
      const bytes = Buffer.from(`${line}\n`);
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#output, bytes, done);
    } catch (cause) {
      throw fileError(cause, 'write', path);
    }
  }
}

function isSameFile(one: string, other: string): boolean {
  const left = statSync(one, { bigint: true, throwIfNoEntry: false });
  const right = statSync(other, { bigint: true, throwIfNoEntry: false });
  if (left === undefined || right === undefined) return false;
  return left.ino === right.ino && left.dev === right.dev;
}
