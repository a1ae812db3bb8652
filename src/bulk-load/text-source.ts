/**
 * Text that comes as a stream: unpacked files, JSON arrays, standard input. The main thread copies it
 * into text areas and cuts it between records; other threads parse.
 *
 * Separated values are parsed one piece after the other, each to its last whole record, since only
 * the parser knows where records end in text that may be damaged; sorting and unpacking go on beside
 * it. Lines and elements of arrays are cut here and parsed side by side.
 */

import type { RecordFormat } from './load-jobs.js';
import { RECORD_BYTES_MAX, textAddress } from './load-memory.js';
import type { LoadSession } from './load-session.js';
import { type ParsedPiece, PieceOrder } from './piece-order.js';
import { ElementCutter, LineCutter, type TextCutter } from './text-cutter.js';
import type { TextFeed } from './text-feed.js';
import { decideTextFormat, HEAD_BYTES, type TextFormat } from './text-format.js';

/** In front of a piece: room for what the piece before could not finish. */
const CARRY_BYTES = RECORD_BYTES_MAX;
const SLACK_BYTES = 64;
const NEWLINE = 0x0a;

/** Loads a stream of text; returns how it was read. `name`: for its extension. */
export async function loadText(
  session: LoadSession,
  feed: TextFeed,
  name: string | undefined,
): Promise<TextFormat> {
  const { kernel, layout, options, rejects, target, texts } = session;
  const text = await texts.acquire();
  const base = textAddress(layout, text);
  const start = base + CARRY_BYTES;
  const headBytes = Math.min(HEAD_BYTES, session.rangeBytes);
  const bytes = await feed.fill(kernel.bytes.subarray(start, start + headBytes));
  const format = decideTextFormat(
    {
      kernel,
      address: start,
      bytes,
      isWhole: feed.isAtEnd,
      name,
      work: session.workArea(),
      keyAsJson: target.keyEncoding.kind === 'json',
      valueAsJson: target.valueEncoding.kind === 'json',
    },
    options,
    rejects,
  );
  const head = { text, start: CARRY_BYTES + format.dataOffset, end: CARRY_BYTES + bytes };
  const order = new PieceOrder(session, format.dataLine);
  const loader = new TextLoader(session, feed, order);
  if (format.records.kind === 'csv') await loader.loadInTurn(head, format.records);
  else await loader.loadCut(head, format.records);
  return format;
}

/** A text area and the part of it that holds text. */
interface Area {
  readonly text: number;
  readonly start: number;
  readonly end: number;
}

class TextLoader {
  readonly #session: LoadSession;
  readonly #feed: TextFeed;
  readonly #order: PieceOrder;
  readonly #queue: { readonly text: number; readonly parsed: Promise<ParsedPiece> }[] = [];

  constructor(session: LoadSession, feed: TextFeed, order: PieceOrder) {
    this.#session = session;
    this.#feed = feed;
    this.#order = order;
  }

  async loadInTurn(head: Area, format: RecordFormat): Promise<void> {
    const { texts } = this.#session;
    let area = await this.#fill(head, this.#session.rangeBytes);
    while (true) {
      const isLast = this.#feed.isAtEnd;
      const parsing = this.#parse(area, format, isLast);
      parsing.catch(() => {});
      const next = isLast ? undefined : this.#fillNext();
      next?.catch(() => {});
      const place = await this.#order.accept(await parsing);
      this.#session.progress.maybeReport();
      if (next === undefined) {
        texts.release(area.text);
        return;
      }
      const following = await next;
      const carried = area.end - place;
      this.#copy(area.text, place, following.text, following.start - carried, carried);
      texts.release(area.text);
      area = { ...following, start: following.start - carried };
    }
  }

  async loadCut(head: Area, format: Exclude<RecordFormat, { kind: 'csv' }>): Promise<void> {
    const { kernel, rejects, texts } = this.#session;
    const cutter: TextCutter =
      format.kind === 'lines'
        ? new LineCutter(kernel)
        : new ElementCutter(kernel, this.#session.workArea());
    let area = await this.#fill(head, this.#session.rangeBytes);
    area = { ...area, start: this.#placeOf(area, cutter.begin(...this.#addresses(area))) };
    while (true) {
      const isLast = this.#feed.isAtEnd;
      const [start] = this.#addresses(area);
      const cut = cutter.cut(...this.#addresses(area), isLast);
      if (cut.fault !== undefined) {
        const { address, reason } = cut.fault;
        // A record in front of the fault may be one, and counts first.
        await this.#drain();
        const lines = kernel.exports.textCount(start, address - start, NEWLINE);
        throw rejects.errorAt(this.#order.line + lines, reason);
      }
      const end = this.#placeOf(area, cut.end);
      const next = this.#placeOf(area, cut.next);
      const isEnd = isLast && next >= area.end;
      if (end > area.start) {
        const piece = { ...area, end };
        const records = format.kind === 'elements' ? { ...format, last: cut.isLast } : format;
        const parsed = this.#parse(piece, records, true);
        parsed.catch(() => {});
        this.#queue.push({ text: area.text, parsed });
        if (isEnd) break;
        const carried = area.end - next;
        const text = await texts.acquire();
        this.#copy(area.text, next, text, CARRY_BYTES - carried, carried);
        cutter.moved(textAddress(this.#session.layout, text) + CARRY_BYTES - carried);
        area = { text, start: CARRY_BYTES - carried, end: CARRY_BYTES };
      } else {
        area = { ...area, start: next };
        if (isEnd) {
          texts.release(area.text);
          break;
        }
        if (area.end - area.start >= RECORD_BYTES_MAX) {
          await this.#drain();
          throw rejects.errorAt(this.#order.line, `longer than ${RECORD_BYTES_MAX} bytes`);
        }
        area = this.#moveToFront(area, cutter);
      }
      area = await this.#fill(area, this.#session.rangeBytes);
      while (this.#queue.length > this.#session.jobs) await this.#acceptNext();
    }
    await this.#drain();
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) await this.#acceptNext();
  }

  async #acceptNext(): Promise<void> {
    const piece = this.#queue.shift();
    if (piece === undefined) return;
    await this.#order.accept(await piece.parsed);
    this.#session.texts.release(piece.text);
    this.#session.progress.maybeReport();
  }

  #parse({ text, start, end }: Area, format: RecordFormat, final: boolean): Promise<ParsedPiece> {
    return this.#order.parse(
      {
        text,
        offset: 0,
        loaded: end,
        path: undefined,
        final,
        stop: end,
        first: start,
        inQuotes: false,
      },
      format,
    );
  }

  /** Adds up to `bytes` bytes from the stream behind what an area holds, as far as there is room. */
  async #fill(area: Area, bytes: number): Promise<Area> {
    const { kernel, layout } = this.#session;
    const base = textAddress(layout, area.text);
    const room = layout.textBytes - SLACK_BYTES - area.end;
    const from = base + area.end;
    const target = kernel.bytes.subarray(from, from + Math.min(bytes, room));
    return { ...area, end: area.end + (await this.#feed.fill(target)) };
  }

  async #fillNext(): Promise<Area> {
    const text = await this.#session.texts.acquire();
    return this.#fill({ text, start: CARRY_BYTES, end: CARRY_BYTES }, this.#session.rangeBytes);
  }

  /** Makes room for a record that is longer than a piece. */
  #moveToFront(area: Area, cutter: TextCutter): Area {
    const { layout, rangeBytes } = this.#session;
    if (layout.textBytes - SLACK_BYTES - area.end >= rangeBytes) return area;
    this.#copy(area.text, area.start, area.text, 0, area.end - area.start);
    cutter.moved(textAddress(layout, area.text));
    return { ...area, start: 0, end: area.end - area.start };
  }

  #addresses(area: Area): [start: number, end: number] {
    const base = textAddress(this.#session.layout, area.text);
    return [base + area.start, base + area.end];
  }

  #placeOf(area: Area, address: number): number {
    return address - textAddress(this.#session.layout, area.text);
  }

  #copy(from: number, place: number, to: number, toPlace: number, bytes: number): void {
    const { kernel, layout } = this.#session;
    const start = textAddress(layout, from) + place;
    kernel.bytes.copyWithin(textAddress(layout, to) + toPlace, start, start + bytes);
  }
}
