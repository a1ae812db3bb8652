/**
 * A file of the file system in memory: what is read of it, and what of that is on the medium.
 *
 * In mode `random` every write since the last sync survives a power loss whole, up to some sector, or
 * not at all, independently of later writes (as disks do); the length follows the last byte that
 * survived, gaps are zero.
 */

const SECTOR_BYTES = 512;

/** `synced`: only synced state survives. `all`: everything does (the process died, not the system). */
export type CrashMode = 'synced' | 'all' | 'random';

/** A change of contents that has not been synced: written bytes, or a new length. */
export type Change =
  | { readonly kind: 'write'; readonly position: number; readonly bytes: Uint8Array }
  | { readonly kind: 'truncate'; readonly bytes: number };

export class Inode {
  bytes: Uint8Array = new Uint8Array(0);
  length = 0;
  /** State on the medium, and what has changed since. */
  synced: Uint8Array = new Uint8Array(0);
  changes: Change[] = [];
  /** Some of what is read here will be gone after a power loss, although nothing is to be synced. */
  hasLost = false;

  resize(length: number): void {
    if (length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(length, this.bytes.length * 2, 256));
      larger.set(this.bytes.subarray(0, this.length));
      this.bytes = larger;
    }
    if (length > this.length) this.bytes.fill(0, this.length, length);
    this.length = length;
  }

  apply(change: Change): void {
    if (change.kind === 'truncate') {
      this.resize(change.bytes);
      return;
    }
    const end = change.position + change.bytes.length;
    if (end > this.length) this.resize(end);
    this.bytes.set(change.bytes, change.position);
  }

  sync(): void {
    if (this.hasLost) {
      for (const change of this.changes) this.synced = changed(this.synced, change);
    } else {
      this.synced = this.bytes.slice(0, this.length);
    }
    this.changes = [];
  }

  /**
   * A sync failed: what was to be synced stays readable and never reaches the medium, whatever is
   * synced later. So do Linux and others.
   */
  loseChanges(): void {
    if (this.changes.length > 0) this.hasLost = true;
    this.changes = [];
  }

  /** The inode as it is found after the power came back. */
  survive(mode: CrashMode, random: () => number): void {
    if (mode !== 'all') {
      const changes = this.changes;
      this.bytes = this.synced.slice();
      this.length = this.synced.length;
      if (mode === 'random') {
        for (const change of changes) {
          const luck = random();
          if (luck < 0.4) this.apply(change);
          else if (luck < 0.7 && change.kind === 'write') this.apply(torn(change, random));
        }
      }
      this.hasLost = false;
    }
    this.sync();
  }
}

function changed(bytes: Uint8Array, change: Change): Uint8Array {
  if (change.kind === 'truncate') {
    const cut = new Uint8Array(change.bytes);
    cut.set(bytes.subarray(0, change.bytes));
    return cut;
  }
  const end = change.position + change.bytes.length;
  const result = new Uint8Array(Math.max(bytes.length, end));
  result.set(bytes);
  result.set(change.bytes, change.position);
  return result;
}

function torn(change: Extract<Change, { kind: 'write' }>, random: () => number): Change {
  const end = change.position + Math.floor(random() * (change.bytes.length + 1));
  // A sector is written whole or not at all.
  const cut = Math.max(0, Math.floor(end / SECTOR_BYTES) * SECTOR_BYTES - change.position);
  return { kind: 'write', position: change.position, bytes: change.bytes.subarray(0, cut) };
}
