/**
 * What clients did and saw: the input of the checker. A key holds a list, to which transactions append
 * elements; a set is a range of keys, one per element, into which they insert. Every element is
 * written once in the whole history.
 */

export interface Append {
  readonly kind: 'append';
  readonly key: string;
  readonly element: number;
}

export interface Read {
  readonly kind: 'read';
  readonly key: string;
  /** What was there; [] for a key that is missing. */
  readonly list: readonly number[];
}

export interface Insert {
  readonly kind: 'insert';
  /** The set. */
  readonly key: string;
  readonly element: number;
}

/** A scan over the whole range of a set: it depends on what is not there as well. */
export interface RangeRead {
  readonly kind: 'range';
  readonly key: string;
  readonly list: readonly number[];
}

export type Operation = Append | Read | Insert | RangeRead;

export interface Attempt {
  /** Who ran it, for messages. */
  readonly client: number;
  /** Times on one clock, for all clients: before the first call, after the last answer. */
  readonly began: number;
  readonly ended: number;
  /** 'unknown': the commit's answer never came. */
  readonly outcome: 'committed' | 'aborted' | 'unknown';
  readonly operations: readonly Operation[];
}

export type History = readonly Attempt[];
