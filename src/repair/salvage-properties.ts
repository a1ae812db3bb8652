/** What a table says of itself, found by its own checksum when the footer that leads there is damaged. */
import { CorruptionError } from '../errors.js';
import type { FileSystem } from '../file-system/file-system.js';
import { decodeProperties } from '../sstable/format.js';
import type { TableInfo, TableRef } from '../sstable/table-info.js';

/** Keys of the greatest length, in Base64, and many blobs. */
const TAIL_BYTES = 1024 * 1024;
const BEGINNING = '{"entries":';
const LENGTH_BYTES = 4;
const CHECKSUM_BYTES = 8;

export function salvageProperties(fs: FileSystem, ref: TableRef): TableInfo | undefined {
  const file = fs.open(ref.path, 'r');
  try {
    const fileBytes = file.size();
    const from = Math.max(0, fileBytes - TAIL_BYTES);
    const tail = Buffer.alloc(fileBytes - from);
    const got = file.read(tail, from);
    const at = tail.subarray(0, got).lastIndexOf(BEGINNING) - LENGTH_BYTES;
    if (at < 0) return undefined;
    const end = at + LENGTH_BYTES + tail.readUInt32LE(at) + CHECKSUM_BYTES;
    if (end > got) return undefined;
    return decodeProperties(tail.subarray(at, end), from + at, fileBytes, ref);
  } catch (error) {
    if (error instanceof CorruptionError) return undefined;
    throw error;
  } finally {
    file.close();
  }
}
