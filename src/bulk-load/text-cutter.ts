/** Finds where text that is not all there yet can be cut between two records. */

import {
  JSON_CLOSED,
  JSON_CURSOR,
  JSON_DEPTH,
  JSON_ELEMENT,
  JSON_ELEMENTS_MAX,
  JSON_END,
  JSON_IN_STRING,
  JSON_OUT,
  JSON_STATE_BYTES,
} from '../kernel/assembly/load-layout.js';
import type { Kernel } from '../kernel/kernel.js';
import type { WorkArea } from './work-area.js';

const NEWLINE = 0x0a;
const BRACKET = 0x5b;
const COMMA = 0x2c;

export interface TextCut {
  /** Records up to here are whole. */
  readonly end: number;
  /** Where the following text begins. */
  readonly next: number;
  /** Arrays: the last element is among them. */
  readonly isLast: boolean;
  /** The text cannot be what it should be. */
  readonly fault?: { readonly address: number; readonly reason: string };
}

export interface TextCutter {
  /** Address of the first record, given the start of the text. */
  begin(start: number, end: number): number;
  /** `isLast`: no text follows. `start` is where the last cut ended. */
  cut(start: number, end: number, isLast: boolean): TextCut;
  /** What follows the last cut has been copied to another address. */
  moved(start: number): void;
}

export class LineCutter implements TextCutter {
  readonly #kernel: Kernel;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  begin(start: number): number {
    return start;
  }

  cut(start: number, end: number, isLast: boolean): TextCut {
    if (isLast) return { end, next: end, isLast };
    const newline = this.#kernel.bytes.subarray(start, end).lastIndexOf(NEWLINE);
    const cut = start + newline + 1;
    return { end: cut, next: cut, isLast };
  }

  moved(): void {}
}

/** Between the elements of a JSON array. */
export class ElementCutter implements TextCutter {
  readonly #kernel: Kernel;
  readonly #state: number;
  #isOpen = false;
  #isClosed = false;
  #hasElements = false;

  constructor(kernel: Kernel, work: WorkArea) {
    this.#kernel = kernel;
    this.#state = work.allocate(JSON_STATE_BYTES);
  }

  begin(start: number, end: number): number {
    const first = this.#skipBlanks(start, end);
    this.#isOpen = first < end && this.#kernel.bytes[first] === BRACKET;
    const address = this.#isOpen ? first + 1 : start;
    this.#set(JSON_CURSOR, address);
    this.#set(JSON_ELEMENT, address);
    this.#set(JSON_DEPTH, 1);
    this.#set(JSON_IN_STRING, 0);
    this.#set(JSON_OUT, 0);
    this.#set(JSON_ELEMENTS_MAX, 0xffffffff);
    this.#set(JSON_CLOSED, 0);
    return address;
  }

  cut(start: number, end: number, isLast: boolean): TextCut {
    const fault = (address: number, reason: string): TextCut => ({
      end: start,
      next: start,
      isLast: false,
      fault: { address, reason },
    });
    if (!this.#isOpen)
      return fault(start, 'the text is not a JSON array: it does not begin with "["');
    if (this.#isClosed) return this.#expectBlanks(start, end, fault);
    this.#set(JSON_END, end);
    this.#kernel.exports.jsonScan(this.#state);
    const closed = this.#get(JSON_CLOSED);
    if (closed === 0) {
      if (isLast) return fault(end, 'the JSON array has no end');
      const element = this.#get(JSON_ELEMENT);
      if (element > start) this.#hasElements = true;
      return { end: element, next: element, isLast: false };
    }
    this.#isClosed = true;
    const last = this.#lastInside(start, closed - 1);
    const byte = last < start ? undefined : this.#kernel.bytes[last];
    if (byte === COMMA || (byte === undefined && this.#hasElements)) {
      return fault(closed - 1, 'the last element of the JSON array is missing');
    }
    const rest = this.#expectBlanks(closed, end, fault);
    if (rest.fault !== undefined) return rest;
    return { end: byte === undefined ? start : closed - 1, next: end, isLast: true };
  }

  moved(start: number): void {
    const scanned = this.#get(JSON_CURSOR) - this.#get(JSON_ELEMENT);
    this.#set(JSON_ELEMENT, start);
    this.#set(JSON_CURSOR, start + scanned);
  }

  #expectBlanks(
    start: number,
    end: number,
    fault: (address: number, reason: string) => TextCut,
  ): TextCut {
    const first = this.#skipBlanks(start, end);
    if (first < end) return fault(first, 'there is text behind the end of the JSON array');
    return { end: start, next: end, isLast: true };
  }

  #skipBlanks(start: number, end: number): number {
    let at = start;
    while (at < end && isBlank(this.#kernel.bytes[at] as number)) at++;
    return at;
  }

  /** The last byte in [start, end) that is not blank, or `start - 1`. */
  #lastInside(start: number, end: number): number {
    let at = end - 1;
    while (at >= start && isBlank(this.#kernel.bytes[at] as number)) at--;
    return at;
  }

  #get(field: number): number {
    return this.#kernel.u32[(this.#state + field) >>> 2] as number;
  }

  #set(field: number, value: number): void {
    this.#kernel.u32[(this.#state + field) >>> 2] = value;
  }
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
