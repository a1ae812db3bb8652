/**
 * Hostile records in a client's rings: the shard answers or refuses each, and goes on; a client takes
 * no answer for what it is not.
 */
import { describe, expect, it } from 'vitest';
import { LightningError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import {
  RECORD_FLAG_MORE,
  REQUEST_BLOB_BEGIN,
  REQUEST_CACHE_BLOCK,
  REQUEST_GET,
  REQUEST_GET_MANY,
  REQUEST_LOAD_BLOCKS,
  REQUEST_PREPARE,
  REQUEST_WRITE,
} from '../../src/kernel/assembly/layout.js';
import {
  encodePrepareHead,
  newPrepareHead,
  PREPARE_ALONE,
  PREPARE_HEAD_BYTES,
  PREPARE_VALIDATE_WRITES,
} from '../../src/protocol/prepare.js';
import { encodeBlobHead, encodeGetMany, encodeLoadBlocks } from '../../src/protocol/requests.js';
import {
  decodeError,
  decodeValues,
  encodeError,
  encodeValues,
} from '../../src/protocol/responses.js';
import { del, encodeOperations, put, TestClient, TestShard, testConfig } from '../shard/harness.js';
import { INPUTS, inputsOf, Mutator, SEED } from './mutations.js';

const DIRECTORY = '/shard-000';
const KINDS = [
  REQUEST_WRITE,
  REQUEST_GET,
  REQUEST_GET_MANY,
  REQUEST_LOAD_BLOCKS,
  REQUEST_CACHE_BLOCK,
  REQUEST_BLOB_BEGIN,
  REQUEST_PREPARE,
];

/** A transaction's commit, of this shard alone or of a slot. */
function prepareOf(slot: number, word: number, isBlind: boolean): Buffer {
  const operations = encodeOperations([put('key', 'prepared'), del('b')]);
  const text = (key: string): Buffer => {
    const bytes = Buffer.alloc(4 + key.length);
    bytes.writeUInt32LE(key.length);
    bytes.write(key, 4);
    return bytes;
  };
  const keys = isBlind ? [] : [text('key'), text('other')];
  const ranges = isBlind ? [] : [Buffer.of(5), text('a'), text('c')];
  const head = newPrepareHead();
  const lists = { keys: Buffer.concat(keys), ranges: Buffer.concat(ranges) };
  head.slot = slot;
  head.word = word;
  head.id = 7;
  head.snapshot = 2 ** 40;
  head.flags = isBlind ? 0 : PREPARE_VALIDATE_WRITES;
  head.keys = keys.length;
  head.keyBytes = lists.keys.length;
  head.ranges = isBlind ? 0 : 1;
  head.rangeBytes = lists.ranges.length;
  const bytes = Buffer.alloc(PREPARE_HEAD_BYTES);
  encodePrepareHead(head, new DataView(bytes.buffer, bytes.byteOffset), 0);
  return Buffer.concat([bytes, lists.keys, lists.ranges, operations]);
}

function samples(): Buffer[] {
  const snapshot = Buffer.alloc(8);
  snapshot.writeDoubleLE(-1);
  const load = Buffer.alloc(12);
  encodeLoadBlocks(load, 0, { table: 3, firstBlock: 0, count: 2 });
  return [
    encodeOperations([put('a', '1'), del('b'), put('c', 'x'.repeat(300))]),
    Buffer.concat([snapshot, Buffer.from('key')]),
    encodeGetMany(-1, [Buffer.from('a'), Buffer.from('key')]),
    load,
    Buffer.concat([encodeBlobHead(2000, Buffer.from('blob')), Buffer.alloc(2000, 7)]),
    prepareOf(PREPARE_ALONE, 0, true),
    prepareOf(PREPARE_ALONE, 0, false),
    prepareOf(3, 0, false),
    prepareOf(0, 0, true),
  ];
}

async function openShard(): Promise<TestShard> {
  const fs = new MemoryFileSystem();
  fs.mkdir(DIRECTORY);
  fs.syncDirectory('/');
  const config = testConfig({ arenaBytes: 256 * 1024, memtableBytes: 512 * 1024 });
  const shard = await TestShard.open({ fs, directory: DIRECTORY, config });
  await shard.client.put('key', 'value');
  await shard.shard.flush();
  return shard;
}

describe('hostile requests', () => {
  it('are answered or refused one by one, and the shard goes on for everybody', async () => {
    const shard = await openShard();
    const mutator = new Mutator(SEED);
    const hostile = new TestClient(shard.shard, shard.kernel, 5);
    const valid = samples();
    for (let i = 0; i < inputsOf(1 / 3); i++) {
      const kind =
        mutator.random() < 0.95
          ? (KINDS[mutator.below(KINDS.length)] as number)
          : mutator.below(256);
      const argument = mutator.random() < 0.5 ? mutator.below(5) : mutator.below(2 ** 32);
      const isLast = mutator.random() < 0.9;
      const flags = mutator.below(4) | (isLast ? 0 : RECORD_FLAG_MORE);
      const payload = mutator.mutate(valid).subarray(0, 8192);
      // A pad is no request: nobody would answer it.
      if (kind === 0) continue;
      hostile.send(kind, argument, payload, flags);
      if (i % 8 !== 0) continue;
      for (let turns = 0; turns < 50 && shard.shard.turn(); turns++);
      hostile.poll(0);
      if (i % 64 === 0) {
        await shard.client.put('key', `value ${i}`);
        expect(await shard.client.get('key')).toBe(`value ${i}`);
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    await shard.settle();
    await shard.client.put('after', 'all');
    expect(await shard.client.get('after')).toBe('all');
    shard.shard.releaseClient(5);
    const next = new TestClient(shard.shard, shard.kernel, 5);
    expect(await next.get('after')).toBe('all');
    await shard.shard.close();
  }, 36_000_000);
});

describe('hostile responses', () => {
  it('are read within their bounds, or thrown out', () => {
    const mutator = new Mutator(SEED);
    const values = [encodeValues([Buffer.from('one'), undefined, Buffer.alloc(100, 2)])];
    const error = new LightningError('LIGHTNING_IO', 'message');
    const errors = [encodeError({ code: error.code, message: error.message, details: {} })];
    let refused = 0;
    for (let i = 0; i < INPUTS; i++) {
      const payload = mutator.mutate(values);
      try {
        for (const value of decodeValues(payload, 3)) {
          if ((value?.length ?? 0) > payload.length) throw new Error('A value is larger than all');
        }
      } catch (cause) {
        expect(cause).toBeInstanceOf(RangeError);
        refused++;
      }
      expect(decodeError(mutator.mutate(errors))).toBeInstanceOf(LightningError);
    }
    expect(refused).toBeGreaterThan(0);
  }, 36_000_000);
});
