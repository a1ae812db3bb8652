/** Commits over several shards that cannot come to a decision are given up, and only those. */

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CommitWatch } from '../../src/router/commit-watch.js';
import { ControlBlock } from '../../src/router/control-block.js';
import {
  stateOf,
  TRANSACTION_ABORTED,
  TRANSACTION_DECIDING,
  TRANSACTION_PREPARING,
} from '../../src/router/transaction-table.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Two shards: one hangs, the other takes a turn whenever it is rung. */
function place() {
  const { transactions } = ControlBlock.create(2);
  const beats = [0, 0];
  const hangs = [false, true];
  const rings = [0, 0];
  const shards = [0, 1].map((shard) => ({
    heartbeat: () => beats[shard] as number,
    wake: () => {
      (rings[shard] as number)++;
      if (hangs[shard] === false) (beats[shard] as number)++;
    },
  }));
  const watch = new CommitWatch({ transactions, shards });
  const begin = (participants: number) => {
    const slot = transactions.claim(0);
    const word = transactions.begin(slot, slot + 1, participants, 0);
    const commit = { slot, word, givenUp: vi.fn() };
    watch.add(commit);
    return commit;
  };
  const stateIn = (slot: number): number => stateOf(transactions.word(slot));
  return { transactions, watch, begin, stateIn, hangs, rings };
}

describe('a commit over several shards', () => {
  it('is given up when a participant does not take a turn for ten seconds, no sooner', () => {
    const { begin, stateIn, transactions, watch } = place();
    const commit = begin(0b11);
    transactions.prepared(commit.slot, 0);
    vi.advanceTimersByTime(10_500);
    expect(stateIn(commit.slot)).toBe(TRANSACTION_PREPARING);
    vi.advanceTimersByTime(1000);
    expect(stateIn(commit.slot)).toBe(TRANSACTION_ABORTED);
    expect(commit.givenUp).toHaveBeenCalledTimes(1);
    expect(transactions.counts().aborted.timeout).toBe(1);
    expect(watch.isHung(1)).toBe(true);
    expect(watch.isHung(0)).toBe(false);
  });

  it('that is merely slow is waited for, however long', () => {
    const { begin, stateIn, watch } = place();
    const commit = begin(0b01);
    vi.advanceTimersByTime(600_000);
    expect(stateIn(commit.slot)).toBe(TRANSACTION_PREPARING);
    expect(commit.givenUp).not.toHaveBeenCalled();
    expect(watch.isHung(0)).toBe(false);
  });

  it('does not depend on shards that it is not waiting for', () => {
    const { begin, stateIn, rings } = place();
    const commit = begin(0b01);
    vi.advanceTimersByTime(60_000);
    expect(stateIn(commit.slot)).toBe(TRANSACTION_PREPARING);
    expect(rings[1]).toBe(0);
  });

  it('is given up when nobody decides it', () => {
    const { begin, stateIn, transactions } = place();
    const commit = begin(0b01);
    transactions.prepared(commit.slot, 0);
    vi.advanceTimersByTime(12_000);
    expect(stateIn(commit.slot)).toBe(TRANSACTION_ABORTED);
    expect(commit.givenUp).toHaveBeenCalledTimes(1);
  });

  it('is left alone once it is being decided', () => {
    const { begin, stateIn, transactions } = place();
    const commit = begin(0b01);
    transactions.prepared(commit.slot, 0);
    transactions.decide(commit.slot, commit.word);
    vi.advanceTimersByTime(60_000);
    expect(stateIn(commit.slot)).toBe(TRANSACTION_DECIDING);
    expect(commit.givenUp).not.toHaveBeenCalled();
  });

  it('is sent again to a shard that has come back', () => {
    const { begin, watch, hangs } = place();
    begin(0b10);
    vi.advanceTimersByTime(12_000);
    expect(watch.isHung(1)).toBe(true);
    hangs[1] = false;
    begin(0b10);
    vi.advanceTimersByTime(1000);
    expect(watch.isHung(1)).toBe(false);
  });

  it('costs no timer when it is over', () => {
    const { begin, watch } = place();
    watch.remove(begin(0b11));
    vi.advanceTimersByTime(1000);
    expect(vi.getTimerCount()).toBe(0);
  });
});
