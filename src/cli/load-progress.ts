/**
 * How far a load is: bars that are redrawn on a terminal, otherwise a line now and then.
 */

import type { WriteStream } from 'node:tty';
import type { BulkLoadPhase, BulkLoadProgress } from '../index.js';
import {
  formatBytes,
  formatCount,
  formatRate,
  formatSeconds,
  formatShare,
} from './number-format.js';
import { bar, LiveLines, type Paint, painterFor, sparkline } from './terminal.js';

/** Between two lines of a log. */
const LOG_INTERVAL_MS = 5000;
const BAR_WIDTH = 30;
/** Shares that fit in a line. */
const SHARES_SHOWN_MAX = 6;

const PHASE_NAMES: Readonly<Record<BulkLoadPhase, string>> = {
  open: 'opening',
  read: 'reading',
  merge: 'building',
  link: 'linking',
  done: 'done',
};

export class LoadProgress {
  readonly #stream: WriteStream;
  readonly #quiet: boolean;
  readonly #paint: Paint;
  readonly #live: LiveLines | undefined;
  #loggedAtMs = performance.now();
  #mergeStartedAtSeconds: number | undefined;

  constructor(stream: WriteStream, { quiet }: { readonly quiet: boolean }) {
    this.#stream = stream;
    this.#quiet = quiet;
    this.#paint = painterFor(stream);
    this.#live = stream.isTTY && !quiet ? new LiveLines(stream) : undefined;
  }

  show(progress: BulkLoadProgress): void {
    if (this.#quiet) return;
    if (progress.phase === 'merge') this.#mergeStartedAtSeconds ??= progress.seconds;
    const share = this.#share(progress);
    if (this.#live !== undefined) {
      this.#live.draw(this.#lines(progress, share));
    } else if (performance.now() - this.#loggedAtMs >= LOG_INTERVAL_MS) {
      this.#loggedAtMs = performance.now();
      this.#stream.write(`${logLine(progress, share, this.#secondsLeft(progress, share))}\n`);
    }
  }

  /** Removes the bars; what is printed next stands in their place. Idempotent. */
  end(): void {
    this.#live?.clear();
  }

  /** Share of the phase that is done; undefined when nobody can know. */
  #share({ phase, bytes, bytesTotal, mergedShare }: BulkLoadProgress): number | undefined {
    if (phase === 'merge') return mergedShare;
    if (phase === 'link' || phase === 'done') return 1;
    if (phase !== 'read') return undefined;
    return bytesTotal === undefined || bytesTotal === 0
      ? undefined
      : Math.min(1, bytes / bytesTotal);
  }

  #secondsLeft(
    { phase, seconds }: BulkLoadProgress,
    share: number | undefined,
  ): number | undefined {
    const elapsed = seconds - (phase === 'merge' ? (this.#mergeStartedAtSeconds ?? 0) : 0);
    // Too early to tell.
    if (share === undefined || share < 0.02 || share === 1 || elapsed < 0.5) return undefined;
    return (elapsed * (1 - share)) / share;
  }

  #lines(progress: BulkLoadProgress, share: number | undefined): string[] {
    const { phase, records, rejected, bytes, seconds, shardRecords } = progress;
    const left = this.#secondsLeft(progress, share);
    const name = PHASE_NAMES[phase].padEnd(8);
    const filled = this.#paint('cyan', bar(share ?? 0, BAR_WIDTH, '·'));
    const percent = share === undefined ? '' : `${Math.floor(share * 100)} %`.padStart(5);
    const time =
      left === undefined ? formatSeconds(seconds) : `${formatSeconds(left)} left in this step`;
    const wrong =
      rejected > 0 ? `  ${this.#paint('red', `${formatCount(rejected)} rejected`)}` : '';
    const rates = `${formatRate(records / seconds)}  ${formatBytes(bytes / seconds)}/s`;
    const lines = [
      `${name} ${filled} ${percent}  ${this.#paint('dim', time)}`,
      `         ${formatCount(records)} records  ${rates}${wrong}`,
    ];
    const balance = balanceOf(shardRecords);
    if (balance !== undefined) lines.push(this.#paint('dim', `         shards ${balance}`));
    return lines;
  }
}

/** `▇█  49.8 %  50.2 %`: each shard's records; of many shards the least and greatest share. */
function balanceOf(shardRecords: readonly number[]): string | undefined {
  const total = shardRecords.reduce((sum, records) => sum + records, 0);
  if (total === 0 || shardRecords.length < 2) return undefined;
  if (shardRecords.length <= SHARES_SHOWN_MAX) {
    const shares = shardRecords.map((records) => formatShare(records / total));
    return `${sparkline(shardRecords)}  ${shares.join('  ')}`;
  }
  const least = formatShare(Math.min(...shardRecords) / total);
  const greatest = formatShare(Math.max(...shardRecords) / total);
  return `${sparkline(shardRecords)}  ${least} to ${greatest} each`;
}

function logLine(
  { phase, records, rejected, bytes, seconds }: BulkLoadProgress,
  share: number | undefined,
  secondsLeft: number | undefined,
): string {
  const parts = [
    `${PHASE_NAMES[phase]}${share === undefined ? '' : ` ${Math.floor(share * 100)} %`}`,
    `${formatCount(records)} records`,
    formatRate(records / seconds),
    `${formatBytes(bytes / seconds)}/s`,
  ];
  if (rejected > 0) parts.push(`${formatCount(rejected)} rejected`);
  if (secondsLeft !== undefined) parts.push(`${formatSeconds(secondsLeft)} left in this step`);
  return parts.join(', ');
}
