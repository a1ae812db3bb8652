/** The built kernel over a private memory, with reading and writing of texts. */

import { readFileSync } from 'node:fs';
import {
  CHUNK_BLOB,
  RUN_KEY,
  RUN_KEY_LENGTH,
  RUN_RECORD_BYTES,
  RUN_VALUE_LENGTH,
} from '../../src/kernel/assembly/load-layout.js';
import { Kernel } from '../../src/kernel/kernel.js';
import { createJobMemory } from '../../src/kernel/shard-memory.js';

export const kernelModule = await WebAssembly.compile(
  readFileSync(
    process.env['LIGHTNING_TEST_KERNEL'] ?? new URL('../../dist/kernel.wasm', import.meta.url),
  ),
);

export function loadKernel(bytes: number): Kernel {
  return new Kernel(kernelModule, createJobMemory(bytes));
}

export interface RunEntry {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly blob: boolean;
}

/** Copies out the entries of a sorted run. */
export function readRun(kernel: Kernel, address: number, count: number): RunEntry[] {
  const entries: RunEntry[] = [];
  for (let i = 0; i < count; i++) {
    const record = address + i * RUN_RECORD_BYTES;
    const key = kernel.u32[(record + RUN_KEY) >>> 2] as number;
    const flagged = kernel.u32[(record + RUN_KEY_LENGTH) >>> 2] as number;
    const keyLength = (flagged & ~CHUNK_BLOB) >>> 0;
    const valueLength = kernel.u32[(record + RUN_VALUE_LENGTH) >>> 2] as number;
    entries.push({
      key: Buffer.from(kernel.bytes.subarray(key, key + keyLength)),
      value: Buffer.from(kernel.bytes.subarray(key + keyLength, key + keyLength + valueLength)),
      blob: flagged >>> 31 === 1,
    });
  }
  return entries;
}
