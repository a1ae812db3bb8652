/**
 * Payloads of the requests that are not plain operations, as the client writes and the shard worker
 * reads them. A request whose payload does not fit one record comes in pieces: records with the same
 * kind and request id, all but the last marked MORE; the pieces' payloads, joined, are the payload.
 * Pieces of one request come in order; records of other requests may stand between them.
 *
 *   WRITE        operations; argument: their count (in every piece)
 *   GET          snapshot f64 (-1: latest), key
 *   LOAD_BLOCKS  table id u32, first block u32, count u32
 *   CACHE_BLOCK  table id u32, block u32, the block as it stands on disk
 *   CACHE_RECORD table id u32, key length u32, sequence f64, key, value: the newest version of the key
 *                that the table has; argument: 1 when the key was missed before
 *   GET_MANY     snapshot f64, then per key: length u32, bytes; argument: count (in every piece)
 *   BLOB_BEGIN   value length f64, key length u32, key, value (always in pieces; argument 0)
 */

/** As a snapshot: read what is newest. */
export const SNAPSHOT_LATEST = -1;

export const GET_HEAD_BYTES = 8;
export const LOAD_BLOCKS_BYTES = 12;
export const BLOB_HEAD_BYTES = 12;

export interface GetRequest {
  readonly snapshot: number;
  readonly keyStart: number;
  readonly keyEnd: number;
}

export function decodeGet(bytes: Buffer, payload: number, payloadBytes: number): GetRequest {
  expect(payloadBytes >= GET_HEAD_BYTES, 'get');
  return {
    snapshot: bytes.readDoubleLE(payload),
    keyStart: payload + GET_HEAD_BYTES,
    keyEnd: payload + payloadBytes,
  };
}

export interface LoadBlocksRequest {
  readonly table: number;
  readonly firstBlock: number;
  readonly count: number;
}

export function encodeLoadBlocks(bytes: Buffer, payload: number, request: LoadBlocksRequest): void {
  bytes.writeUInt32LE(request.table, payload);
  bytes.writeUInt32LE(request.firstBlock, payload + 4);
  bytes.writeUInt32LE(request.count, payload + 8);
}

export function decodeLoadBlocks(
  bytes: Buffer,
  payload: number,
  payloadBytes: number,
): LoadBlocksRequest {
  expect(payloadBytes === LOAD_BLOCKS_BYTES, 'load of blocks');
  return {
    table: bytes.readUInt32LE(payload),
    firstBlock: bytes.readUInt32LE(payload + 4),
    count: bytes.readUInt32LE(payload + 8),
  };
}

const CACHE_BLOCK_HEAD_BYTES = 8;

export interface CacheBlockRequest {
  readonly table: number;
  readonly block: number;
  /** Where the block's bytes begin; they end with the payload. */
  readonly storedStart: number;
}

export function decodeCacheBlock(
  bytes: Buffer,
  payload: number,
  payloadBytes: number,
): CacheBlockRequest {
  expect(payloadBytes >= CACHE_BLOCK_HEAD_BYTES, 'block for the cache');
  return {
    table: bytes.readUInt32LE(payload),
    block: bytes.readUInt32LE(payload + 4),
    storedStart: payload + CACHE_BLOCK_HEAD_BYTES,
  };
}

export const CACHE_RECORD_HEAD_BYTES = 16;

export interface CacheRecordRequest {
  readonly table: number;
  readonly keyLength: number;
  readonly sequence: number;
  /** Where the key begins; the value follows and ends with the payload. */
  readonly keyStart: number;
}

export function decodeCacheRecord(
  bytes: Buffer,
  payload: number,
  payloadBytes: number,
): CacheRecordRequest {
  expect(payloadBytes >= CACHE_RECORD_HEAD_BYTES, 'record for the cache');
  const keyLength = bytes.readUInt32LE(payload + 4);
  expect(payloadBytes >= CACHE_RECORD_HEAD_BYTES + keyLength, 'record for the cache');
  return {
    table: bytes.readUInt32LE(payload),
    keyLength,
    sequence: bytes.readDoubleLE(payload + 8),
    keyStart: payload + CACHE_RECORD_HEAD_BYTES,
  };
}

export interface GetManyRequest {
  readonly snapshot: number;
  readonly keys: readonly Buffer[];
}

export function encodeGetMany(snapshot: number, keys: readonly Uint8Array[]): Buffer {
  let total = GET_HEAD_BYTES;
  for (const key of keys) total += 4 + key.length;
  const bytes = Buffer.allocUnsafe(total);
  bytes.writeDoubleLE(snapshot, 0);
  let at = GET_HEAD_BYTES;
  for (const key of keys) {
    bytes.writeUInt32LE(key.length, at);
    bytes.set(key, at + 4);
    at += 4 + key.length;
  }
  return bytes;
}

/** The keys are views of `bytes`. */
export function decodeGetMany(
  bytes: Buffer,
  payload: number,
  payloadBytes: number,
  count: number,
): GetManyRequest {
  const end = payload + payloadBytes;
  expect(payloadBytes >= GET_HEAD_BYTES, 'get of many');
  const keys: Buffer[] = [];
  let at = payload + GET_HEAD_BYTES;
  for (let i = 0; i < count; i++) {
    expect(at + 4 <= end, 'get of many');
    const keyBytes = bytes.readUInt32LE(at);
    at += 4;
    expect(at + keyBytes <= end, 'get of many');
    keys.push(bytes.subarray(at, at + keyBytes));
    at += keyBytes;
  }
  expect(at === end, 'get of many');
  return { snapshot: bytes.readDoubleLE(payload), keys };
}

export function encodeBlobHead(valueBytes: number, key: Uint8Array): Buffer {
  const head = Buffer.allocUnsafe(BLOB_HEAD_BYTES + key.length);
  head.writeDoubleLE(valueBytes, 0);
  head.writeUInt32LE(key.length, 8);
  head.set(key, BLOB_HEAD_BYTES);
  return head;
}

/**
 * Reads a BLOB_BEGIN request piece by piece, so that the value never has to be whole in memory:
 * `push` each piece, write what it returns to the blob.
 */
export class BlobRequestReader {
  /** Known once the head has arrived; undefined before. */
  key: Buffer | undefined;
  valueBytes = 0;
  valueBytesReceived = 0;
  #head: Buffer = Buffer.alloc(0);

  /** Takes a piece; returns the value bytes in it, a view of `piece` or of a private copy. */
  push(piece: Buffer): Buffer {
    let value = piece;
    if (this.key === undefined) {
      this.#head = Buffer.concat([this.#head, piece]);
      if (this.#head.length < BLOB_HEAD_BYTES) return this.#head.subarray(0, 0);
      const keyEnd = BLOB_HEAD_BYTES + this.#head.readUInt32LE(8);
      if (this.#head.length < keyEnd) return this.#head.subarray(0, 0);
      this.valueBytes = this.#head.readDoubleLE(0);
      this.key = this.#head.subarray(BLOB_HEAD_BYTES, keyEnd);
      value = this.#head.subarray(keyEnd);
    }
    this.valueBytesReceived += value.length;
    expect(this.valueBytesReceived <= this.valueBytes, 'put of a large value');
    return value;
  }

  /** After the last piece: throws when bytes are missing. */
  finish(): void {
    expect(
      this.key !== undefined && this.valueBytesReceived === this.valueBytes,
      'put of a large value',
    );
  }
}

function expect(condition: boolean, what: string): asserts condition {
  if (!condition) throw new RangeError(`Cannot read a ${what}: the request is malformed`);
}
