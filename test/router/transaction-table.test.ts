import { describe, expect, it, vi } from 'vitest';
import { stateOf, TRANSACTION_FREE, TransactionTable } from '../../src/router/transaction-table.js';

describe('a slot of the transaction table', () => {
  it('comes free also when whoever took the last bit died before it freed it', () => {
    const table = new TransactionTable(new SharedArrayBuffer(TransactionTable.BYTES), 0);
    const slot = table.claim(1);
    const word = table.begin(slot, 7, 0b11, 0);
    table.prepared(slot, 0);
    table.prepared(slot, 1);
    table.setSequence(slot, 5, 0);
    table.decide(slot, word);
    table.commit(slot, word);
    expect(table.letGo(slot, word, 0)).toBe(false);
    const dies = vi.spyOn(Atomics, 'compareExchange').mockImplementationOnce(() => {
      throw new Error('The thread is ended');
    });
    expect(() => table.letGo(slot, word, 1)).toThrow();
    dies.mockRestore();
    expect(table.isUnreleased(5)).toBe(true);
    expect(table.letGo(slot, word, 0)).toBe(true);
    expect(stateOf(table.word(slot))).toBe(TRANSACTION_FREE);
    expect(table.letGo(slot, word, 0)).toBe(false);
    expect(table.isUnreleased(5)).toBe(false);
  });

  it('is not freed for another commit that has it by now', () => {
    const table = new TransactionTable(new SharedArrayBuffer(TransactionTable.BYTES), 0);
    const slot = table.claim(1);
    const word = table.begin(slot, 7, 0b1, 0);
    table.abort(slot, word, 0);
    expect(table.letGo(slot, word, 0)).toBe(true);
    expect(table.claim(1)).toBe(slot);
    const next = table.begin(slot, 8, 0b1, 0);
    table.abort(slot, next, 0);
    expect(table.letGo(slot, word, 0)).toBe(false);
    expect(table.concerns(slot, next, 0)).toBe(true);
  });
});
