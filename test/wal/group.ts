/** Sealed groups for tests, made without a kernel. */

import { placementSeed, xxh64 } from '../../src/encoding/xxh64.js';
import { GROUP_HEADER_BYTES, GROUP_MAGIC } from '../../src/wal/segment-format.js';

export interface GroupFields {
  readonly body: Uint8Array;
  readonly sequence: number;
  readonly durableBytes?: number;
  readonly flags?: number;
}

export function sealGroup(segment: number, offset: number, fields: GroupFields): Buffer {
  const group = Buffer.alloc(GROUP_HEADER_BYTES + fields.body.length);
  group.writeUInt32LE(GROUP_MAGIC, 0);
  group.writeUInt32LE(fields.body.length, 4);
  group.writeBigUInt64LE(BigInt(fields.sequence), 16);
  group.writeDoubleLE(1000 + fields.sequence, 24);
  group.writeBigUInt64LE(BigInt(fields.durableBytes ?? 0), 40);
  group.writeUInt32LE(1, 48);
  group.writeUInt32LE(fields.flags ?? 0, 52);
  group.set(fields.body, GROUP_HEADER_BYTES);
  group.writeBigUInt64LE(xxh64(group.subarray(16), placementSeed(segment, offset)), 8);
  return group;
}
