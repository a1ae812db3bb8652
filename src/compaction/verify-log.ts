/**
 * Checks the groups of a WAL segment up to where the shard has written it: all of them were
 * acknowledged, so none may be missing or torn.
 */
import { CorruptionError } from '../errors.js';
import type { FileSystem } from '../file-system/file-system.js';
import type { Kernel } from '../kernel/kernel.js';
import { WAL_GROUP_BYTES_MAX } from '../kernel/shard-memory.js';
import {
  type CheckGroup,
  GROUP_HEADER_BYTES,
  GROUP_MAGIC,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from '../wal/segment-format.js';
import { SegmentReader } from '../wal/segment-reader.js';
import { JobMemory } from './job-memory.js';
import { type Problem, problemOf } from './problem.js';
import type { ReadCount } from './read-count.js';

export interface SegmentToVerify {
  readonly path: string;
  readonly shard: number;
  readonly databaseId: string;
  readonly segment: number;
  /** Where its last group ended when the check began; it may have grown since. */
  readonly bytes: number;
}

export function verifySegment(
  fs: FileSystem,
  kernel: Kernel,
  expected: SegmentToVerify,
  count: ReadCount,
): readonly Problem[] {
  try {
    checkGroups(fs, kernel, expected, count);
    return [];
  } catch (error) {
    return [problemOf(error, expected.path)];
  }
}

function checkGroups(
  fs: FileSystem,
  kernel: Kernel,
  expected: SegmentToVerify,
  count: ReadCount,
): void {
  const address = new JobMemory(kernel).allocate(WAL_GROUP_BYTES_MAX);
  const file = fs.open(expected.path, 'r');
  try {
    const buffer = kernel.bytes.subarray(address, address + WAL_GROUP_BYTES_MAX);
    const reader = new SegmentReader(file, { buffer, check: groupCheck(kernel, address) });
    checkHeader(reader.header, expected);
    count.add(0, SEGMENT_HEADER_BYTES);
    while (reader.offset < expected.bytes) {
      const group = reader.next();
      if (group === undefined) {
        throw new CorruptionError('WAL group is damaged', {
          file: expected.path,
          offset: reader.offset,
        });
      }
      count.add(0, group.bytes);
    }
  } finally {
    file.close();
  }
}

function checkHeader(header: SegmentHeader, expected: SegmentToVerify): void {
  const { segment, shard, databaseId, path } = expected;
  const isRight =
    header.segment === segment && header.shard === shard && header.databaseId === databaseId;
  if (isRight) return;
  throw new CorruptionError('WAL segment belongs elsewhere', {
    file: path,
    offset: 0,
    expected: `segment ${segment} of shard ${shard} of ${databaseId}`,
    found: `segment ${header.segment} of shard ${header.shard} of ${header.databaseId}`,
  });
}

/** Checks a group that stands at `address`. */
function groupCheck(kernel: Kernel, address: number): CheckGroup {
  return (_buffer, bytes, segment, offset) => {
    if (bytes < GROUP_HEADER_BYTES) return 'more';
    if (kernel.bytes.readUInt32LE(address) !== GROUP_MAGIC) return 'bad';
    const total = GROUP_HEADER_BYTES + kernel.bytes.readUInt32LE(address + 4);
    if (total > bytes) return 'more';
    const { exports } = kernel;
    exports.checksumPlaced(address + 16, total - 16, segment, offset);
    const isSame =
      exports.checksumLow() >>> 0 === kernel.bytes.readUInt32LE(address + 8) &&
      exports.checksumHigh() >>> 0 === kernel.bytes.readUInt32LE(address + 12);
    return isSame ? 'ok' : 'bad';
  };
}
