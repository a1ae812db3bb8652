/**
 * A plain file of lines or separated values: threads read and parse ranges of it side by side.
 *
 * Where records begin in a range is a guess: behind the first newline, outside of quotation marks by
 * the count of those before. In a well-formed file the guess is right. Whether it was is known when
 * the range before has been parsed to its end; a range that was entered at the wrong place is parsed
 * again. So the outcome is that of reading from front to back, whatever the file holds.
 */

import type { RecordFormat, ScanJob, TextPiece } from './load-jobs.js';
import type { LoadSession } from './load-session.js';
import { type ParsedPiece, PieceOrder } from './piece-order.js';
import type { TextFormat } from './text-format.js';

/** Ranges per thread, as far as they are large enough. */
const RANGES_PER_JOB = 4;

interface StartedRange {
  readonly stop: number;
  readonly text: Promise<number>;
  readonly parsed: Promise<ParsedPiece>;
}

export async function loadRanges(
  session: LoadSession,
  file: { readonly path: string; readonly bytes: number },
  format: TextFormat,
): Promise<void> {
  const ranges = new RangeReader(session, file, format);
  const order = ranges.order;
  const queue: StartedRange[] = [];
  const { progress } = session;
  let place = format.dataOffset;
  while (true) {
    while (queue.length <= session.jobs && ranges.hasMore) queue.push(ranges.start());
    const range = queue.shift();
    if (range === undefined) return;
    let parsed = await range.parsed;
    if (place > range.stop) {
      // A record of the range before goes all through this one.
      session.store.releaseSlot(parsed.slot);
    } else {
      if (parsed.result.first !== place) {
        ranges.correctGuess();
        parsed = await order.redo(parsed, place);
      }
      place = await order.accept(parsed);
    }
    session.texts.release(await range.text);
    progress.bytes = Math.min(place, file.bytes);
    progress.maybeReport();
  }
}

class RangeReader {
  readonly order: PieceOrder;
  readonly #session: LoadSession;
  readonly #file: { readonly path: string; readonly bytes: number };
  readonly #format: RecordFormat;
  readonly #dataOffset: number;
  readonly #rangeBytes: number;
  #offset = 0;
  /** Quotation marks before the next range, modulo 2. */
  #marks: Promise<number> = Promise.resolve(0);
  /** 1 after a stray quotation mark has turned the guess around. */
  #correction = 0;

  constructor(
    session: LoadSession,
    file: { readonly path: string; readonly bytes: number },
    format: TextFormat,
  ) {
    this.#session = session;
    this.#file = file;
    this.#format = format.records;
    this.#dataOffset = format.dataOffset;
    this.order = new PieceOrder(session, format.dataLine);
    const fine = Math.ceil(file.bytes / (session.jobs * RANGES_PER_JOB));
    this.#rangeBytes = Math.min(session.rangeBytes, Math.max(session.rangeBytesMin, fine));
  }

  get hasMore(): boolean {
    return this.#offset < this.#file.bytes;
  }

  start(): StartedRange {
    const offset = this.#offset;
    const stop = Math.min(offset + this.#rangeBytes, this.#file.bytes);
    this.#offset = stop;
    const text = this.#session.texts.acquire();
    const scan = text.then((area) => this.#scan(area, offset, stop));
    const marksBefore = this.#marks;
    this.#marks = Promise.all([marksBefore, scan]).then(
      ([before, { quotes }]) => (before + quotes) % 2,
    );
    const parsed = this.#parse({ offset, stop, text, scan, marksBefore });
    // They are awaited in their turn, which may never come.
    this.#marks.catch(() => {});
    parsed.catch(() => {});
    return { stop, text, parsed };
  }

  /** The last guess was wrong: those that are still to be made will be the other way. */
  correctGuess(): void {
    this.#correction ^= 1;
  }

  async #parse(range: {
    readonly offset: number;
    readonly stop: number;
    readonly text: Promise<number>;
    readonly scan: Promise<{ readonly loaded: number }>;
    readonly marksBefore: Promise<number>;
  }): Promise<ParsedPiece> {
    const { offset, stop } = range;
    const { loaded } = await range.scan;
    const inQuotes = ((await range.marksBefore) ^ this.#correction) === 1;
    const isFirst = this.#dataOffset >= offset && this.#dataOffset <= stop;
    const piece: TextPiece = {
      text: await range.text,
      offset,
      loaded,
      path: this.#file.path,
      final: false,
      stop,
      first: isFirst ? this.#dataOffset : undefined,
      inQuotes,
    };
    return this.order.parse(piece, this.#format);
  }

  /** Quotation marks matter only where they can hold a newline. */
  async #scan(
    text: number,
    offset: number,
    stop: number,
  ): Promise<{ readonly loaded: number; readonly quotes: number }> {
    if (this.#format.kind !== 'csv' || !this.#format.plan.quotes) return { loaded: 0, quotes: 0 };
    const { memory, layout, runner } = this.#session;
    return runner.run<ScanJob>({
      kind: 'bulk-scan',
      memory,
      layout,
      text,
      path: this.#file.path,
      offset,
      bytes: stop - offset,
    });
  }
}
