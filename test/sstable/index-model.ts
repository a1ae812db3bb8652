/** The index of a table, by docs/FORMAT.md alone. */

export interface DecodedIndex {
  /** Where blocks begin, and the last one ends. */
  readonly offsets: number[];
  readonly fences: Buffer[];
}

export function decodeIndex(file: Buffer): DecodedIndex {
  const footer = file.subarray(file.length - 80);
  const indexAt = Number(footer.readBigUInt64LE(24));
  const index = file.subarray(indexAt, indexAt + footer.readUInt32LE(20) - 8);
  const blocks = footer.readUInt32LE(48);
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = index.readUInt8(at++);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  const offsets = [0];
  const fences: Buffer[] = [];
  for (let i = 0; i < blocks; i++) {
    offsets.push((offsets[i] as number) + varint());
    const shared = i === 0 ? 0 : varint();
    const rest = i === 0 ? 0 : varint();
    const before = (fences[i - 1] ?? Buffer.alloc(0)).subarray(0, shared);
    if (before.length !== shared) throw new Error('A fence shares more than there is');
    fences.push(Buffer.concat([before, index.subarray(at, at + rest)]));
    at += rest;
  }
  if (at !== index.length) throw new Error('The index does not end with its last fence');
  const fenceBytes = fences.reduce((sum, fence) => sum + fence.length, 0);
  if (fenceBytes !== footer.readUInt32LE(52)) throw new Error('Wrong number of bytes of fences');
  return { offsets, fences };
}

/** The index as it stands in memory: see src/kernel/assembly/table-index.ts. */
export function unpackedIndex(file: Buffer): Buffer {
  const { offsets, fences } = decodeIndex(file);
  const prefix = commonPrefix(fences[1], fences.at(-1));
  const head = Buffer.alloc(64);
  head.writeUInt32LE(fences.length, 0);
  head.writeUInt32LE(prefix, 4);
  const ends = fences.map((_, i) => Buffer.concat(fences.slice(0, i + 1)).length);
  head.writeUInt32LE(ends.at(-1) as number, 8);
  const words = [...offsets, 0, ...ends].map((word) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(word);
    return bytes;
  });
  const heads = fences.map((fence) => {
    const bytes = Buffer.alloc(8);
    fence.subarray(prefix).copy(bytes);
    return bytes.reverse();
  });
  return Buffer.concat([head, ...heads, ...words, ...fences, Buffer.alloc(8)]);
}

function commonPrefix(a: Buffer | undefined, b: Buffer | undefined): number {
  if (a === undefined || b === undefined) return 0;
  let same = 0;
  while (same < a.length && same < b.length && a[same] === b[same]) same++;
  return same;
}
