/** The table of targets: our figure, the best peer's, their ratio, and what it should be. */

import type { Measurement } from '../src/cli/bench/measurement.js';
import { NULL_STORE } from '../src/cli/bench/null-store.js';
import { type BenchResult, type StoreResult, summaryOf } from '../src/cli/bench/result.js';
import { formatCount } from '../src/cli/number-format.js';
import { table } from '../src/cli/terminal.js';
import { TARGETS, type Target } from './targets.js';

export interface TargetOutcome {
  readonly target: Target;
  readonly own: number;
  readonly best: { readonly store: string; readonly value: number } | undefined;
  readonly ratio: number | undefined;
  /** Both of the target's conditions hold; undefined without a peer. */
  readonly met: boolean | undefined;
}

export function targetOutcomes(result: BenchResult): TargetOutcome[] {
  const [own, ...others] = result.stores;
  if (own === undefined) return [];
  const peers = others.filter(({ name }) => name !== NULL_STORE);
  return TARGETS.flatMap((target) => {
    const value = targetValue(own, target);
    return value === undefined ? [] : [outcomeOf(target, value, peers)];
  });
}

function outcomeOf(target: Target, own: number, peers: readonly StoreResult[]): TargetOutcome {
  const less = target.figure !== undefined;
  const [best] = peers
    .flatMap((peer) => {
      const value = targetValue(peer, target);
      return value === undefined ? [] : [{ store: peer.name, value }];
    })
    .sort((a, b) => (less ? a.value - b.value : b.value - a.value));
  const ratio = best === undefined ? undefined : own / best.value;
  const enough = target.perSecond === undefined || own >= target.perSecond;
  const met =
    ratio === undefined
      ? undefined
      : (less ? ratio <= target.ratio : ratio >= target.ratio) && enough;
  return { target, own, best, ratio, met };
}

function targetValue(store: StoreResult, { workload, figure }: Target): number | undefined {
  const summary = summaryOf(store, workload);
  if (summary === undefined) return undefined;
  const value: (m: Measurement) => number | undefined = figure ?? ((m) => m.perSecond);
  return value(summary.median);
}

export function targetTable(result: BenchResult): string[] {
  const header = ['ours', 'best peer', 'ratio', 'target', '', ''];
  const rows = targetOutcomes(result).map(({ target, own, best, ratio, met }) => [
    formatCount(own),
    best === undefined ? '' : formatCount(best.value),
    ratio === undefined ? '' : `${ratio.toFixed(2)} ×`,
    targetText(target),
    met === undefined ? '' : met ? 'met' : 'short',
    `${target.title}${best === undefined ? '' : ` (${best.store})`}`,
  ]);
  return table([header, ...rows]);
}

export function targetText({ ratio, perSecond, figure }: Target): string {
  const bound = `${figure === undefined ? '≥' : '≤'} ${ratio.toFixed(1)} ×`;
  return perSecond === undefined ? bound : `${bound}, ≥ ${formatCount(perSecond)}`;
}
