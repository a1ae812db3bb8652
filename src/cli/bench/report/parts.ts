/** What sections of the report share. */

import { formatRate } from '../../number-format.js';
import { NULL_STORE } from '../null-store.js';
import { type BenchResult, type StoreResult, summariesOf } from '../result.js';

/** Stores that were measured; the harness is none. */
export function storesOf({ stores }: BenchResult): StoreResult[] {
  return stores.filter(({ name }) => name !== NULL_STORE);
}

/** The colour of the store, or part, at an index. */
export const colourOf = (index: number): string => `s${Math.min(index, 5)}`;

export function workloadNames(stores: readonly StoreResult[]): string[] {
  return [...new Set(stores.flatMap((store) => summariesOf(store).map(({ name }) => name)))];
}

/** 1.2 M: for axes. */
export const shortRate = (perSecond: number): string =>
  perSecond === 0 ? '0' : formatRate(perSecond).replace('/s', '').trim();

export function htmlTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[], tag: 'td' | 'th'): string =>
    `<tr>${cells.map((cell) => `<${tag}>${cell}</${tag}>`).join('')}</tr>`;
  return `<div class="scroll"><table><thead>${line(head, 'th')}</thead><tbody>${rows
    .map((row) => line(row, 'td'))
    .join('')}</tbody></table></div>`;
}

/** Names that stand for a duration: their rate says nothing. */
export function isDuration(name: string): boolean {
  return name === 'compacted' || name.startsWith('open after');
}
