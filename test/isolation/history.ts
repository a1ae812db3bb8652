/**
 * What clients did and saw: the input of the checker. Every key holds a list; a transaction appends
 * elements, each of which is appended once in the whole history, and reads lists.
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

export type Operation = Append | Read;

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
