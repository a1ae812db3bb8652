/**
 * A promise with its two functions, without a closure per promise: the executor runs at once and
 * leaves them in `parts`, from where the caller takes them before it does anything else.
 */

interface PromiseParts {
  resolve: (value: never) => void;
  reject: (error: unknown) => void;
}

const parts: PromiseParts = { resolve: unset, reject: unset };

function unset(): void {}

function executor(resolve: (value: never) => void, reject: (error: unknown) => void): void {
  parts.resolve = resolve;
  parts.reject = reject;
}

/** Makes a promise; take `resolvePart()` and `rejectPart()` of it right away. */
export function newPromise<T>(): Promise<T> {
  return new Promise(executor as unknown as (resolve: (value: T) => void) => void);
}

export function resolvePart<T>(): (value: T) => void {
  return parts.resolve as (value: T) => void;
}

export function rejectPart(): (error: unknown) => void {
  return parts.reject;
}
