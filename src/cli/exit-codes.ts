/** Exit codes of the command line. Scripts rely on them: do not renumber. */

export const EXIT_OK = 0;
/** The answer is no: the key is missing, `check` found something wrong, `repair` lost something. */
export const EXIT_NEGATIVE = 1;
/** The command line, an option or an argument is wrong. */
export const EXIT_USAGE = 2;
/** There is no database at the path, there is one already, or its format is unknown. */
export const EXIT_NOT_A_DATABASE = 3;
/** Another process has the database open. */
export const EXIT_LOCKED = 4;
/** Bytes on disk are not what was written. */
export const EXIT_CORRUPTION = 5;
/** The operating system refused a file operation, or the disk is full. */
export const EXIT_IO = 6;
/** The input of a load cannot be read. */
export const EXIT_INPUT = 7;
/** A defect in this program. */
export const EXIT_INTERNAL = 70;
/** Stopped by Ctrl-C. */
export const EXIT_INTERRUPTED = 130;
/** Stopped by SIGTERM. */
export const EXIT_TERMINATED = 143;

/** The table that `--help` and the README show. */
export const EXIT_CODE_TEXT: readonly (readonly [code: number, meaning: string])[] = [
  [EXIT_OK, 'done'],
  [EXIT_NEGATIVE, 'the answer is no: key missing (get), something wrong (check) or lost (repair)'],
  [EXIT_USAGE, 'wrong command line, option or argument'],
  [EXIT_NOT_A_DATABASE, 'no database at the path, or not one this version can open'],
  [EXIT_LOCKED, 'another process has the database open'],
  [EXIT_CORRUPTION, 'bytes on disk are not what was written'],
  [EXIT_IO, 'the operating system refused a file operation; disk full'],
  [EXIT_INPUT, 'input of a load cannot be read'],
  [EXIT_INTERNAL, 'a defect in this program'],
  [EXIT_INTERRUPTED, 'stopped by Ctrl-C (SIGTERM: 143)'],
];

/** The exit code for an error with this `code`. */
export function exitCodeOf(code: string): number {
  switch (code) {
    case 'LIGHTNING_INVALID_ARGUMENT':
    case 'LIGHTNING_LIMIT_EXCEEDED':
      return EXIT_USAGE;
    case 'LIGHTNING_NOT_FOUND':
    case 'LIGHTNING_ALREADY_EXISTS':
    case 'LIGHTNING_NOT_A_DATABASE':
    case 'LIGHTNING_UNSUPPORTED_FORMAT':
      return EXIT_NOT_A_DATABASE;
    case 'LIGHTNING_LOCKED':
      return EXIT_LOCKED;
    case 'LIGHTNING_CORRUPTION':
      return EXIT_CORRUPTION;
    case 'LIGHTNING_IO':
    case 'LIGHTNING_NO_SPACE':
    case 'LIGHTNING_READ_ONLY':
    case 'LIGHTNING_SHARD_UNAVAILABLE':
      return EXIT_IO;
    case 'LIGHTNING_PARSE':
      return EXIT_INPUT;
    case 'LIGHTNING_ABORTED':
      return EXIT_INTERRUPTED;
    default:
      return EXIT_INTERNAL;
  }
}
