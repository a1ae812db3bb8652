/** Why shards are fenced, as text in the control block: a length, then UTF-8 bytes, per shard. */

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
