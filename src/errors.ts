/**
 * The closed set of errors. Every error that leaves the library is a `LightningError` whose `code`
 * is stable: programs branch on the code, people read the message, which says what to do.
 */

export type LightningErrorCode =
  | 'LIGHTNING_INVALID_ARGUMENT'
  | 'LIGHTNING_NOT_FOUND'
  | 'LIGHTNING_ALREADY_EXISTS'
  | 'LIGHTNING_NOT_A_DATABASE'
  | 'LIGHTNING_UNSUPPORTED_FORMAT'
  | 'LIGHTNING_LOCKED'
  | 'LIGHTNING_READ_ONLY'
  | 'LIGHTNING_CLOSED'
  | 'LIGHTNING_CORRUPTION'
  | 'LIGHTNING_IO'
  | 'LIGHTNING_NO_SPACE'
  | 'LIGHTNING_SHARD_UNAVAILABLE'
  | 'LIGHTNING_CONFLICT'
  | 'LIGHTNING_TRANSACTION_FINISHED'
  | 'LIGHTNING_TIMEOUT'
  | 'LIGHTNING_TOO_MANY_TRANSACTIONS'
  | 'LIGHTNING_LIMIT_EXCEEDED'
  | 'LIGHTNING_ABORTED'
  | 'LIGHTNING_PARSE';

/** Data that travels with an error; every field is structured-cloneable. */
export type LightningErrorDetails = Readonly<
  Record<string, string | number | boolean | null | undefined>
>;

export interface LightningErrorOptions {
  readonly cause?: unknown;
  readonly details?: LightningErrorDetails;
}

/** Base of every error the library throws. */
export class LightningError extends Error {
  readonly code: LightningErrorCode;
  readonly details: LightningErrorDetails;

  constructor(code: LightningErrorCode, message: string, options: LightningErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** An argument or option is of the wrong type, out of range or unknown. */
export class InvalidArgumentError extends LightningError {
  constructor(message: string, options?: LightningErrorOptions) {
    super('LIGHTNING_INVALID_ARGUMENT', message, options);
  }
}

/** Bytes on disk are not what was written. Carries `file`, `offset`, and `expected` and `found` where known. */
export class CorruptionError extends LightningError {
  constructor(
    message: string,
    details: {
      readonly file: string;
      readonly offset: number;
      readonly expected?: string | number;
      readonly found?: string | number;
    },
    cause?: unknown,
  ) {
    super('LIGHTNING_CORRUPTION', `${message} in "${details.file}" at offset ${details.offset}`, {
      cause,
      details,
    });
  }
}

/** The operating system refused a file operation. Carries `path`, `syscall` and `errno` code. */
export class IoError extends LightningError {
  constructor(message: string, options?: LightningErrorOptions) {
    super('LIGHTNING_IO', message, options);
  }
}

/** No room for a write: disk full, file too large, too many open files. Writing resumes once there is room. */
export class NoSpaceError extends LightningError {
  constructor(message: string, options?: LightningErrorOptions) {
    super('LIGHTNING_NO_SPACE', message, options);
  }
}

/** The database is closed or closing. */
export class ClosedError extends LightningError {
  constructor(message = 'The database is closed: open it again to use it') {
    super('LIGHTNING_CLOSED', message);
  }
}

/** Another process, or another open in this one, holds the database. */
export class LockedError extends LightningError {
  constructor(message: string, options?: LightningErrorOptions) {
    super('LIGHTNING_LOCKED', message, options);
  }
}

/** The database, or one of its shards, takes no writes. */
export class ReadOnlyError extends LightningError {
  constructor(message: string, options?: LightningErrorOptions) {
    super('LIGHTNING_READ_ONLY', message, options);
  }
}

/** A shard's worker is not serving. `details.outcome` is 'unknown' when a write may have been applied. */
export class ShardUnavailableError extends LightningError {
  constructor(message: string, options?: LightningErrorOptions) {
    super('LIGHTNING_SHARD_UNAVAILABLE', message, options);
  }
}

/**
 * Something that a transaction has read, or wants to write, was written by another since: nothing was
 * written, and the same work on a new snapshot may succeed. Carries `key` (as UTF-8 text, where one
 * key is to blame), `reason`, and `retryable`, which is true.
 */
export class ConflictError extends LightningError {
  constructor(message: string, options: LightningErrorOptions = {}) {
    super('LIGHTNING_CONFLICT', message, {
      ...options,
      details: { retryable: true, ...options.details },
    });
  }
}

/** `maxActiveTransactions` are active already. Carries `max`. */
export class TooManyTransactionsError extends LightningError {
  constructor(message: string, options?: LightningErrorOptions) {
    super('LIGHTNING_TOO_MANY_TRANSACTIONS', message, options);
  }
}

/** A transaction was used after its end. `details.state` says what became of it. */
export class TransactionFinishedError extends LightningError {
  constructor(message: string, options?: LightningErrorOptions) {
    super('LIGHTNING_TRANSACTION_FINISHED', message, options);
  }
}

/** A transaction took longer than its `timeoutMs`, or its commit met something that hangs: nothing of it was applied. */
export class TransactionTimeoutError extends LightningError {
  constructor(message: string, options?: LightningErrorOptions) {
    super('LIGHTNING_TIMEOUT', message, options);
  }
}

/** A commit was given up: something that it needs hangs. */
export function commitTimeout(): TransactionTimeoutError {
  return new TransactionTimeoutError(
    'The commit was given up, since a part of the database hangs: nothing of it was applied',
    { details: { outcome: 'none' } },
  );
}

/** Input of a bulk load that cannot be read. Carries `file` and `line`. */
export class ParseError extends LightningError {
  constructor(message: string, options?: LightningErrorOptions) {
    super('LIGHTNING_PARSE', message, options);
  }
}

/** An error as it crosses a thread: plain data. */
export interface SerializedError {
  readonly code: LightningErrorCode;
  readonly message: string;
  readonly details: LightningErrorDetails;
}

/** Flattens any error for the journey between threads. */
export function serializeError(error: unknown): SerializedError {
  if (error instanceof LightningError) {
    return { code: error.code, message: error.message, details: error.details };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'LIGHTNING_IO', message: `Unexpected failure: ${message}`, details: {} };
}

/** Rebuilds the error, with its class, on the receiving thread. */
export function deserializeError(serialized: SerializedError): LightningError {
  const { code, message, details } = serialized;
  const options = { details };
  switch (code) {
    case 'LIGHTNING_INVALID_ARGUMENT':
      return new InvalidArgumentError(message, options);
    case 'LIGHTNING_IO':
      return new IoError(message, options);
    case 'LIGHTNING_NO_SPACE':
      return new NoSpaceError(message, options);
    case 'LIGHTNING_CLOSED':
      return new ClosedError(message);
    case 'LIGHTNING_LOCKED':
      return new LockedError(message, options);
    case 'LIGHTNING_READ_ONLY':
      return new ReadOnlyError(message, options);
    case 'LIGHTNING_SHARD_UNAVAILABLE':
      return new ShardUnavailableError(message, options);
    case 'LIGHTNING_CONFLICT':
      return new ConflictError(message, options);
    case 'LIGHTNING_TOO_MANY_TRANSACTIONS':
      return new TooManyTransactionsError(message, options);
    case 'LIGHTNING_TRANSACTION_FINISHED':
      return new TransactionFinishedError(message, options);
    case 'LIGHTNING_TIMEOUT':
      return new TransactionTimeoutError(message, options);
    case 'LIGHTNING_PARSE':
      return new ParseError(message, options);
    case 'LIGHTNING_CORRUPTION':
      return new RemoteCorruptionError(message, details);
    default:
      return new LightningError(code, message, options);
  }
}

/** A CorruptionError that was raised on another thread; its message is complete already. */
class RemoteCorruptionError extends CorruptionError {
  constructor(message: string, details: LightningErrorDetails) {
    super('', { file: String(details['file'] ?? ''), offset: Number(details['offset'] ?? 0) });
    this.message = message;
    this.name = 'CorruptionError';
  }
}
