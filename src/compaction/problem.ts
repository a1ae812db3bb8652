/** What a verification says about a file: what is wrong with it, and where. */
import { IoError, LightningError } from '../errors.js';
import { isNotFound } from '../file-system/file-system.js';

/** Something that is not as it was written, or cannot be read. */
export interface Problem {
  /** `LIGHTNING_IO`: the system refuses to read what is there. */
  readonly code: 'LIGHTNING_CORRUPTION' | 'LIGHTNING_IO';
  readonly file: string;
  readonly offset: number;
  readonly message: string;
}

/** Whether the error says that a file is damaged or unreadable, not that this is no time to ask. */
export function isFileFailure(error: unknown): error is LightningError {
  const isRot = error instanceof LightningError && error.code === 'LIGHTNING_CORRUPTION';
  return isRot || error instanceof IoError;
}

/**
 * The problem that an error about `file` states. Anything but a damaged or unreadable file is thrown
 * again.
 */
export function problemOf(error: unknown, file: string, offset = 0): Problem {
  if (!isFileFailure(error)) throw error;
  const { message, details } = error;
  // Whoever names a file to be verified has it.
  if (isNotFound(error)) return { code: 'LIGHTNING_CORRUPTION', file, offset: 0, message };
  if (error instanceof IoError) return { code: 'LIGHTNING_IO', file, offset, message };
  return {
    code: 'LIGHTNING_CORRUPTION',
    file: String(details['file'] ?? file),
    offset: Number(details['offset'] ?? offset),
    message,
  };
}

/** Runs a check of `file`; what it throws is one more of the problems. */
export function noteProblem(problems: Problem[], file: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    problems.push(problemOf(error, file));
  }
}
