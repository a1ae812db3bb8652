/** Everything that reads files outside of the kernel: hostile bytes give a value or an error of ours. */
import { describe, expect, it } from 'vitest';
import { BlobReader, BlobWriter, kernelPieceWindow } from '../../src/blob/blob-file.js';
import {
  decodeFrame,
  decodeLogHeader,
  encodeDecision,
  encodeLogHeader,
  encodeMark,
  frameAt,
} from '../../src/coordinator/log-format.js';
import { placementSeed, xxh64 } from '../../src/encoding/xxh64.js';
import { LightningError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import {
  decodeFooter,
  decodeProperties,
  encodeFooter,
  encodeProperties,
  FOOTER_BYTES,
} from '../../src/sstable/format.js';
import { decodeDatabaseFile, encodeDatabaseFile } from '../../src/version/database-file.js';
import { decodeLinkIntent, encodeLinkIntent } from '../../src/version/link-intent.js';
import {
  Manifest,
  readCurrent,
  readManifest,
  salvageManifest,
} from '../../src/version/manifest.js';
import { Version } from '../../src/version/version.js';
import {
  decodeVersionEdit,
  EditFormatError,
  encodeVersionEdit,
} from '../../src/version/version-edit.js';
import {
  checkGroupChecksum,
  decodeSegmentHeader,
  encodeSegmentHeader,
} from '../../src/wal/segment-format.js';
import { SegmentReader } from '../../src/wal/segment-reader.js';
import { jobKernel } from '../sstable/table-model.js';
import { table } from '../version/table.js';
import { sealGroup } from '../wal/group.js';
import { inputsOf, Mutator, SEED } from './mutations.js';

const ID = '01234567-89ab-cdef-0123-456789abcdef';
const PATH = '/db/0000000007.file';
const kernel = jobKernel(1024 * 1024);

interface Target {
  readonly name: string;
  readonly samples: readonly Buffer[];
  /** Makes checksums right again, so that what is behind them is reached. */
  readonly reseal?: (bytes: Buffer) => void;
  readonly decode: (bytes: Buffer) => unknown;
  /** A part of the inputs: it is slow. */
  readonly share?: number;
}

/** Writes xxh64 of `bytes[from..to)` at `at`, where that fits. */
function sumInto(bytes: Buffer, at: number, from: number, to: number, seed = 0n): void {
  if (at < 0 || at + 8 > bytes.length || from > to) return;
  bytes.writeBigUInt64LE(xxh64(bytes.subarray(from, to), seed), at);
}

/** Magic of 8 bytes, version, length, checksum at 16 over what follows: DATABASE and link intents. */
function resealFrame(bytes: Buffer): void {
  if (bytes.length < 24) return;
  bytes.writeUInt32LE(bytes.length - 24, 12);
  sumInto(bytes, 16, 24, bytes.length);
}

const info = table(7, 'apple', 'pear');
const intent = {
  id: 'load-1',
  sequence: 99,
  timestampUs: 1,
  shards: [{ shard: 0, nextFile: 9, tables: [info] }],
};
const edits = [
  { nextFile: 9, lastSequence: 12, walMin: 3 },
  { added: [{ order: 1, tables: [info] }], linked: ['a'] },
  { removed: [7], moved: [{ table: 8, order: 0 }] },
];

function manifestSample(): Buffer {
  const fs = memory();
  const manifest = Manifest.create({ fs, directory: '/db', shard: 0 }, Version.EMPTY, 7);
  manifest.append({ added: [{ order: 1, tables: [info] }] });
  manifest.append({ removed: [7], nextFile: 20 });
  manifest.close();
  return fs.readFile('/db/0000000007.manifest');
}

function memory(name?: string, bytes?: Buffer): MemoryFileSystem {
  const fs = new MemoryFileSystem();
  fs.mkdir('/db');
  if (name === undefined || bytes === undefined) return fs;
  const file = fs.open(`/db/${name}`, 'create');
  file.write(bytes, 0);
  file.close();
  return fs;
}

function resealManifest(bytes: Buffer): void {
  if (bytes.length < 48) return;
  sumInto(bytes, 24, 0, 24);
  const end = Math.min(bytes.length, 48 + bytes.readUInt32LE(32));
  sumInto(bytes, 40, 48, end, placementSeed(7, 32));
}

function segmentSample(): Buffer {
  const header = { shard: 0, segment: 7, bootId: 0.5, databaseId: ID };
  const head = encodeSegmentHeader({
    ...header,
    previousSegment: 3,
    previousBytes: 99,
    isPreviousDurable: true,
  });
  const pieces = [head];
  let at = head.length;
  for (let i = 0; i < 4; i++) {
    const group = sealGroup(7, at, {
      body: Buffer.alloc(40 + i * 31, i + 1),
      sequence: i,
      durableBytes: at,
    });
    pieces.push(group);
    at += group.length;
  }
  return Buffer.concat(pieces);
}

function readSegment(bytes: Buffer): number {
  const file = memory('segment', bytes).open('/db/segment', 'r');
  const reader = new SegmentReader(file, { buffer: Buffer.alloc(4096), check: checkGroupChecksum });
  let groups = 0;
  while (reader.next() !== undefined) groups++;
  return groups;
}

function blobSample(): Buffer {
  const fs = memory();
  const files = { fs, directory: '/db', shard: 0, window: kernelPieceWindow(kernel, 65536) };
  const writer = new BlobWriter(files, 7);
  writer.write(Buffer.alloc(70_000, 'x'));
  writer.finish();
  return fs.readFile('/db/0000000007.blob');
}

const footer = encodeFooter(
  {
    filterOffset: 100,
    filterBytes: 136,
    indexOffset: 236,
    indexBytes: 96,
    propertiesOffset: 332,
    propertiesBytes: 200,
    indexBlocks: 3,
    fenceBytes: 20,
  },
  7,
  532,
);
const frames = [
  encodeDecision(
    { id: 5, sequence: 9, timestampUs: 3, participants: 3n },
    { segment: 7, offset: 0, durableBytes: 0 },
  ),
  encodeMark(17, { segment: 7, offset: 0, durableBytes: 0 }),
];

const TARGETS: readonly Target[] = [
  {
    name: 'DATABASE',
    samples: [encodeDatabaseFile({ id: ID, shards: 4, createdAtMs: 1 })],
    reseal: resealFrame,
    decode: (bytes) => decodeDatabaseFile(bytes, PATH),
  },
  {
    name: 'link intent',
    samples: [encodeLinkIntent(intent)],
    reseal: resealFrame,
    decode: (bytes) => decodeLinkIntent(bytes, PATH),
  },
  {
    name: 'version edit',
    samples: edits.map(encodeVersionEdit),
    decode: (bytes) => decodeVersionEdit(bytes),
  },
  {
    name: 'manifest',
    samples: [manifestSample()],
    reseal: resealManifest,
    decode: (bytes) =>
      readManifest({ fs: memory('0000000007.manifest', bytes), directory: '/db', shard: 0 }, 7),
  },
  {
    name: 'manifest, for a repair',
    samples: [manifestSample()],
    reseal: resealManifest,
    decode: (bytes) =>
      salvageManifest({ fs: memory('0000000007.manifest', bytes), directory: '/db', shard: 0 }, 7),
  },
  {
    name: 'CURRENT',
    samples: [currentSample()],
    reseal: (bytes) => sumInto(bytes, 16, 0, 16),
    decode: (bytes) => readCurrent({ fs: memory('CURRENT', bytes), directory: '/db', shard: 0 }),
  },
  {
    name: 'WAL segment header',
    samples: [segmentSample().subarray(0, 64)],
    reseal: (bytes) => sumInto(bytes, 56, 0, 56),
    decode: (bytes) => decodeSegmentHeader(bytes, PATH),
  },
  { name: 'WAL segment', samples: [segmentSample()], decode: readSegment, share: 0.3 },
  {
    name: 'table footer',
    samples: [footer],
    reseal: (bytes) => sumInto(bytes, 64, 0, 64, placementSeed(7, 532)),
    decode: (bytes) => {
      const whole = Buffer.alloc(FOOTER_BYTES);
      bytes.copy(whole);
      return decodeFooter(whole, 532 + FOOTER_BYTES, { path: PATH, id: 7 });
    },
  },
  {
    name: 'table properties',
    samples: [encodeProperties(info, 332)],
    reseal: (bytes) => {
      if (bytes.length < 12) return;
      bytes.writeUInt32LE(bytes.length - 12, 0);
      sumInto(bytes, bytes.length - 8, 0, bytes.length - 8, placementSeed(7, 332));
    },
    decode: (bytes) => {
      const whole = bytes.length < 12 ? Buffer.concat([bytes, Buffer.alloc(12)]) : bytes;
      return decodeProperties(whole, 332, 1000, { path: PATH, id: 7 });
    },
  },
  {
    name: 'blob',
    samples: [blobSample()],
    share: 0.05,
    decode: (bytes) => {
      const fs = memory('0000000007.blob', bytes);
      const files = { fs, directory: '/db', shard: 0, window: kernelPieceWindow(kernel, 65536) };
      const reader = new BlobReader(files, { blob: 7, bytes: 70_000, checksum: 0n }, false);
      let total = 0;
      for (let piece = reader.next(); piece !== undefined; piece = reader.next())
        total += piece.length;
      reader.close();
      return total;
    },
  },
  {
    name: "header of the coordinator's log",
    samples: [
      encodeLogHeader({
        segment: 7,
        openCounter: 2,
        bootId: 0.5,
        databaseId: ID,
        systemIdentity: Buffer.alloc(16, 9),
        isSyncRun: false,
        bornBytes: 96,
      }),
    ],
    reseal: (bytes) => sumInto(bytes, 88, 0, 88),
    decode: (bytes) => decodeLogHeader(bytes, PATH),
  },
  {
    name: "frame of the coordinator's log",
    samples: frames,
    reseal: (bytes) => {
      if (bytes.length < 24) return;
      bytes.writeUInt32LE(bytes.length - 24, 8);
      sumInto(bytes, 0, 8, bytes.length, placementSeed(7, 0));
    },
    decode: (bytes) => {
      const frame = frameAt(bytes, 7, 0);
      return frame === undefined ? undefined : decodeFrame(frame, PATH, 0);
    },
  },
];

function currentSample(): Buffer {
  const fs = memory();
  Manifest.create({ fs, directory: '/db', shard: 0 }, Version.EMPTY, 7).close();
  return fs.readFile('/db/CURRENT');
}

describe('hostile bytes', () => {
  it.each(TARGETS)(
    'in a $name give what it says, or an error that says so',
    ({ samples, reseal, decode, share = 1 }) => {
      // What was written is read.
      for (const sample of samples) decode(sample);
      const mutator = new Mutator(SEED);
      let accepted = 0;
      let refused = 0;
      for (let i = 0; i < inputsOf(share); i++) {
        const bytes = mutator.mutate(samples);
        if (reseal !== undefined && i % 2 === 0) reseal(bytes);
        const before = Buffer.from(bytes);
        try {
          if (decode(bytes) === undefined) refused++;
          else accepted++;
        } catch (error) {
          const isOurs = error instanceof LightningError || error instanceof EditFormatError;
          if (!isOurs)
            throw new Error(`Input ${i}, seed ${SEED}: ${bytes.toString('hex')}`, { cause: error });
          refused++;
        }
        if (!bytes.equals(before)) throw new Error(`Input ${i}, seed ${SEED}: changed by reading`);
      }
      expect(accepted + refused).toBeGreaterThan(0);
      expect(refused).toBeGreaterThan(0);
    },
    36_000_000,
  );
});
