import { describe, expect, it } from 'vitest';
import { CorruptionError, IoError } from '../../src/errors.js';
import { MemoryFileSystem } from '../../src/file-system/memory.js';
import {
  decodeLinkIntent,
  encodeLinkIntent,
  forgetLinkIntents,
  type LinkIntent,
  linkEdit,
  linkIntentName,
  mayHaveLinkIntent,
  readLinkIntents,
  removeLinkIntent,
  renewLinkIntents,
  writeLinkIntent,
} from '../../src/version/link-intent.js';
import { Version } from '../../src/version/version.js';
import { table as tableInfo } from './table.js';

const intent: LinkIntent = {
  id: '0b0e-1',
  sequence: 77,
  timestampUs: 1_700_000_000_000_000,
  shards: [
    { shard: 0, tables: [tableInfo(5, 'a', 'c'), tableInfo(6, 'd', 'f')], nextFile: 40 },
    { shard: 1, tables: [], nextFile: 0 },
  ],
};

describe('an intent', () => {
  it('is read as it was written', () => {
    expect(decodeLinkIntent(encodeLinkIntent(intent), 'file')).toEqual(intent);
  });

  it('with any byte changed, or cut anywhere, is corruption', () => {
    const bytes = encodeLinkIntent(intent);
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] as number) ^ 1;
      expect(() => decodeLinkIntent(changed, 'file')).toThrow();
      expect(() => decodeLinkIntent(bytes.subarray(0, at), 'file')).toThrow(CorruptionError);
    }
  });

  it('lies in the directory until it is removed', () => {
    const fs = new MemoryFileSystem();
    fs.mkdir('/c');
    writeLinkIntent(fs, '/c', intent);
    writeLinkIntent(fs, '/c', { ...intent, id: 'older', sequence: 3 });
    expect(readLinkIntents(fs, '/c').map(({ id }) => id)).toEqual(['older', '0b0e-1']);
    removeLinkIntent(fs, '/c', 'older');
    expect(readLinkIntents(fs, '/c')).toEqual([intent]);
    expect(readLinkIntents(fs, '/none')).toEqual([]);
  });

  it('whose name was not synced is durable once it is renewed', () => {
    for (const isRenewed of [false, true]) {
      const fs = new MemoryFileSystem();
      fs.mkdir('/c');
      fs.syncDirectory('/');
      // Open, write, sync and rename come before.
      fs.failAt(5, 'EIO');
      expect(() => writeLinkIntent(fs, '/c', intent)).toThrow(IoError);
      expect(mayHaveLinkIntent(fs, '/c', intent.id)).toBe(true);
      if (isRenewed) renewLinkIntents(fs, '/c');
      else fs.syncDirectory('/c');
      fs.crash('synced');
      expect(readLinkIntents(fs, '/c')).toEqual(isRenewed ? [intent] : []);
    }
  });

  it('under the name of another is corruption', () => {
    const fs = new MemoryFileSystem();
    fs.mkdir('/c');
    writeLinkIntent(fs, '/c', intent);
    fs.rename(`/c/${linkIntentName(intent.id)}`, `/c/${linkIntentName('another')}`);
    expect(() => readLinkIntents(fs, '/c')).toThrow(CorruptionError);
  });

  it('is forgotten with what unfinished loads left, and nothing else', () => {
    const fs = new MemoryFileSystem();
    fs.mkdir('/c');
    writeLinkIntent(fs, '/c', intent);
    for (const name of ['bulk-x.json.tmp', 'bulk.log', '0000000001.log']) {
      fs.open(`/c/${name}`, 'create').close();
    }
    forgetLinkIntents(fs, '/c');
    expect(fs.readdir('/c')).toEqual(['0000000001.log', 'bulk.log']);
  });
});

describe('linking', () => {
  it('makes the tables the bottom run of a shard that is empty', () => {
    const edit = linkEdit(Version.EMPTY, intent, 0);
    const version = Version.EMPTY.apply(edit ?? {});
    expect(version.runs).toEqual([{ order: 0, tables: intent.shards[0]?.tables }]);
    expect(version.state).toMatchObject({
      nextFile: 40,
      lastSequence: 77,
      lastTimestampUs: intent.timestampUs,
      linked: [intent.id],
    });
  });

  it('makes them the newest run of one that is not', () => {
    const before = Version.EMPTY.apply({
      added: [
        { order: 0, tables: [tableInfo(1, 'a', 'z')] },
        { order: 4, tables: [tableInfo(2, 'b', 'b')] },
      ],
      nextOrder: 5,
    });
    const version = before.apply(linkEdit(before, intent, 0) ?? {});
    expect(version.runs.map(({ order }) => order)).toEqual([5, 4, 0]);
    expect(version.state.nextOrder).toBe(6);
  });

  it('happens once, even if the tables are gone again', () => {
    const linked = Version.EMPTY.apply(linkEdit(Version.EMPTY, intent, 0) ?? {});
    expect(linkEdit(linked, intent, 0)).toBeUndefined();
    const compacted = linked.apply({ removed: [5, 6] });
    expect(linkEdit(compacted, intent, 0)).toBeUndefined();
  });

  it('is noted by shards that get nothing', () => {
    const version = Version.EMPTY.apply(linkEdit(Version.EMPTY, intent, 1) ?? {});
    expect(version.runs).toEqual([]);
    expect(version.state.linked).toEqual([intent.id]);
  });
});
