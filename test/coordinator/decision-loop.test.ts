/** What a coordinator finds in the transaction table when it takes another's place. */

import { describe, expect, it } from 'vitest';
import type { DecisionLog } from '../../src/coordinator/decision-log.js';
import { DecisionLoop } from '../../src/coordinator/decision-loop.js';
import type { Decision } from '../../src/coordinator/log-format.js';
import { ControlBlock } from '../../src/router/control-block.js';
import {
  ABORT_LOG,
  stateOf,
  TRANSACTION_ABORTED,
  TRANSACTION_COMMITTED,
  TRANSACTION_UNKNOWN,
} from '../../src/router/transaction-table.js';

const SHARDS = 4;

function place() {
  const control = ControlBlock.create(SHARDS);
  const written: Decision[] = [];
  const rung = new Set<number>();
  const log = {
    poison: undefined,
    appendDecisions: (decisions: readonly Decision[]) => void written.push(...decisions),
  } as unknown as DecisionLog;
  const loop = new DecisionLoop({
    control,
    log,
    syncAlways: false,
    nowUs: () => 1,
    ringShard: (shard) => void rung.add(shard),
  });
  /** A commit over the shards, prepared by all. */
  const prepared = (id: number, shards: readonly number[]): { slot: number; word: number } => {
    const { transactions } = control;
    const slot = transactions.claim(0);
    const bits = shards.reduce((low, shard) => low | (1 << shard), 0);
    const word = transactions.begin(slot, id, bits, 0);
    for (const shard of shards) transactions.prepared(slot, shard);
    return { slot, word };
  };
  return { control, loop, written, rung, prepared };
}

describe('a coordinator that takes over', () => {
  it('tells the shards of commits that the one before decided and did not tell them of', () => {
    const { control, loop, rung, prepared, written } = place();
    const { slot, word } = prepared(1, [0, 2]);
    control.transactions.setSequence(slot, control.allocateDecisions(1), 1);
    control.transactions.decide(slot, word);
    control.transactions.commit(slot, word);
    loop.takeOver();
    expect([...rung].sort()).toEqual([0, 2]);
    expect(written).toEqual([]);
  });

  it('tells the shards of commits that the one before gave up', () => {
    const { control, loop, rung, prepared } = place();
    const { slot, word } = prepared(1, [1, 3]);
    control.transactions.abort(slot, word, ABORT_LOG);
    loop.takeOver();
    expect([...rung].sort()).toEqual([1, 3]);
  });

  it('decides again, under its number, what the one before had begun to decide', () => {
    const { control, loop, rung, prepared, written } = place();
    const { slot, word } = prepared(7, [0, 1]);
    const sequence = control.allocateDecisions(1);
    control.transactions.setSequence(slot, sequence, 1);
    control.transactions.decide(slot, word);
    loop.takeOver();
    expect(written).toMatchObject([{ id: 7, sequence, participants: 3n }]);
    expect(stateOf(control.transactions.word(slot))).toBe(TRANSACTION_COMMITTED);
    expect(control.isAllocatingDecisions).toBe(false);
    expect([...rung].sort()).toEqual([0, 1]);
  });

  it('decides what was prepared for the one before', () => {
    const { control, loop, prepared, written } = place();
    const { slot } = prepared(8, [1, 2]);
    control.transactions.takeReady([]);
    loop.takeOver();
    expect(loop.turn()).toBe(true);
    expect(written).toMatchObject([{ id: 8 }]);
    expect(stateOf(control.transactions.word(slot))).toBe(TRANSACTION_COMMITTED);
  });

  it('decides nothing while the outcome of an earlier commit is unknown', () => {
    const { control, loop, prepared, written, rung } = place();
    const { slot, word } = prepared(9, [0, 1]);
    control.transactions.setSequence(slot, control.allocateDecisions(1), 1);
    control.transactions.decide(slot, word);
    control.transactions.doubt(slot, word);
    const later = prepared(10, [2, 3]);
    loop.takeOver();
    loop.turn();
    expect(written).toEqual([]);
    expect(stateOf(control.transactions.word(slot))).toBe(TRANSACTION_UNKNOWN);
    expect(stateOf(control.transactions.word(later.slot))).toBe(TRANSACTION_ABORTED);
    expect([...rung].sort()).toEqual([2, 3]);
  });
});
