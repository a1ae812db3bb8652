/** How far a check, or a repair, is: a bar that is redrawn on a terminal, otherwise a line now and then. */

import type { WriteStream } from 'node:tty';
import type { CheckProgress, RepairProgress } from '../index.js';
import { formatBytes, formatCount, formatSeconds } from './number-format.js';
import { bar, LiveLines, type Paint, painterFor } from './terminal.js';

/** Between two lines of a log. */
const LOG_INTERVAL_MS = 5000;
const BAR_WIDTH = 30;

export interface ReadingProgressOptions {
  readonly quiet: boolean;
  readonly verb?: string;
  readonly nowMs?: () => number;
}

export class CheckProgressView {
  readonly #stream: WriteStream;
  readonly #quiet: boolean;
  readonly #paint: Paint;
  readonly #live: LiveLines | undefined;
  readonly #verb: string;
  readonly #nowMs: () => number;
  readonly #startedAtMs: number;
  #loggedAtMs: number;

  constructor(
    stream: WriteStream,
    { quiet, verb = 'checking', nowMs = () => performance.now() }: ReadingProgressOptions,
  ) {
    this.#verb = verb;
    this.#stream = stream;
    this.#quiet = quiet;
    this.#paint = painterFor(stream);
    this.#live = stream.isTTY && !quiet ? new LiveLines(stream) : undefined;
    this.#nowMs = nowMs;
    this.#startedAtMs = nowMs();
    this.#loggedAtMs = this.#startedAtMs;
  }

  show({ bytes, bytesTotal, ...progress }: CheckProgress | RepairProgress): void {
    if (this.#quiet || bytesTotal === 0) return;
    const nowMs = this.#nowMs();
    const share = bytes / bytesTotal;
    const seconds = (nowMs - this.#startedAtMs) / 1000;
    const percent = `${Math.floor(share * 100)} %`;
    const counts =
      'blocks' in progress
        ? `${formatCount(progress.blocks)} of ${formatCount(progress.blocksTotal)} blocks`
        : `${formatBytes(bytes)} of ${formatBytes(bytesTotal)}`;
    const rate = seconds > 0 ? `, ${formatBytes(bytes / seconds)}/s` : '';
    // Too early to tell.
    const known = share > 0.02 && share < 1 && seconds > 0.5;
    const left = known ? `, ${formatSeconds((seconds * (1 - share)) / share)} left` : '';
    if (this.#live !== undefined) {
      const filled = this.#paint('cyan', bar(share, BAR_WIDTH, '·'));
      this.#live.draw([`${this.#verb} ${filled} ${percent.padStart(5)}  ${counts}${rate}${left}`]);
    } else if (nowMs - this.#loggedAtMs >= LOG_INTERVAL_MS) {
      this.#loggedAtMs = nowMs;
      this.#stream.write(`${this.#verb} ${percent}, ${counts}${rate}${left}\n`);
    }
  }

  /** Removes the bar; what is printed next stands in its place. Idempotent. */
  end(): void {
    this.#live?.clear();
  }
}
