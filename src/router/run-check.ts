/** A check with its progress, and a way to call it off. */

import { CheckBoard, type CheckProgress } from '../compaction/check-board.js';
import type { CheckReport } from '../coordinator/control-plane.js';
import { LightningError } from '../errors.js';
import { checkOptionNames, invalidOption } from '../options.js';
import type { Backend } from './backend.js';

export interface CheckOptions {
  /** Called some ten times a second while files are read, and once at the end. */
  readonly onProgress?: ((progress: CheckProgress) => void) | undefined;
  /** Calls the check off: it rejects with `LIGHTNING_ABORTED`. */
  readonly signal?: AbortSignal | undefined;
}

const INTERVAL_MS = 100;

export async function runCheck(
  backend: Pick<Backend, 'check'>,
  options: CheckOptions,
): Promise<CheckReport> {
  checkOptionNames(options, ['onProgress', 'signal'], 'the check options');
  const { onProgress, signal }: CheckOptions = options;
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw invalidOption('onProgress', onProgress, 'a function');
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalidOption('signal', signal, 'an AbortSignal');
  }
  if (signal !== undefined && isAborted(signal)) throw aborted(signal);
  const board = new CheckBoard();
  let failure: { readonly error: unknown } | undefined;
  const tell = (): void => {
    try {
      if (failure === undefined) onProgress?.(board.read());
    } catch (error) {
      failure = { error };
      board.cancel();
    }
  };
  const cancel = (): void => board.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  const timer = onProgress === undefined ? undefined : setInterval(tell, INTERVAL_MS);
  try {
    const report = await backend.check(board);
    tell();
    if (failure !== undefined) throw failure.error;
    return report;
  } catch (error) {
    if (failure !== undefined) throw failure.error;
    if (signal !== undefined && isAborted(signal)) throw aborted(signal);
    throw error;
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', cancel);
  }
}

const isAborted = (signal: AbortSignal): boolean => signal.aborted;

function aborted(signal: AbortSignal): LightningError {
  return new LightningError('LIGHTNING_ABORTED', 'The check was called off', {
    cause: signal.reason,
  });
}
