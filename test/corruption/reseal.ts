/**
 * The tester tested: files whose checksums are made right again after they were damaged look, to a
 * reader, as they would if it did not compare checksums. Layouts are in docs/FORMAT.md.
 */
import { placementSeed, xxh64 } from '../../src/encoding/xxh64.js';
import { decodeIndex } from '../sstable/index-model.js';

/** A checksum: where it stands, what it covers, and where that lies. */
interface Checked {
  readonly at: number;
  readonly from: number;
  readonly to: number;
  readonly offset: number;
}

export type Reseal = (number: number, sound: Buffer, damaged: Buffer) => Buffer;

const SEGMENT_HEADER_BYTES = 64;
const GROUP_HEADER_BYTES = 64;
const MANIFEST_HEADER_BYTES = 32;
const EDIT_HEADER_BYTES = 16;

function* blocksOf(table: Buffer): Generator<Checked> {
  const { offsets, fences } = decodeIndex(table);
  for (let i = 0; i < fences.length; i++) {
    const from = offsets[i] as number;
    const end = offsets[i + 1] as number;
    yield { at: end - 8, from, to: end - 8, offset: from };
  }
}

function* groupsOf(segment: Buffer): Generator<Checked> {
  const hasGroup = (at: number): boolean =>
    at + GROUP_HEADER_BYTES <= segment.length && segment.readUInt32LE(at) !== 0;
  for (let at = SEGMENT_HEADER_BYTES; hasGroup(at); ) {
    const end = at + GROUP_HEADER_BYTES + segment.readUInt32LE(at + 4);
    yield { at: at + 8, from: at + 16, to: end, offset: at };
    at = end;
  }
}

function* editsOf(manifest: Buffer): Generator<Checked> {
  for (let at = MANIFEST_HEADER_BYTES; at + EDIT_HEADER_BYTES <= manifest.length; ) {
    const end = at + EDIT_HEADER_BYTES + manifest.readUInt32LE(at);
    yield { at: at + 8, from: at + EDIT_HEADER_BYTES, to: end, offset: at };
    at = end;
  }
}

/** Makes the checksums right that stood in the sound file, over what is there now. */
function resealing(checksumsOf: (sound: Buffer) => Iterable<Checked>): Reseal {
  return (number, sound, damaged) => {
    const resealed = Buffer.from(damaged);
    for (const { at, from, to, offset } of checksumsOf(sound)) {
      const sum = xxh64(sound.subarray(from, to), placementSeed(number, offset));
      if (sum !== sound.readBigUInt64LE(at)) throw new Error(`No checksum stands at ${at}`);
      const now = xxh64(resealed.subarray(from, to), placementSeed(number, offset));
      if (damaged.readBigUInt64LE(at) === sum) resealed.writeBigUInt64LE(now, at);
    }
    return resealed;
  };
}

export const resealBlocks = resealing(blocksOf);
export const resealGroups = resealing(groupsOf);
export const resealEdits = resealing(editsOf);
