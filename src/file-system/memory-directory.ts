/**
 * A directory of the file system in memory: names that are seen, and names that are on the medium.
 *
 * In mode `random` changes since the last sync survive a power loss as a prefix of their order (as
 * journals keep it); a rename within one directory is one change, one between two is two.
 */
import type { CrashMode, Inode } from './memory-inode.js';

export type MemoryNode = Inode | MemoryDirectory;

interface NameChange {
  readonly name: string;
  /** undefined: the name goes away. */
  readonly node: MemoryNode | undefined;
  /** Both halves of a rename within one directory happen together. */
  readonly withNext: boolean;
}

export class MemoryDirectory {
  entries = new Map<string, MemoryNode>();
  synced = new Map<string, MemoryNode>();
  changes: NameChange[] = [];
  /** Some of the names will not be there after a power loss, although nothing is to be synced. */
  hasLost = false;

  set(name: string, node: MemoryNode | undefined, withNext = false): void {
    if (node === undefined) this.entries.delete(name);
    else this.entries.set(name, node);
    this.changes.push({ name, node, withNext });
  }

  sync(): void {
    if (this.hasLost) for (const change of this.changes) applyTo(this.synced, change);
    else this.synced = new Map(this.entries);
    this.changes = [];
  }

  /** A sync failed: the changes stay visible and never reach the medium, whatever is synced later. */
  loseChanges(): void {
    if (this.changes.length > 0) this.hasLost = true;
    this.changes = [];
  }

  survive(mode: CrashMode, random: () => number): void {
    if (mode !== 'all') {
      const changes = this.changes;
      this.entries = new Map(this.synced);
      let kept = mode === 'random' ? Math.floor(random() * (changes.length + 1)) : 0;
      while (kept > 0 && kept < changes.length && changes[kept - 1]?.withNext) kept++;
      for (const change of changes.slice(0, kept)) applyTo(this.entries, change);
      this.hasLost = false;
    }
    this.sync();
    for (const node of this.entries.values()) node.survive(mode, random);
  }
}

function applyTo(entries: Map<string, MemoryNode>, { name, node }: NameChange): void {
  if (node === undefined) entries.delete(name);
  else entries.set(name, node);
}
