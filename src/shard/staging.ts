/**
 * How the shard worker divides its staging region. What stands there is meant for the next kernel
 * call only; operations of a large commit stay while their memtable is being switched, so they have
 * a part of their own.
 */
import { xxh64 } from '../encoding/xxh64.js';
import { H_STAGING_BASE, H_STAGING_BYTES } from '../kernel/assembly/layout.js';
import type { Kernel } from '../kernel/kernel.js';

export class Staging {
  /** Operations of a commit that did not come as one plain record. */
  readonly operations: Uint8Array;
  readonly operationsAddress: number;
  /** Blocks, pieces of blobs and groups to be checked on their way from or to a file. */
  readonly transfer: Uint8Array;
  readonly transferAddress: number;
  readonly #exports: Kernel['exports'];

  constructor(kernel: Kernel) {
    this.#exports = kernel.exports;
    const base = kernel.u32[H_STAGING_BASE >>> 2] as number;
    const bytes = kernel.u32[H_STAGING_BYTES >>> 2] as number;
    // A fourth holds any one operation; the rest any one group of the log.
    const fourth = Math.floor(bytes / 4 / 64) * 64;
    this.operationsAddress = base;
    this.operations = kernel.bytes.subarray(base, base + fourth);
    this.transferAddress = base + fourth;
    this.transfer = kernel.bytes.subarray(base + fourth, base + bytes);
  }
  /** XXH64 by the kernel, of bytes on the host. */
  hash(bytes: Uint8Array, seed = 0n): bigint {
    if (bytes.length > this.transfer.length) return xxh64(bytes, seed);
    this.transfer.set(bytes);
    const exports = this.#exports;
    const [low, high] = [Number(seed & 0xffff_ffffn), Number(seed >> 32n)];
    exports.checksum(this.transferAddress, bytes.length, low, high);
    return (BigInt(exports.checksumHigh() >>> 0) << 32n) | BigInt(exports.checksumLow() >>> 0);
  }
}
