/**
 * Whether memtables have room for a commit. What is written must be applied, and a commit that does
 * not fit what is free would wait for a flush in its middle: so it waits before it is written, and is
 * refused when flushes cannot finish. Only one that is larger than all memtables is let through.
 */
import { deserializeError, type LightningError } from '../errors.js';
import type { Memtables } from './memtables.js';

/** A memtable takes this much more than the bytes of an operation in the log, at most in the mean. */
const OPERATION_OVERHEAD_BYTES = 96;
/** It takes an operation only when there would be room for the largest node, too (memtable-node.ts). */
const NODE_BYTES_MAX = 1088;

export interface MemtableRoomOptions {
  readonly memtables: Memtables;
  /** Why no memtable becomes free; undefined: one does, or soon may. */
  readonly flushFailure: () => LightningError | undefined;
  /** Makes an empty memtable active; false when no arena is free. */
  readonly switchMemtable: () => boolean;
}

export class MemtableRoom {
  readonly #options: MemtableRoomOptions;

  constructor(options: MemtableRoomOptions) {
    this.#options = options;
  }

  /** Undefined: it may be written now. An error: it is to be refused. */
  admit(bytes: number, operations: number): LightningError | 'wait' | undefined {
    const { memtables } = this.#options;
    const total = bytes + operations * OPERATION_OVERHEAD_BYTES + NODE_BYTES_MAX;
    const wanted = Math.min(total, Math.floor(memtables.arenaBytes / 2));
    const failure = this.#options.flushFailure();
    if (memtables.bytesFreeTotal < total) {
      if (failure !== undefined) return failure;
      if (total <= memtables.bytesMax) return this.#makeRoom();
    }
    if (memtables.bytesFree(memtables.active) >= wanted) return undefined;
    if (memtables.canSwitch && this.#options.switchMemtable()) return undefined;
    return failure ?? 'wait';
  }

  /** Why no commit that is being applied gets another memtable; undefined: it does, or soon may. */
  get blocked(): LightningError | undefined {
    return this.#options.memtables.canSwitch ? undefined : this.#options.flushFailure();
  }

  /** Memtables that are flushed will have it. */
  #makeRoom(): 'wait' {
    const { memtables, switchMemtable } = this.#options;
    if (memtables.immutables.length === 0 && memtables.canSwitch) switchMemtable();
    return 'wait';
  }
}

/** What is told to who waits for a commit that is written, and is blocked in its middle. */
export function stuckCommit({ code, message, details }: LightningError): LightningError {
  return deserializeError({
    code,
    message: `The commit is written, and is completed once memtables can be flushed: ${message}`,
    details: { ...details, outcome: 'unknown' },
  });
}
