/** Histories made by hand: every anomaly is found by its name, and nothing is found where is none. */

import { describe, expect, it } from 'vitest';
import type { Attempt, Operation } from './history.js';
import { type AnomalyName, findAnomalies, violations } from './list-append-checker.js';

/** "a1" appends 1 to a; "r a 1 2" reads [1, 2] of a; "i s 1" inserts 1 into the set s; "s s 1" scans it. */
function operation(text: string): Operation {
  const [first = '', key = '', ...rest] = text.split(' ');
  if (first === 'i') return { kind: 'insert', key, element: Number(rest[0]) };
  if (first === 's') return { kind: 'range', key, list: rest.map(Number) };
  if (first === 'r') return { kind: 'read', key, list: rest.map(Number) };
  return { kind: 'append', key: first.slice(0, 1), element: Number(first.slice(1)) };
}

function attempt(
  text: string,
  outcome: Attempt['outcome'] = 'committed',
  times?: readonly [number, number],
): Attempt {
  const [began, ended] = times ?? [0, 1e9];
  return { client: 0, began, ended, outcome, operations: text.split(', ').map(operation) };
}

const names = (...history: Attempt[]): AnomalyName[] =>
  findAnomalies(history)
    .map(({ name }) => name)
    .sort();

describe('the checker finds nothing', () => {
  it('in a serial history', () => {
    expect(
      names(
        attempt('r a, a1, r a 1', 'committed', [0, 1]),
        attempt('r a 1, a2, b1', 'committed', [2, 3]),
        attempt('r a 1 2, r b 1', 'committed', [4, 5]),
        attempt('a3', 'aborted', [6, 7]),
        attempt('a4, b2', 'unknown', [8, 9]),
        attempt('r a 1 2 4, r b 1 2', 'committed', [10, 11]),
      ),
    ).toEqual([]);
  });

  it('in transactions that overlap and can be put in order', () => {
    expect(names(attempt('r a 1, r b'), attempt('a1'), attempt('r a 1, b1, r b 1'))).toEqual([]);
  });

  it('in a transaction of unknown outcome that nobody saw', () => {
    expect(names(attempt('a1', 'unknown'), attempt('r a'), attempt('r a'))).toEqual([]);
  });
});

describe('the checker names', () => {
  it('G0: writes in a circle', () => {
    const found = names(
      attempt('a1, b2'),
      attempt('a2, b1'),
      attempt('r a 1 2'),
      attempt('r b 1 2'),
    );
    expect(found).toContain('G0');
  });

  it('G1a: a read of an aborted write', () => {
    expect(names(attempt('a1', 'aborted'), attempt('r a 1'))).toEqual(['G1a']);
  });

  it('G1b: a read in the middle of a transaction', () => {
    const found = names(attempt('a1, a2'), attempt('r a 1'), attempt('r a 1 2'));
    expect(found).toContain('G1b');
  });

  it('G1c: information in a circle', () => {
    expect(names(attempt('a1, r b 1'), attempt('b1, r a 1'))).toEqual(['G1c']);
  });

  it('G-single and the fractured read: read skew', () => {
    expect(names(attempt('r a 1, r b'), attempt('a1, b1'), attempt('r b 1'))).toEqual([
      'G-single',
      'fractured read',
    ]);
  });

  it('G-nonadjacent: two anti-dependencies that are apart (long fork)', () => {
    const found = names(attempt('a1'), attempt('b1'), attempt('r a 1, r b'), attempt('r b 1, r a'));
    expect(found).toEqual(['G-nonadjacent']);
  });

  it('G2-item: write skew, which snapshot isolation allows', () => {
    const history = [attempt('r a, r b, a1'), attempt('r a, r b, b1'), attempt('r a 1, r b 1')];
    expect(names(...history)).toEqual(['G2-item']);
    expect(violations(history, 'snapshot')).toEqual([]);
    expect(violations(history, 'serializable').length).toBe(1);
  });

  it('G2: phantoms, which snapshot isolation allows', () => {
    const history = [attempt('s s, i s 1'), attempt('s s, i s 2'), attempt('s s 1 2')];
    expect(names(...history)).toEqual(['G2']);
    expect(violations(history, 'snapshot')).toEqual([]);
    expect(violations(history, 'serializable').length).toBe(1);
    expect(names(attempt('s s, a1'), attempt('r a, i s 1'), attempt('r a 1'))).toEqual(['G2']);
  });

  it('G-single of a predicate: a range that shows a commit, and a list that does not', () => {
    const found = names(attempt('s s, r a 1'), attempt('i s 1, a1'), attempt('s s 1'));
    expect(found).toEqual(['G-single-predicate', 'fractured read']);
    const history = [attempt('s s, r a 1'), attempt('i s 1'), attempt('s s 1, a1')];
    expect(names(...history)).toEqual(['G-single-predicate']);
    expect(violations(history, 'snapshot').length).toBe(1);
  });

  it('what a scan contradicts: own inserts, aborted ones, ones that are gone', () => {
    expect(names(attempt('i s 1, s s'))).toContain('internal');
    expect(names(attempt('s s 2, i s 1, s s 1 2'), attempt('i s 2'))).toEqual([]);
    expect(names(attempt('i s 1', 'aborted'), attempt('s s 1'))).toEqual(['G1a']);
    const gone = [attempt('i s 1', 'committed', [0, 1]), attempt('s s', 'committed', [2, 3])];
    expect(names(...gone)).toContain('lost update');
  });

  it('an internal contradiction', () => {
    expect(names(attempt('a1, r a'))).toContain('internal');
    expect(names(attempt('r a, a1, r a 1'))).toEqual([]);
    expect(names(attempt('r a, r a 1'), attempt('a1'))).toContain('internal');
  });

  it('a lost update: two that read one version', () => {
    expect(names(attempt('r a, a1'), attempt('r a, a2'), attempt('r a 1 2'))).toContain(
      'lost update',
    );
  });

  it('a lost update: an acknowledged append that is gone', () => {
    expect(
      names(attempt('a1', 'committed', [0, 1]), attempt('r a', 'committed', [2, 3])),
    ).toContain('lost update');
    expect(names(attempt('a1', 'committed', [0, 3]), attempt('r a', 'committed', [2, 3]))).toEqual(
      [],
    );
  });

  it('orders that do not fit together', () => {
    expect(names(attempt('a1'), attempt('a2'), attempt('r a 1 2'), attempt('r a 2'))).toContain(
      'incompatible order',
    );
  });

  it('elements that stand twice, or that nobody wrote', () => {
    expect(names(attempt('a1'), attempt('r a 1 1'))).toContain('duplicate element');
    expect(names(attempt('r a 7'))).toEqual(['garbage element']);
  });

  it('a stale read by the order of real time', () => {
    expect(
      names(
        attempt('a1', 'committed', [0, 1]),
        attempt('r a', 'committed', [2, 3]),
        attempt('r a 1', 'committed', [2, 9]),
      ),
    ).toEqual(expect.arrayContaining(['G-single-realtime']));
  });

  it('a transaction of unknown outcome that somebody saw as one that took effect', () => {
    expect(names(attempt('a1, b1', 'unknown'), attempt('r a 1, r b'), attempt('r b 1'))).toEqual([
      'G-single',
      'fractured read',
    ]);
  });

  it('the one cycle of a long history', () => {
    const history: Attempt[] = [];
    for (let n = 0; n < 3000; n++) {
      const key = String.fromCharCode(97 + (n % 20));
      const before = Array.from({ length: Math.floor(n / 20) }, (_, i) => i * 20 + (n % 20));
      const times = [n * 2, n * 2 + 1] as const;
      history.push(attempt(['r', key, ...before].join(' '), 'committed', times));
      history.push(attempt(`${key}${n}`, 'committed', times));
    }
    expect(names(...history)).toEqual([]);
    history.push(attempt('r x, r y, x1', 'committed', [7000, 7009]));
    history.push(attempt('r x, r y, y1', 'committed', [7000, 7009]));
    history.push(attempt('r x 1, r y 1', 'committed', [7010, 7011]));
    expect(names(...history)).toEqual(['G2-item']);
  });
});
