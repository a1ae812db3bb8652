/**
 * The kernel as the host sees it: one instance per (thread, memory), with views over the memory.
 *
 * The code is compiled once per process and shared; an instance is cheap. Numbers that may exceed
 * 32 bits (sequence numbers, file offsets) are f64 at this boundary.
 */

import { readFileSync } from 'node:fs';
import type { KernelExports } from './kernel-exports.js';

export type { KernelExports } from './kernel-exports.js';

export class Kernel {
  readonly memory: WebAssembly.Memory;
  readonly exports: KernelExports;
  /** The whole memory. A Buffer, for its string methods. */
  readonly bytes: Buffer;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly f64: Float64Array;
  readonly u64: BigUint64Array;

  constructor(module: WebAssembly.Module, memory: WebAssembly.Memory) {
    const instance = new WebAssembly.Instance(module, {
      env: {
        memory,
        abort(): never {
          throw new Error('The kernel aborted: an invariant of the shared memory does not hold');
        },
      },
    });
    this.memory = memory;
    this.exports = instance.exports as unknown as KernelExports;
    const buffer = memory.buffer;
    this.bytes = Buffer.from(buffer, 0, Math.min(buffer.byteLength, 2 ** 32 - 1));
    this.u32 = new Uint32Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.u64 = new BigUint64Array(buffer);
  }

  /**
   * Compiles the kernel from the package's own `kernel.wasm`. Once per process: opening a database
   * again takes the same module, with the code that was optimized meanwhile.
   */
  static compile(location: URL): Promise<WebAssembly.Module> {
    const { href } = location;
    let module = compiled.get(href);
    if (module === undefined) {
      module = compileFile(location);
      compiled.set(href, module);
      // What could not be read is tried again.
      module.catch(() => compiled.delete(href));
    }
    return module;
  }
}

/** By location. */
const compiled = new Map<string, Promise<WebAssembly.Module>>();

async function compileFile(location: URL): Promise<WebAssembly.Module> {
  return WebAssembly.compile(readFileSync(location));
}
