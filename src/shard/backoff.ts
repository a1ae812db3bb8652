/** Growing pauses between attempts of something that keeps failing. */

const PAUSE_MS_MIN = 50;
const PAUSE_MS_MAX = 5000;

export class Backoff {
  #pauseMs = PAUSE_MS_MIN;
  #timer: NodeJS.Timeout | undefined;

  /** Runs `action` after a pause that is longer each time. */
  retry(action: () => void): void {
    this.cancel();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      action();
    }, this.#pauseMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSE_MS_MAX);
  }

  get isWaiting(): boolean {
    return this.#timer !== undefined;
  }

  succeed(): void {
    this.#pauseMs = PAUSE_MS_MIN;
  }

  cancel(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
