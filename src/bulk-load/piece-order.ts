/**
 * Brings what jobs made of pieces of text into the order of the source: counts lines, reports
 * rejected records, and has the rest of a piece parsed where a job left off.
 */

import type { ChunkJob, ChunkResult, RecordFormat, TextPiece } from './load-jobs.js';
import type { LoadSession } from './load-session.js';

export interface ParsedPiece {
  readonly piece: TextPiece;
  readonly format: RecordFormat;
  readonly slot: number;
  readonly result: ChunkResult;
}

export class PieceOrder {
  readonly #session: LoadSession;
  /** Number of the line that the next record begins at. */
  #line: number;
  /** Whether values were too large for tables: jobs get numbers for blobs from then on. */
  #hasBlobs = false;

  constructor(session: LoadSession, dataLine: number) {
    this.#session = session;
    this.#line = dataLine;
  }

  get line(): number {
    return this.#line;
  }

  /** Parses a piece into a slot of its own. */
  async parse(piece: TextPiece, format: RecordFormat): Promise<ParsedPiece> {
    const slot = await this.#session.acquireSlot();
    return this.#parseInto(slot, piece, format);
  }

  /**
   * Takes over a piece whose turn it is, after its rest has been parsed. Returns the place where the
   * record behind it begins. Throws `ParseError` where the load is to stop.
   */
  async accept(parsed: ParsedPiece): Promise<number> {
    const { piece, format } = parsed;
    let { slot, result } = parsed;
    while (true) {
      this.#take(slot, result);
      if (result.end === 'done') return result.next;
      if (result.end === 'blobs') this.#hasBlobs = true;
      const rest = { ...piece, first: result.next, loaded: result.loaded };
      ({ slot, result } = await this.parse(rest, format));
    }
  }

  /** Parses a piece again from where it really begins. */
  async redo({ piece, format, slot, result }: ParsedPiece, first: number): Promise<ParsedPiece> {
    return this.#parseInto(slot, { ...piece, first, loaded: result.loaded }, format);
  }

  async #parseInto(slot: number, piece: TextPiece, format: RecordFormat): Promise<ParsedPiece> {
    const { session, input } = {
      session: this.#session,
      input: await this.#inputOf(piece, format),
    };
    return { piece, format, slot, result: await session.runChunk(slot, input) };
  }

  async #inputOf(piece: TextPiece, format: RecordFormat): Promise<NonNullable<ChunkJob['input']>> {
    const { numbers, options, rejects, shards, valueBytesMax } = this.#session;
    return {
      piece,
      format,
      onError: options.onError ?? 'stop',
      rejectBytes: rejects.excerptBytes,
      valueBytesMax,
      blobs: this.#hasBlobs
        ? await numbers.takeBlobNumbers()
        : Array.from({ length: shards }, () => NO_NUMBERS),
    };
  }

  #take(slot: number, result: ChunkResult): void {
    const { progress, rejects } = this.#session;
    result.rejects.forEach(({ lines, reason, text }, index) => {
      const isLast = index === result.rejects.length - 1;
      if (result.end === 'fault' && isLast) throw rejects.errorAt(this.#line + lines, reason);
      rejects.add(this.#line + lines, reason, text);
    });
    this.#line += result.lines;
    progress.rejected = rejects.count;
    this.#session.addChunk(slot, result);
    this.#session.checkAborted();
  }
}

const NO_NUMBERS = { directory: '', first: 0, count: 0 };
