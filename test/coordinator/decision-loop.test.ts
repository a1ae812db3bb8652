/** What a coordinator finds in the transaction table when it takes another's place. */

import { describe, expect, it } from 'vitest';
import type { DecisionLog } from '../../src/coordinator/decision-log.js';
import { DecisionLoop } from '../../src/coordinator/decision-loop.js';
import type { Decision } from '../../src/coordinator/log-format.js';
import { NoSpaceError } from '../../src/errors.js';
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
  const decisions = new Map<number, Decision>();
  const log = {
    decisions,
    poison: undefined,
    hold: () => undefined,
    letGo: () => undefined,
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
  return { control, loop, log, decisions, written, rung, prepared };
}

describe('commits of one client', () => {
  it('are decided in the order in which they were asked for, whatever their slots', () => {
    const { control, loop, prepared, written } = place();
    const refused = prepared(3, [0, 1]);
    prepared(4, [0, 1]);
    prepared(5, [0, 1]);
    // Its slot is free again for the last of them.
    control.transactions.abort(refused.slot, refused.word, ABORT_LOG);
    for (const shard of [0, 1]) control.transactions.letGo(refused.slot, refused.word, shard);
    expect(prepared(6, [0, 1]).slot).toBe(refused.slot);
    loop.turn();
    expect(written.map(({ id }) => id)).toEqual([4, 5, 6]);
    const sequences = written.map(({ sequence }) => sequence);
    expect([...sequences].sort((a, b) => a - b)).toEqual(sequences);
  });

  it('are decided with those before them that are prepared and not marked yet', () => {
    const { control, loop, prepared, written } = place();
    prepared(11, [0, 1]);
    prepared(12, [1]);
    // Who voted last for these has not come to marking them.
    control.transactions.takeReady([]);
    prepared(13, [0, 1]);
    prepared(14, [0, 1]);
    loop.turn();
    expect(written.map(({ id }) => id)).toEqual([11, 12, 13, 14]);
    expect(loop.turn()).toBe(false);
  });

  it('that are not prepared hold up nobody', () => {
    const { control, loop, prepared, written } = place();
    const slot = control.transactions.claim(0);
    control.transactions.begin(slot, 21, 0b1000, 0);
    prepared(22, [0, 1]);
    loop.turn();
    expect(written.map(({ id }) => id)).toEqual([22]);
  });
});

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

  it('keeps to what stands in the log already, though nothing more can be written there', () => {
    const { control, loop, log, decisions, prepared, rung } = place();
    const [first, second] = [prepared(7, [0, 1]), prepared(8, [1, 2])];
    for (const { slot, word } of [first, second]) {
      control.transactions.setSequence(slot, control.allocateDecisions(1), 1);
      control.transactions.decide(slot, word);
    }
    decisions.set(7, {
      id: 7,
      sequence: control.transactions.sequence(first.slot),
      timestampUs: 1,
      participants: 3n,
    });
    log.appendDecisions = (): never => {
      throw new NoSpaceError('No room');
    };
    loop.takeOver();
    expect(stateOf(control.transactions.word(first.slot))).toBe(TRANSACTION_COMMITTED);
    expect(stateOf(control.transactions.word(second.slot))).toBe(TRANSACTION_ABORTED);
    expect([...rung].sort()).toEqual([0, 1, 2]);
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
