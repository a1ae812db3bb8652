import { describe, expect, it } from 'vitest';
import { verifyTable } from '../../src/compaction/verify-table.js';
import { placementSeed, xxh64 } from '../../src/encoding/xxh64.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import { decodeIndex } from '../sstable/index-model.js';
import { jobKernel, put, remove, tablePath, writeTables } from '../sstable/table-model.js';

const kernel = jobKernel();
const entries = [
  ...Array.from({ length: 20 }, (_, i) => put(`key ${100 + i}`, i + 1, `value ${i}`.repeat(3))),
  remove('kez', 30),
];

function verify(damage: (file: Buffer) => void, compression = true) {
  const fs = new MemoryFileSystem();
  writeTables(fs, kernel, entries, { blockBytes: 160, compression });
  const file = fs.readFile(tablePath(1));
  damage(file);
  fs.open(tablePath(1), 'create').write(file, 0);
  return verifyTable(fs, kernel, { path: tablePath(1), id: 1 });
}

/** Makes the checksum of a section, or a block, right again. */
function seal(file: Buffer, from: number, bytes: number): void {
  const end = from + bytes - 8;
  file.writeBigUInt64LE(xxh64(file.subarray(from, end), placementSeed(1, from)), end);
}

function placesOf(file: Buffer) {
  const footer = file.subarray(file.length - 80);
  const filterAt = Number(footer.readBigUInt64LE(8));
  const indexAt = Number(footer.readBigUInt64LE(24));
  const propertiesAt = Number(footer.readBigUInt64LE(32));
  const { offsets, fences } = decodeIndex(file);
  const blocks = fences.length;
  const blockAt = (i: number): number => offsets[i] as number;
  return {
    filterAt,
    filterBytes: footer.readUInt32LE(16),
    indexAt,
    indexBytes: footer.readUInt32LE(20),
    propertiesAt,
    propertiesBytes: footer.readUInt32LE(40),
    blocks,
    blockAt,
  };
}

describe('verifyTable', () => {
  it('finds nothing wrong with a sound table', () => {
    const { problems, blocks, entries: found } = verify(() => {});
    expect(problems).toEqual([]);
    expect(blocks).toBeGreaterThan(3);
    expect(found).toBe(entries.length);
  });

  it.each([true, false])('reports every flipped byte (compression %s)', (compression) => {
    const { length } = verifyLength(compression);
    for (let at = 0; at < length; at++) {
      const { problems } = verify((file) => {
        file[at] = (file[at] as number) ^ 0x10;
      }, compression);
      expect(problems.length, `byte ${at}`).toBeGreaterThan(0);
      expect(problems[0]?.file).toBe(tablePath(1));
    }
  });

  it('names the block that is damaged, and goes on behind it', () => {
    let offset = 0;
    const { problems, blocks } = verify((file) => {
      offset = placesOf(file).blockAt(1);
      file[offset + 20] = (file[offset + 20] as number) ^ 1;
    });
    expect(problems).toEqual([
      {
        code: 'LIGHTNING_CORRUPTION',
        file: tablePath(1),
        offset,
        message: 'The checksum of a block is wrong',
      },
    ]);
    expect(blocks).toBeGreaterThan(2);
  });

  it('looks at blocks behind a bad filter, too, and says how much is bad', () => {
    const extentOf = (...places: ((places: ReturnType<typeof placesOf>) => number)[]) => {
      const { extent, problems } = verify((file) => {
        for (const place of places) {
          const at = place(placesOf(file));
          file[at] = (file[at] as number) ^ 1;
        }
      });
      return [extent, problems.length];
    };
    expect(extentOf()).toEqual([undefined, 0]);
    expect(extentOf(({ filterAt }) => filterAt + 70)).toEqual(['filter', 1]);
    expect(
      extentOf(
        ({ filterAt }) => filterAt + 70,
        ({ blockAt }) => blockAt(1) + 20,
      ),
    ).toEqual(['blocks', 2]);
    expect(extentOf(({ blockAt }) => blockAt(1) + 20)).toEqual(['blocks', 1]);
    expect(extentOf(({ indexAt }) => indexAt + 70)).toEqual(['table', 1]);
  });

  it('reports wrong contents under right checksums', () => {
    const messages = (damage: (file: Buffer) => void): string[] =>
      verify(damage, false).problems.map(({ message }) => message);

    expect(
      messages((file) => {
        const { blockAt } = placesOf(file);
        file[16] = (file[16] as number) ^ 1;
        seal(file, 0, blockAt(1));
      }),
    ).toEqual(['A fingerprint is not that of its key']);

    expect(
      messages((file) => {
        const { filterAt, filterBytes } = placesOf(file);
        file.fill(0, filterAt + 64, filterAt + filterBytes - 8);
        seal(file, filterAt, filterBytes);
      })[0],
    ).toBe('The filter denies a key of the table');

    expect(
      messages((file) => {
        const { propertiesAt, propertiesBytes } = placesOf(file);
        const at = file.indexOf('"tombstones":1', propertiesAt);
        file.write('"tombstones":2', at);
        seal(file, propertiesAt, propertiesBytes);
      }),
    ).toEqual(['The property "tombstones" does not fit the blocks']);

    expect(
      messages((file) => {
        const { propertiesAt, propertiesBytes } = placesOf(file);
        const name = (key: string): string => `"${Buffer.from(key).toString('base64')}"`;
        const at = file.indexOf(name('key 100'), propertiesAt);
        file.write(name('key 000'), at);
        seal(file, propertiesAt, propertiesBytes);
      }),
    ).toEqual(['The property "smallest" does not fit the blocks']);

    expect(
      messages((file) => {
        const { blockAt } = placesOf(file);
        // The last key of the first block grows beyond the second block's fence.
        const end = blockAt(1);
        const key = file.lastIndexOf('value', end - 12 - 7 * 3) - 1;
        file[key] = 0x7a;
        seal(file, 0, end);
      }).length,
    ).toBeGreaterThan(0);
  });
});

function verifyLength(compression: boolean): { length: number } {
  const fs = new MemoryFileSystem();
  writeTables(fs, kernel, entries, { blockBytes: 256, compression });
  return { length: fs.fileSize(tablePath(1)) };
}
