/**
 * Commits what a batch or a transaction has gathered, whole or not at all.
 *
 * What touches one shard is committed by that shard alone. What touches several claims a slot of the
 * transaction table and is sent to every participant at once, as a PREPARE; the shards vote, the
 * coordinator decides, the shards apply and answer. The promise resolves when all have answered: the
 * last of them has made the commit visible before.
 */
import { commitTimeout } from '../errors.js';
import { faultPoint, isFaultDue, strike } from '../faults.js';
import { RECORD_FLAG_SYNC, REQUEST_PREPARE, REQUEST_WRITE } from '../kernel/assembly/layout.js';
import {
  encodePrepareHead,
  newPrepareHead,
  PREPARE_ALONE,
  PREPARE_HEAD_BYTES,
  PREPARE_VALIDATE_WRITES,
} from '../protocol/prepare.js';
import type { BatchPart } from './batch-part.js';
import type { Client } from './client.js';
import type { CommitRequest } from './commit-request.js';
import { CommitSink } from './commit-sink.js';
import { CommitWatch, type CommitWatchOptions } from './commit-watch.js';
import { coordinatorFenced } from './fence-reasons.js';
import { newPromise, rejectPart, resolvePart } from './promise-parts.js';
import { type ResponseSink, SequenceSink } from './response-sink.js';
import { unavailable } from './shard-client.js';
import { ABORT_UNAVAILABLE } from './transaction-table.js';

/** No commit waits longer for a slot while none comes free: as long as a transaction lasts, if not told otherwise. */
const SLOT_WAIT_MS_MAX = 60_000;

/** A commit that waits for a free slot. */
interface WaitingCommit {
  readonly request: CommitRequest;
  readonly resolve: (sequence: number) => void;
  readonly reject: (error: unknown) => void;
  readonly sinceMs: number;
  /** How many had begun to wait when this one did. */
  readonly number: number;
}

/** What one client keeps about its commits over several shards. */
export interface CommitState {
  readonly watch: CommitWatch;
  /** In the order they were asked for. */
  readonly waiting: WaitingCommit[];
  nextId: number;
  idsEnd: number;
  isPolling: boolean;
  /** When one was sent last. */
  sentMs: number;
  /** Number of the last one that had to wait. */
  lastWaiting: number;
}

export function newCommitState(watched: CommitWatchOptions): CommitState {
  const watch = new CommitWatch(watched);
  return { watch, waiting: [], nextId: 0, idsEnd: 0, isPolling: false, sentMs: 0, lastWaiting: 0 };
}

/**
 * Resolves with the sequence number of the commit once all of it is acknowledged and visible; 0 when
 * there was nothing to commit. Rejects with `ConflictError` when something that was to be validated
 * has been written since.
 */
export function commitTransaction(client: Client, request: CommitRequest): Promise<number> {
  client.gathered.read();
  let involved = 0;
  let only = 0;
  for (let shard = 0; shard < client.shards.length; shard++) {
    if (!takesPart(request, shard)) continue;
    involved++;
    only = shard;
    // Better no shard than some: nothing is sent when one is known to be away.
    if (client.shards[shard]?.isServing() === false) return Promise.reject(unavailable('none'));
  }
  if (involved === 0) return Promise.resolve(0);
  if (involved === 1) return commitAlone(client, request, only);
  const reason = client.control.coordinator.fencedReason();
  if (reason !== undefined) return Promise.reject(coordinatorFenced(reason));
  const { waiting, watch } = client.commits;
  for (let shard = 0; shard < client.shards.length; shard++) {
    if (watch.isHung(shard) && takesPart(request, shard)) return Promise.reject(commitTimeout());
  }
  if (waiting.length === 0 && !request.sync && !isValidated(request)) {
    const committed = client.directBatch.commit(request, () => nextId(client));
    if (committed !== undefined) return committed;
  }
  const promise = newPromise<number>();
  const resolve = resolvePart<number>();
  const reject = rejectPart();
  if (waiting.length > 0 || !prepare(client, request, resolve, reject)) {
    // Kept as they are, whatever happens to the batch.
    for (const part of request.parts) part?.lend();
    const number = ++client.commits.lastWaiting;
    waiting.push({ request, resolve, reject, sinceMs: performance.now(), number });
    for (const shard of client.shards) {
      if (takesPart(request, shard.shard)) shard.holdBehind(number);
    }
    waitForSlot(client);
  }
  return promise;
}

function takesPart({ parts, reads, ranges }: CommitRequest, shard: number): boolean {
  return (
    hasOperations(parts[shard]) ||
    (reads?.[shard]?.count ?? 0) > 0 ||
    (ranges?.[shard]?.count ?? 0) > 0
  );
}

/** Whether anything is to be looked at before the commit. */
function isValidated({ validateWrites, reads, ranges }: CommitRequest): boolean {
  return validateWrites || reads !== undefined || ranges !== undefined;
}

function commitAlone(client: Client, request: CommitRequest, index: number): Promise<number> {
  const promise = newPromise<number>();
  const sink = new SequenceSink(1, resolvePart(), rejectPart());
  const shard = client.shards[index];
  const part = request.parts[index];
  const flags = request.sync ? RECORD_FLAG_SYNC : 0;
  if (shard === undefined) return Promise.resolve(0);
  if (isValidated(request)) {
    head.slot = PREPARE_ALONE;
    head.word = 0;
    head.id = 0;
    head.snapshot = request.snapshot;
    head.flags = request.validateWrites ? PREPARE_VALIDATE_WRITES : 0;
    sendPrepare(client, request, index, sink);
    return promise;
  }
  if (!hasOperations(part)) return Promise.resolve(0);
  // What fits is copied into the ring at once; what has to wait keeps the part's own bytes.
  const operations = shard.fits(part.length) ? part.bytes.subarray(0, part.length) : part.lend();
  try {
    shard.send(REQUEST_WRITE, flags, part.count, operations, sink);
  } catch (error) {
    sink.fail(error);
  }
  return promise;
}

const headBytes = Buffer.alloc(PREPARE_HEAD_BYTES);
const headView = new DataView(headBytes.buffer, headBytes.byteOffset, PREPARE_HEAD_BYTES);
const head = newPrepareHead();

/** Sends the parts to the participants. False: no slot is free. */
function prepare(
  client: Client,
  request: CommitRequest,
  resolve: (sequence: number) => void,
  reject: (error: unknown) => void,
): boolean {
  const { transactions } = client.control;
  const slot = transactions.claim(client.slot);
  if (slot < 0) return false;
  faultPoint('claimed');
  let low = 0;
  let high = 0;
  let involved = 0;
  for (let shard = 0; shard < client.shards.length; shard++) {
    if (!takesPart(request, shard)) continue;
    involved++;
    if (shard < 32) low |= 1 << shard;
    else high |= 1 << (shard - 32);
  }
  const id = nextId(client);
  const word = transactions.begin(slot, id, low, high);
  const sink = new CommitSink({ client, slot, word, count: involved, resolve, reject });
  client.commits.watch.add(sink);
  head.slot = slot;
  head.word = word;
  head.id = id;
  head.snapshot = request.snapshot;
  head.flags = request.validateWrites ? PREPARE_VALIDATE_WRITES : 0;
  for (let shard = 0; shard < client.shards.length; shard++) {
    if (takesPart(request, shard)) sendPrepare(client, request, shard, sink);
  }
  if (isFaultDue('prepares-sent')) {
    for (const shard of client.shards) shard.flush();
    strike('prepares-sent');
  }
  return true;
}

function sendPrepare(
  client: Client,
  { parts, reads, ranges, sync }: CommitRequest,
  index: number,
  sink: ResponseSink,
): void {
  const shard = client.shards[index];
  if (shard === undefined) return;
  const part = parts[index];
  const keys = reads?.[index];
  const spans = ranges?.[index];
  head.keys = keys?.count ?? 0;
  head.keyBytes = keys?.length ?? 0;
  head.ranges = spans?.count ?? 0;
  head.rangeBytes = spans?.length ?? 0;
  encodePrepareHead(head, headView, 0);
  const validated = head.keyBytes + head.rangeBytes;
  const first = validated === 0 ? headBytes : withValidated(keys?.bytes, spans?.bytes);
  const flags = sync ? RECORD_FLAG_SYNC : 0;
  try {
    const isAlone = head.slot === PREPARE_ALONE;
    shard.sendJoined(REQUEST_PREPARE, flags, part?.count ?? 0, first, part, sink, isAlone);
  } catch (error) {
    if (head.slot !== PREPARE_ALONE) {
      client.control.transactions.abort(head.slot, head.word, ABORT_UNAVAILABLE);
      client.dropUnsent(index, head.slot, head.word);
    }
    sink.fail(error);
  }
}

/** The head, with the keys and ranges behind it. */
function withValidated(keys: Uint8Array | undefined, ranges: Uint8Array | undefined): Buffer {
  const bytes = Buffer.allocUnsafe(PREPARE_HEAD_BYTES + head.keyBytes + head.rangeBytes);
  headBytes.copy(bytes);
  if (keys !== undefined) bytes.set(keys.subarray(0, head.keyBytes), PREPARE_HEAD_BYTES);
  if (ranges !== undefined) {
    bytes.set(ranges.subarray(0, head.rangeBytes), PREPARE_HEAD_BYTES + head.keyBytes);
  }
  return bytes;
}

function nextId(client: Client): number {
  const { commits, control } = client;
  if (commits.nextId === commits.idsEnd) {
    const { first, end } = control.transactions.grantIds();
    commits.nextId = first;
    commits.idsEnd = end;
  }
  return commits.nextId++;
}

// ---- waiting for a slot ---------------------------------------------------------------

/** Sends what waits, as far as there are slots. */
export function startWaiting(client: Client): void {
  const { waiting } = client.commits;
  while (waiting.length > 0) {
    const { request, resolve, reject } = waiting[0] as WaitingCommit;
    if (!prepare(client, request, resolve, reject)) return;
    client.commits.sentMs = performance.now();
    shiftWaiting(client);
  }
}

/** The first one is sent, or given up: writes that came after it need wait no longer. */
function shiftWaiting(client: Client): void {
  const first = client.commits.waiting.shift();
  if (first === undefined) return;
  for (const shard of client.shards) {
    if (takesPart(first.request, shard.shard)) shard.releaseBehind(first.number);
  }
}

/** The client ends: what waits is never sent. */
export function endWaiting(client: Client): void {
  for (const { reject } of client.commits.waiting.splice(0)) reject(unavailable('none'));
}

/** No slot came free for so long that something must hang that holds them all. */
function giveUpWaiting(client: Client): void {
  const { waiting, sentMs } = client.commits;
  const nowMs = performance.now();
  for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
    if (nowMs - Math.max(first.sinceMs, sentMs) < SLOT_WAIT_MS_MAX) return;
    shiftWaiting(client);
    first.reject(commitTimeout());
  }
}

/** Own commits that end look for those that wait; this is for slots that others held. */
function waitForSlot(client: Client): void {
  const { commits } = client;
  if (commits.isPolling) return;
  commits.isPolling = true;
  setTimeout(() => {
    commits.isPolling = false;
    startWaiting(client);
    giveUpWaiting(client);
    if (commits.waiting.length > 0) waitForSlot(client);
  }, 1);
}

function hasOperations(part: BatchPart | undefined): part is BatchPart {
  return part !== undefined && part.count > 0;
}
