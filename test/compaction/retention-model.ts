/** What a flush or merge must keep, said once more without any cleverness. */

import type { Retention } from '../../src/compaction/retention.js';
import { type Entry, OP_DELETE } from '../sstable/table-model.js';

/** `sources` newest first, each in order. */
export function retained(sources: readonly (readonly Entry[])[], retention: Retention): Entry[] {
  const { horizon, snapshots, bottom } = retention;
  const byKey = new Map<string, Entry[]>();
  for (const entries of sources) {
    for (const entry of entries) {
      const name = entry.key.toString('latin1');
      const versions = byKey.get(name) ?? [];
      if (!versions.some(({ sequence }) => sequence === entry.sequence)) versions.push(entry);
      byKey.set(name, versions);
    }
  }
  const kept: Entry[] = [];
  for (const versions of byKey.values()) {
    versions.sort((left, right) => right.sequence - left.sequence);
    const needed = versions.filter((version, i) => {
      const newer = versions[i - 1];
      if (newer === undefined || newer.sequence > horizon) return true;
      return snapshots.some((at) => version.sequence <= at && at < newer.sequence);
    });
    while (bottom) {
      const last = needed[needed.length - 1];
      if (last === undefined || last.type !== OP_DELETE || last.sequence > horizon) break;
      needed.pop();
    }
    kept.push(...needed);
  }
  return kept.sort(
    (left, right) => Buffer.compare(left.key, right.key) || right.sequence - left.sequence,
  );
}

/** What a reader at `snapshot` sees of a key; undefined when it is deleted or was never there. */
export function seen(entries: readonly Entry[], key: Buffer, snapshot: number): Buffer | undefined {
  let newest: Entry | undefined;
  for (const entry of entries) {
    if (entry.sequence > snapshot || !entry.key.equals(key)) continue;
    if (newest === undefined || entry.sequence > newest.sequence) newest = entry;
  }
  return newest === undefined || newest.type === OP_DELETE ? undefined : newest.value;
}
