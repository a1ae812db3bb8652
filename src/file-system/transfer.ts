/** Reading and writing whole stretches by calls of the system that may each move less than asked for. */

/** One call never moves more than this: a 2 GiB limit sits below in most systems. */
const CALL_BYTES_MAX = 1 << 30;

/** Moves up to `wanted` bytes, `done` bytes from the start; returns how many it moved. */
export type MoveSome = (done: number, wanted: number) => number;

/** Returns the bytes read: fewer than `bytes` only at the end of the file, where a call reads none. */
export function readOn(bytes: number, readSome: MoveSome): number {
  let done = 0;
  while (done < bytes) {
    const got = readSome(done, Math.min(bytes - done, CALL_BYTES_MAX));
    if (got === 0) break;
    done += got;
  }
  return done;
}

/** Returns when all is written. */
export function writeOn(bytes: number, writeSome: MoveSome): void {
  let done = 0;
  while (done < bytes) {
    const put = writeSome(done, Math.min(bytes - done, CALL_BYTES_MAX));
    if (put === 0) throw Object.assign(new Error('no progress'), { code: 'EIO' });
    done += put;
  }
}
