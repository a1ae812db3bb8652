/**
 * What was promised to the clients of a database, and whether what it holds keeps to that.
 *
 * A write is *acknowledged*, with its sequence number; *refused*, and must not take place; or
 * *unknown*: its number, if it got one, lies in the window in which it was under way.
 */

import { applyWrite, type Contents, type Write } from './script.js';

interface Acknowledged {
  readonly sequence: number;
  readonly write: Write;
}

interface Unknown {
  readonly write: Write;
  /** It took none of the numbers up to this one. */
  after: number;
}

export type Demand =
  /** Every acknowledged write is there. */
  | { readonly kind: 'all' }
  /** The writes up to some sequence number are there, at least up to this one, and none above it. */
  | { readonly kind: 'prefix'; readonly from: number };

/** More writes than this are never of unknown outcome at once: all subsets are tried. */
const UNKNOWN_MAX = 12;

export class Account {
  readonly #acknowledged: Acknowledged[] = [];
  #unknown: Unknown[] = [];
  /** What was found at an open counts as acknowledged from then on. */
  #base = new Map<string, string>();
  /** A power loss may not take what comes up to this sequence number. */
  durableSequence = 0;

  acknowledge(write: Write, sequence: number): void {
    this.#acknowledged.push({ write, sequence });
    this.#acknowledged.sort((left, right) => left.sequence - right.sequence);
  }

  doubt(write: Write, after: number): void {
    this.#unknown.push({ write, after });
  }

  /**
   * Opened again: numbers go on after `sequence`. Some above it may have been handed out before, to
   * records that are no commits.
   */
  reopen(sequence: number): void {
    this.durableSequence = Math.min(this.durableSequence, sequence);
    for (const unknown of this.#unknown) unknown.after = Math.min(unknown.after, sequence);
  }

  /** Everything that is there now is known and durable. */
  settle(found: Contents, sequence: number): void {
    this.#base = new Map(found);
    this.#acknowledged.length = 0;
    this.#unknown = [];
    this.durableSequence = sequence;
  }

  /** Whether a key may have the value now, when nothing was lost. */
  allows(place: string, value: string | undefined): boolean {
    if (this.#contents(this.#acknowledged.length, []).get(place) === value) return true;
    return this.#unknown.some(({ write }) => {
      const contents = new Map<string, string>([[place, 'what was there']]);
      applyWrite(contents, write);
      return contents.get(place) === value;
    });
  }

  /** What is wrong with `found`; undefined when it is right. */
  fault(found: Contents, demand: Demand): string | undefined {
    const count = this.#acknowledged.length;
    const least =
      demand.kind === 'all'
        ? count
        : this.#acknowledged.filter(({ sequence }) => sequence <= demand.from).length;
    if (this.#unknown.length > UNKNOWN_MAX) return 'too many writes of unknown outcome';
    for (let length = count; length >= least; length--) {
      if (this.#matches(found, length)) return undefined;
    }
    return this.#describe(found, least);
  }

  /** Whether `found` is what the first `length` acknowledged writes and some unknown ones leave. */
  #matches(found: Contents, length: number): boolean {
    const next = this.#acknowledged[length]?.sequence ?? Number.POSITIVE_INFINITY;
    const possible = this.#unknown.filter(({ after }) => after < next);
    for (let subset = 0; subset < 1 << possible.length; subset++) {
      const present = possible.filter((_, i) => (subset & (1 << i)) !== 0);
      if (isSame(found, this.#contents(length, present))) return true;
    }
    return false;
  }

  #contents(length: number, present: readonly Unknown[]): Contents {
    const all = [
      ...this.#acknowledged
        .slice(0, length)
        .map(({ write, sequence }) => ({ write, at: sequence })),
      // Writes of one window have no keys in common: where it stands in there does not matter.
      ...present.map(({ write, after }) => ({ write, at: after + 0.5 })),
    ].sort((left, right) => left.at - right.at);
    const contents = new Map(this.#base);
    for (const { write } of all) applyWrite(contents, write);
    return contents;
  }

  #describe(found: Contents, least: number): string {
    const expected = this.#contents(this.#acknowledged.length, []);
    const places = [...new Set([...found.keys(), ...expected.keys()])];
    const differing = places.filter((place) => found.get(place) !== expected.get(place));
    const shown = differing
      .slice(0, 4)
      .map((place) => `${place} ${idOf(found.get(place))} not ${idOf(expected.get(place))}`);
    return `${differing.length} keys differ from ${this.#acknowledged.length} acknowledged writes (least ${least}, unknown ${this.#unknown.map(({ write }) => write.id)}): ${shown.join(', ')}`;
  }
}

function idOf(value: string | undefined): string {
  return value === undefined ? 'nothing' : `#${value.split(':', 2).join('.')}`;
}

function isSame(left: Contents, right: Contents): boolean {
  if (left.size !== right.size) return false;
  for (const [place, value] of left) if (right.get(place) !== value) return false;
  return true;
}
