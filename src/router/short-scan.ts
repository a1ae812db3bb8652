/**
 * The first few entries of a range, in one go: a synchronous scan with a small limit whose blocks are
 * all in memory takes them straight out of the shards' scratch areas, without a snapshot slot,
 * streams, buffers or copies. When anything is not so simple, nothing has happened, and the scan
 * starts as every other does (`ScanCursor`).
 *
 * Why no snapshot has to be registered: compaction drops a version that a newer one shadows at or
 * below its horizon, and the horizon was at most the stable sequence when the Version that the result
 * went into was made. So what a Version holds serves every moment from its making on. Each
 * shard's Version is noted, then the moment is taken, then the shards are read; when a shard still has
 * the Version that was noted (the same address, and no retirement, so it is not another one in the
 * same place), what was read is as of that moment.
 */

import { H_EPOCH, H_VERSION } from '../kernel/assembly/layout.js';
import type { Client } from './client.js';
import { decode } from './codec.js';
import type { ScanContext } from './scan-cursor.js';
import type { ScanQuery } from './scan-query.js';
import {
  KEY_ASCII,
  LENGTH_MASK,
  SCAN_DONE,
  SCAN_SHORT,
  scanFlags,
  VALUE_ASCII,
  VALUE_ELSEWHERE,
  WORDS,
  writeBounds,
} from './scan-request.js';
import type { ShardClient } from './shard-client.js';

/** Most entries of such a scan. */
const SHORT_ENTRIES_MAX = 32;

/** Entries of each shard, and of those the next; the Versions that were noted. For one call at a time. */
const counts: number[] = [];
const nexts: number[] = [];
const versions: number[] = [];
const epochs: number[] = [];

/** All entries of the scan; undefined when it has to be done the long way. */
export function scanShort(context: ScanContext, query: ScanQuery): unknown[] | undefined {
  const { session, moment, extension } = context;
  const { client, keyCodec, valueCodec } = session;
  if (query.limit > SHORT_ENTRIES_MAX || query.empty || extension !== undefined) return undefined;
  // The application's own code may use the scratch areas.
  if (keyCodec.kind === 'custom' || valueCodec.kind === 'custom') return undefined;
  let sequence = moment.sequence;
  if (sequence === undefined) {
    noteVersions(client);
    // A read may have seen a commit with a smaller one still under way: such a scan has to wait.
    const wanted = client.visibleSequence();
    sequence = client.control.stableSequence();
    if (sequence < wanted) return undefined;
  }
  const { shards } = client;
  const common = scanFlags(query) | SCAN_SHORT;
  for (let i = 0; i < shards.length; i++) {
    const shard = shards[i] as ShardClient;
    const { exports, u32 } = shard.kernel;
    const flags = common | writeBounds(shard, query);
    const status = exports.scan(
      (query.reverse ? query.upper : query.lower)?.key.length ?? 0,
      (query.reverse ? query.lower : query.upper)?.key.length ?? 0,
      flags,
      sequence,
      query.limit,
    );
    const count = u32[shard.resultWord] as number;
    if (count < query.limit && status !== SCAN_DONE) return undefined;
    counts[i] = count;
    nexts[i] = 0;
  }
  if (moment.sequence === undefined && !areVersionsTheSame(client)) return undefined;
  return takeEntries(context, query);
}

function noteVersions({ shards }: Client): void {
  for (let i = 0; i < shards.length; i++) {
    const shard = shards[i] as ShardClient;
    shard.checkReadable();
    versions[i] = Atomics.load(shard.kernel.u32, H_VERSION >>> 2);
    epochs[i] = Atomics.load(shard.kernel.u32, H_EPOCH >>> 2);
  }
}

function areVersionsTheSame({ shards }: Client): boolean {
  for (let i = 0; i < shards.length; i++) {
    const { u32 } = (shards[i] as ShardClient).kernel;
    if (Atomics.load(u32, H_VERSION >>> 2) !== versions[i]) return false;
    if (Atomics.load(u32, H_EPOCH >>> 2) !== epochs[i]) return false;
  }
  return true;
}

/** Merges and decodes what stands in the scratch areas; undefined when a value is elsewhere. */
function takeEntries({ session }: ScanContext, query: ScanQuery): unknown[] | undefined {
  const { client, keyCodec, valueCodec } = session;
  const { shards } = client;
  const entries: unknown[] = [];
  while (entries.length < query.limit) {
    let first = -1;
    for (let i = 0; i < shards.length; i++) {
      if ((nexts[i] as number) >= (counts[i] as number)) continue;
      if (first >= 0) {
        const order = compareNext(shards[i] as ShardClient, i, shards[first] as ShardClient, first);
        if (query.reverse ? order < 0 : order > 0) continue;
      }
      first = i;
    }
    if (first < 0) return entries;
    const { bytes, kernel, descriptorWord } = shards[first] as ShardClient;
    const { u32 } = kernel;
    const at = descriptorWord + (nexts[first] as number) * WORDS;
    nexts[first] = (nexts[first] as number) + 1;
    const keyStart = u32[at] as number;
    const keyEnd = keyStart + (u32[at + 1] as number);
    const valueStart = u32[at + 2] as number;
    const word = u32[at + 3] as number;
    if ((word & VALUE_ELSEWHERE) !== 0 && query.select !== 'keys') return undefined;
    const valueEnd = valueStart + (word & LENGTH_MASK);
    const key =
      query.select === 'values'
        ? undefined
        : decode(keyCodec, bytes, keyStart, keyEnd, (word & KEY_ASCII) !== 0);
    const value =
      query.select === 'keys'
        ? undefined
        : decode(valueCodec, bytes, valueStart, valueEnd, (word & VALUE_ASCII) !== 0);
    if (query.select === 'entries') entries.push([key, value]);
    else entries.push(query.select === 'keys' ? key : value);
  }
  return entries;
}

/** Order of two shards' next keys. */
function compareNext(a: ShardClient, i: number, b: ShardClient, j: number): number {
  const atA = a.descriptorWord + (nexts[i] as number) * WORDS;
  const atB = b.descriptorWord + (nexts[j] as number) * WORDS;
  const startA = a.kernel.u32[atA] as number;
  const startB = b.kernel.u32[atB] as number;
  const lengthA = a.kernel.u32[atA + 1] as number;
  const lengthB = b.kernel.u32[atB + 1] as number;
  const end = Math.min(lengthA, lengthB);
  for (let n = 0; n < end; n++) {
    const difference = (a.bytes[startA + n] as number) - (b.bytes[startB + n] as number);
    if (difference !== 0) return difference;
  }
  return lengthA - lengthB;
}
