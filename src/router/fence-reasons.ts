/**
 * Why shards, or the coordinator, are out of service, as text in the control block: a length, then UTF-8
 * bytes, for each.
 */
import { ShardUnavailableError } from '../errors.js';

export const REASON_BYTES = 512;

export function writeReason(buffer: SharedArrayBuffer, at: number, reason: string): void {
  const text = Buffer.from(reason).subarray(0, REASON_BYTES - 4);
  new Uint8Array(buffer).set(text, at + 4);
  Atomics.store(new Int32Array(buffer), at >>> 2, text.length);
}

export function readReason(buffer: SharedArrayBuffer, at: number): string {
  const length = Atomics.load(new Int32Array(buffer), at >>> 2);
  return Buffer.from(new Uint8Array(buffer).slice(at + 4, at + 4 + length)).toString();
}

/** The shard's worker died so often that it is not replaced any more. */
export function fenced(shard: number, reason: string): ShardUnavailableError {
  return new ShardUnavailableError(
    `Shard ${shard} is out of service since its worker died again and again; close the database and open it anew. The last time: ${reason}`,
    { details: { outcome: 'none', shard, reason } },
  );
}

/** The coordinator died so often that it is not replaced any more. */
export function coordinatorFenced(reason: string): ShardUnavailableError {
  return new ShardUnavailableError(
    `The database's coordinator is out of service since it died again and again; close the database and open it anew. The last time: ${reason}`,
    { details: { outcome: 'none', reason } },
  );
}

/** The coordinator has died, and is about to be replaced. */
export function coordinatorAway(): ShardUnavailableError {
  return new ShardUnavailableError("The database's coordinator is being replaced: try again", {
    details: { outcome: 'none' },
  });
}
