/** A large commit stands in the log and waits for a flush that fails: what comes behind it is refused. */

import { expect, it } from 'vitest';
import { LightningError, NoSpaceError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { REQUEST_PREPARE } from '../../src/kernel/assembly/layout.js';
import {
  encodePrepareHead,
  newPrepareHead,
  PREPARE_ALONE,
  PREPARE_HEAD_BYTES,
} from '../../src/protocol/prepare.js';
import { encodeOperations, type Operation, put, TestShard } from './harness.js';

const DIRECTORY = '/shard';
const KIB = 1024;

/** More than one memtable takes. */
const large = (name: string, bytes: number): Operation[] =>
  Array.from({ length: Math.ceil(bytes / KIB) }, (_, i) => put(`${name}-${i}`, 'v'.repeat(KIB)));

/** A transaction of its own; returns the request's id. */
function transact({ client }: TestShard, operations: Operation[]): number {
  const head = Buffer.alloc(PREPARE_HEAD_BYTES);
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  encodePrepareHead({ ...newPrepareHead(), slot: PREPARE_ALONE }, view, 0);
  const payload = Buffer.concat([head, encodeOperations(operations)]);
  return client.send(REQUEST_PREPARE, operations.length, payload);
}

async function failureOf(answer: Promise<unknown>): Promise<LightningError> {
  const error = await answer.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(LightningError);
  return error as LightningError;
}

it.each([
  ['in one record', (shard: TestShard) => shard.client.write([put('behind', '2')])],
  ['in pieces', (shard: TestShard) => shard.client.write(large('behind', 40 * KIB))],
  ['of a transaction', (shard: TestShard) => transact(shard, [put('behind', '2')])],
  [
    'of a transaction, in pieces,',
    (shard: TestShard) => transact(shard, large('behind', 40 * KIB)),
  ],
  [
    'of its own file',
    (shard: TestShard) => shard.client.writeBlob('behind', Buffer.alloc(200_000)),
  ],
])('a write %s behind a commit that is stuck is refused, and answered', async (_, write) => {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  let nowMs = 0;
  const shard = await TestShard.open({
    fs,
    directory: DIRECTORY,
    config: { arenaBytes: 96 * KIB, memtableBytes: 192 * KIB, arenaCount: 2 },
    // Patience with flushes that fail runs out soon.
    clock: { nowMs: () => (nowMs += 1), wallMs: () => Date.now() },
  });
  shard.client.turnsMax = 1_000_000;
  shard.jobs.before = async () => {
    throw new NoSpaceError('Cannot write "table": ENOSPC');
  };
  const stuck = await failureOf(shard.client.commit(large('stuck', 300 * KIB)));
  expect(stuck.code).toBe('LIGHTNING_NO_SPACE');
  expect(stuck.details['outcome']).toBe('unknown');
  const refused = await failureOf(shard.client.wait(write(shard)));
  expect(refused.code).toBe('LIGHTNING_NO_SPACE');
  expect(refused.details['outcome']).not.toBe('unknown');
  shard.jobs.before = async () => {};
  await expect.poll(async () => shard.client.put('after', '1').catch(() => 0)).toBeGreaterThan(0);
  expect(await shard.client.get('stuck-299')).toBe('v'.repeat(KIB));
  expect(await shard.client.get('behind')).toBeUndefined();
  expect(await shard.client.get('behind-0')).toBeUndefined();
  await shard.shard.close();
});
