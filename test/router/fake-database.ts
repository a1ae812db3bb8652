/** A database of fake shards, served on the test's own thread between its turns. */

import { readFileSync } from 'node:fs';
import { resolveConfig } from '../../src/config.js';
import { LightningDb } from '../../src/lightning-db.js';
import type { Backend } from '../../src/router/backend.js';
import { Client } from '../../src/router/client.js';
import { ControlBlock } from '../../src/router/control-block.js';
import { Session, type SessionEncodings } from '../../src/router/session.js';
import { FakeShard, type FakeShardOptions, fakeShardMemory } from './fake-shard.js';

let compiled: WebAssembly.Module | undefined;

/** The kernel, as the build left it. */
export async function kernelModule(): Promise<WebAssembly.Module> {
  const wasm = new URL('../../dist/kernel.wasm', import.meta.url);
  compiled ??= await WebAssembly.compile(readFileSync(wasm));
  return compiled;
}

/** The real surface over any session. */
export function databaseOver(session: Session): LightningDb {
  const refuse = (): Promise<never> => Promise.reject(new Error('not here'));
  const backend: Backend = {
    session,
    flush: refuse,
    compact: refuse,
    check: refuse,
    stats: refuse,
    share: () => {
      throw new Error('not here');
    },
    close: async () => {
      session.end();
      await session.client.drain(5000);
      session.client.close();
    },
  };
  const Constructor = LightningDb as unknown as new (backend: Backend) => LightningDb;
  return new Constructor(backend);
}

export interface FakeDatabaseOptions extends Omit<FakeShardOptions, 'shard'> {
  readonly shards?: number;
  readonly opsPerTurn?: number;
  readonly encodings?: SessionEncodings;
}

export interface FakeDatabase {
  readonly db: LightningDb;
  readonly session: Session;
  readonly control: ControlBlock;
  readonly shards: FakeShard[];
  /** Serves what has arrived, once. */
  serve(): boolean;
  /** Serves at every turn of the event loop, until `pause`. */
  resume(): void;
  pause(): void;
}

export async function fakeDatabase(options: FakeDatabaseOptions = {}): Promise<FakeDatabase> {
  const { shards: count = 2, opsPerTurn = Number.POSITIVE_INFINITY, encodings = {} } = options;
  const module = await kernelModule();
  const control = ControlBlock.create(count);
  const slot = control.claimClient(0);
  const shards: FakeShard[] = [];
  const connections = [];
  for (let shard = 0; shard < count; shard++) {
    const memory = fakeShardMemory({ ...options, shard });
    shards.push(new FakeShard(module, memory, control, shard, [slot], { opsPerTurn }));
    connections.push({ memory, generation: control.shardGeneration(shard) });
  }
  const client = new Client(control, slot, module, connections);
  const session = new Session(client, resolveConfig({ shards: count }), encodings);
  let serving = false;
  const serve = (): boolean => shards.map((shard) => shard.serve()).includes(true);
  const turn = (): void => {
    if (!serving) return;
    serve();
    setImmediate(turn);
  };
  return {
    db: databaseOver(session),
    session,
    control,
    shards,
    serve,
    resume: () => {
      serving = true;
      turn();
    },
    pause: () => {
      serving = false;
    },
  };
}
