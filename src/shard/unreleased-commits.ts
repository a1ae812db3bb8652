/**
 * Commits over several shards that are applied here and may not be released yet: keeps H_UNSETTLED at
 * or below the lowest of their numbers, so that latest reads ask the transaction table about them.
 */

import type { Kernel } from '../kernel/kernel.js';
import { isSameCommit, type TransactionTable } from '../router/transaction-table.js';

export interface AppliedCommit {
  readonly slot: number;
  readonly word: number;
  readonly sequence: number;
}

export class UnreleasedCommits {
  readonly #kernel: Kernel;
  readonly #table: TransactionTable;
  /** By ascending number: a shard applies them in that order. */
  readonly #commits: AppliedCommit[] = [];

  constructor(kernel: Kernel, table: TransactionTable) {
    this.#kernel = kernel;
    this.#table = table;
  }

  get isEmpty(): boolean {
    return this.#commits.length === 0;
  }

  /** Before any of it enters the memtable. */
  add(commit: AppliedCommit): void {
    if (this.isEmpty) this.#kernel.exports.unsettledFrom(commit.sequence);
    this.#commits.push(commit);
  }

  /** Latest reads need not ask about what is released by now. */
  look(): void {
    if (this.isEmpty) return;
    let released = 0;
    for (; released < this.#commits.length; released++) {
      const { slot, word } = this.#commits[released] as AppliedCommit;
      if (isSameCommit(this.#table.word(slot), word)) break;
    }
    if (released === 0) return;
    this.#commits.splice(0, released);
    this.#kernel.exports.unsettledFrom(this.#commits[0]?.sequence ?? -1);
  }
}
