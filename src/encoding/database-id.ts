/** A database's id, a uuid, in the 16 bytes that it takes in file headers. */

export const DATABASE_ID_BYTES = 16;

export function databaseIdBytes(id: string): Buffer {
  const bytes = Buffer.from(id.replaceAll('-', ''), 'hex');
  const padded = Buffer.alloc(DATABASE_ID_BYTES);
  bytes.copy(padded);
  return padded;
}

export function databaseIdText(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  const cuts = [0, 8, 12, 16, 20, 32];
  return cuts
    .slice(1)
    .map((end, i) => hex.slice(cuts[i], end))
    .join('-');
}
