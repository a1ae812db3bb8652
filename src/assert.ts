/** Checks of what the code itself guarantees. A failure is a defect here, never the world's fault. */

class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Throws when an invariant of the program does not hold. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(`Invariant violated: ${message}`);
}

/** Ends an exhaustive `switch`: the compiler proves that no case is left. */
export function unreachable(value: never): never {
  throw new AssertionError(`Invariant violated: unexpected ${JSON.stringify(value)}`);
}
