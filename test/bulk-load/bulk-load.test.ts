import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { bulkLoad } from '../../src/bulk-load/bulk-load.js';
import type { BulkJob } from '../../src/bulk-load/load-jobs.js';
import type {
  BulkLoadOptions,
  BulkLoadProgress,
  BulkLoadReject,
} from '../../src/bulk-load/options.js';
import { fileError } from '../../src/file-system/file-system.js';
import { nodeFileSystem } from '../../src/file-system/node.js';
import { type LinkIntent, readLinkIntents } from '../../src/version/link-intent.js';
import { LocalTarget } from './local-target.js';

const MIB = 1024 * 1024;
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'lightning-load-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function target(options = {}): LocalTarget {
  return new LocalTarget(join(directory, 'db'), options);
}

function file(name: string, content: string | Buffer): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

/** Files of the shards, without those that linked tables need. */
function strayFiles(into: LocalTarget): string[] {
  return into.versions.flatMap((version, shard) => {
    const tables = [...version.tables()];
    const live = new Set([
      ...tables.map(({ id }) => `${String(id).padStart(10, '0')}.table`),
      ...tables.flatMap(({ blobs }) => blobs.map((id) => `${String(id).padStart(10, '0')}.blob`)),
    ]);
    return readdirSync(into.directoryOf(shard)).filter((name) => !live.has(name));
  });
}

/** Whether the tables that jobs of a kind made were to be durable: what they said, each answer once. */
function durabilityOf(
  into: LocalTarget,
  kind: 'bulk-build' | 'bulk-merge',
): (boolean | undefined)[] {
  const jobs = into.jobs.flatMap((job) => (job.kind === kind ? [job.target.durable] : []));
  return [...new Set(jobs)];
}

const asObject = (map: Map<string, string>): Record<string, string> =>
  Object.fromEntries([...map].sort(([a], [b]) => (a < b ? -1 : 1)));

function entries(count: number, seed = 1): [string, string][] {
  return Array.from({ length: count }, (_, i) => {
    const n = ((i + seed) * 2654435761) % 4294967296;
    return [`user:${String(n).padStart(12, '0')}`, `value ${i} ${'x'.repeat(n % 100)}`];
  });
}

describe('an iterable of entries', () => {
  it('is loaded, the last of equal keys wins', async () => {
    const into = target();
    const source = [
      ...entries(5000),
      ...entries(1000).map(([k]): [string, string] => [k, 'again']),
    ];
    const result = await bulkLoad(into, source);
    expect(into.contents()).toEqual(new Map(source));
    expect(result).toMatchObject({ records: 6000, duplicates: 1000, rejected: 0, spills: 0 });
    expect(result.shards.reduce((sum, shard) => sum + shard.entries, 0)).toBe(5000);
    expect(strayFiles(into)).toEqual([]);
    expect(readdirSync(join(into.path, 'coordinator'))).toEqual([]);
  });

  it.each([
    [
      'a generator',
      (all: unknown[]) =>
        (function* () {
          yield* all;
        })(),
    ],
    [
      'an async generator',
      (all: unknown[]) =>
        (async function* () {
          yield* all;
        })(),
    ],
    ['a stream of objects', (all: unknown[]) => Readable.from(all)],
    ['a web stream', (all: unknown[]) => Readable.toWeb(Readable.from(all))],
  ])('may come from %s, as arrays or objects', async (_name, sourceOf) => {
    const into = target();
    const all = entries(3000);
    const mixed = all.map(([key, value], i) => (i % 2 === 0 ? [key, value] : { key, value }));
    const result = await bulkLoad(into, sourceOf(mixed) as never);
    expect(into.contents()).toEqual(new Map(all));
    expect(result.records).toBe(3000);
  });

  it('may be empty, or a map', async () => {
    const into = target();
    expect(await bulkLoad(into, [])).toMatchObject({ records: 0, tables: 0 });
    await bulkLoad(into, new Map([['a', '1']]));
    expect(asObject(into.contents())).toEqual({ a: '1' });
  });

  it('is spilled and merged when memory is short', async () => {
    const into = target({ tableBytesMax: 1 * MIB });
    const count = 50_000;
    const source = function* (): Generator<[string, string]> {
      for (let i = 0; i < count; i++) {
        const n = (i * 2654435761) % 40_009;
        yield [`k${n}`, `${i} ${'v'.repeat(1000)}`];
      }
    };
    const result = await bulkLoad(into, source(), { memoryBytes: 16 * MIB });
    expect(result.spills).toBeGreaterThan(1);
    expect(result.records).toBe(count);
    expect(result.duplicates).toBe(count - 40_009);
    const contents = into.contents();
    const expected = new Map(source());
    expect(contents.size).toBe(expected.size);
    for (const [key, value] of expected) if (contents.get(key) !== value) throw new Error(key);
    expect(strayFiles(into)).toEqual([]);
    for (const version of into.versions) expect(version.runs).toHaveLength(1);
    // What is deleted again is not written to the medium; what stays is.
    expect(durabilityOf(into, 'bulk-build')).toEqual([false]);
    expect(durabilityOf(into, 'bulk-merge')).toEqual([true]);
  });

  it('in order is spilled without being merged again', async () => {
    const into = target({ tableBytesMax: 1 * MIB });
    const source = function* (): Generator<[string, string]> {
      for (let i = 0; i < 50_000; i++) yield [`k${String(i).padStart(9, '0')}`, 'v'.repeat(1000)];
    };
    const result = await bulkLoad(into, source(), { memoryBytes: 16 * MIB });
    expect(result.spills).toBeGreaterThan(1);
    expect(into.jobs.filter(({ kind }) => kind === 'bulk-merge')).toEqual([]);
    expect(durabilityOf(into, 'bulk-build')).toEqual([true]);
    expect(into.contents().size).toBe(50_000);
  });

  it('may hold values of any size', async () => {
    const into = target({ arenaBytes: 1 * MIB });
    const large = 'ü'.repeat(200_000);
    const source: [string, string][] = [
      ['small', 's'],
      ['large', large],
      ['replaced', large],
      ['replaced', 'small again'],
      ['largest', 'z'.repeat(3 * MIB)],
    ];
    await bulkLoad(into, source);
    expect(into.contents()).toEqual(new Map(source));
    expect(strayFiles(into)).toEqual([]);
  });

  it('is encoded as the database says', async () => {
    const into = target({ keyEncoding: 'buffer', valueEncoding: 'json' });
    await bulkLoad(into, [
      [Buffer.from('k'), { a: 1 }],
      { key: new Uint8Array([104]), value: 'text' },
    ]);
    expect(asObject(into.contents())).toEqual({ h: '"text"', k: '{"a":1}' });
  });

  it.each([
    ['a key of another type', [5, 'v'], /line 2: the key is not a string/],
    ['no value', ['k', undefined], /line 2: the value is not a string/],
    ['no entry', '', /line 2: an entry is neither/],
    ['a long key', ['k'.repeat(70_000), 'v'], /line 2: the key is longer than 65536 bytes/],
  ])('stops at an entry that cannot be stored: %s', async (_name, bad, message) => {
    const into = target();
    await expect(bulkLoad(into, [['a', 'b'], bad] as never)).rejects.toThrow(message);
    expect(into.contents().size).toBe(0);
    expect(strayFiles(into)).toEqual([]);
  });

  it('goes on behind entries that cannot be stored, if told to', async () => {
    const into = target();
    const rejected: BulkLoadReject[] = [];
    const result = await bulkLoad(into, [['a', '1'], [1, 2], ['b', '2'], null] as never, {
      onError: 'skip',
      onReject: (reject) => rejected.push(reject),
    });
    expect(asObject(into.contents())).toEqual({ a: '1', b: '2' });
    expect(result).toMatchObject({ records: 2, rejected: 2 });
    expect(rejected.map(({ line }) => line)).toEqual([2, 4]);
    expect(result.rejects).toEqual(rejected);
  });

  it('that throws leaves nothing behind', async () => {
    const into = target();
    const source = function* (): Generator<[string, string]> {
      yield* entries(100_000);
      throw new Error('source is broken');
    };
    await expect(bulkLoad(into, source())).rejects.toThrow('source is broken');
    expect(into.contents().size).toBe(0);
    expect(strayFiles(into)).toEqual([]);
  });

  it('wins over what was loaded before', async () => {
    const into = target();
    await bulkLoad(into, [
      ['a', '1'],
      ['b', '1'],
    ]);
    await bulkLoad(into, [
      ['b', '2'],
      ['c', '2'],
    ]);
    expect(asObject(into.contents())).toEqual({ a: '1', b: '2', c: '2' });
  });
});

describe('a stream of entries', () => {
  /** A stream of 500 entries, then `end`. */
  function stream(end: (stream: Readable) => void): Readable {
    const all = entries(500);
    return new Readable({
      objectMode: true,
      read() {
        const entry = all.shift();
        if (entry === undefined) end(this);
        else this.push(entry);
      },
    });
  }

  it('is loaded to its end', async () => {
    const into = target();
    await bulkLoad(
      into,
      stream((source) => source.push(null)),
    );
    expect(asObject(into.contents())).toEqual(Object.fromEntries(entries(500).sort()));
  });

  it.each([
    ['fails', (source: Readable) => source.destroy(new Error('source is broken')), /broken/],
    ['is closed', (source: Readable) => source.destroy(), /closed before its end/],
  ])('that %s before its end leaves nothing behind', async (_, end, message) => {
    const into = target();
    await expect(bulkLoad(into, stream(end))).rejects.toThrow(message);
    expect(into.contents().size).toBe(0);
    expect(strayFiles(into)).toEqual([]);
  });

  it('that has failed before it is read leaves nothing behind', async () => {
    const into = target();
    const source = stream(() => {});
    source.on('error', () => {});
    source.destroy(new Error('source is broken'));
    await new Promise((resolve) => setImmediate(resolve));
    await expect(bulkLoad(into, source)).rejects.toThrow(/broken/);
    expect(into.contents().size).toBe(0);
  });
});

describe('a file', () => {
  const csv = 'id,name,note\n1,Ann,"said ""hi"""\n2,Bo,"two\nlines"\n';

  it.each<[string, string | Buffer, BulkLoadOptions, Record<string, string>]>([
    ['a.csv', csv, { key: 'id', value: 'name' }, { 1: 'Ann', 2: 'Bo' }],
    ['a.csv', `\ufeff${csv}`, { key: 'id', value: 'name' }, { 1: 'Ann', 2: 'Bo' }],
    [
      'a.csv',
      csv.replaceAll('\n', '\r\n'),
      { key: 'user:{id}' },
      {
        'user:1': '{"id":"1","name":"Ann","note":"said \\"hi\\""}',
        'user:2': '{"id":"2","name":"Bo","note":"two\\r\\nlines"}',
      },
    ],
    ['a.csv.gz', gzipSync(csv), { key: 0, value: 1 }, { 1: 'Ann', 2: 'Bo' }],
    ['a.csv', 'k1,v1\nk2,v2', {}, { k1: 'v1', k2: 'v2' }],
    ['a.csv', 'key,value\nk1,v1\n', {}, { k1: 'v1' }],
    ['a.csv', 'key,value\nk1,v1\n', { header: false }, { key: 'value', k1: 'v1' }],
    ['a.csv', 'a;b;1\nc;d;2\n', { value: 2 }, { a: '1', c: '2' }],
    ['a.tsv', 'a\tx y\nb\tz,w\n', {}, { a: 'x y', b: 'z,w' }],
    ['a.csv', 'a"b,c\n', { quotes: false }, { 'a"b': 'c' }],
    [
      'data',
      '{"key":"a","value":"1"}\n{"key":"b","value":{"n": 1.50}}\n',
      {},
      { a: '1', b: '{"n": 1.50}' },
    ],
    [
      'a.ndjson',
      '{"id":7,"x":1}\n\n  {"id":8,"x":2}  ',
      { key: 'id' },
      { 7: '{"id":7,"x":1}', 8: '{"id":8,"x":2}' },
    ],
    ['a.jsonl.gz', gzipSync('["a","1"]\n["b","2"]\n'), {}, { a: '1', b: '2' }],
    ['a.json', '[["a","1"],\n["b", "2"]]', {}, { a: '1', b: '2' }],
    [
      'a.json',
      ' [ {"u":{"id":12345678901234567890},"v":[1]} ] \n',
      { key: 'u.id', value: 'v.0' },
      { '12345678901234567890': '1' },
    ],
    ['a.json', '[]', {}, {}],
    ['a.json', '[\n]\n', {}, {}],
    [
      'a.json.gz',
      gzipSync('[{"id":"x"},{"id":"y"}]'),
      { key: '{id}!' },
      { 'x!': '{"id":"x"}', 'y!': '{"id":"y"}' },
    ],
    ['empty.csv', '', {}, {}],
    ['empty.ndjson', '', {}, {}],
    ['header-only.csv', 'id,name\n', { key: 'id' }, {}],
  ])('%s is loaded: %j, %j', async (name, content, options, expected) => {
    const into = target();
    await bulkLoad(into, file(name, content), options);
    expect(asObject(into.contents())).toEqual(expected);
    expect(strayFiles(into)).toEqual([]);
  });

  it('may be given as a URL, or as a stream of bytes', async () => {
    const path = file('a.csv', csv);
    const expected = { 1: 'Ann', 2: 'Bo' };
    const options = { key: 'id', value: 'name' };
    const sources = [
      new URL(`file://${path}`),
      Readable.from([Buffer.from(csv.slice(0, 20)), Buffer.from(csv.slice(20))], {
        objectMode: false,
      }),
      (async function* () {
        yield* csv;
      })(),
      [csv.slice(0, 3), csv.slice(3)] as never,
    ];
    for (const [index, source] of sources.entries()) {
      const into = new LocalTarget(join(directory, `db${index}`));
      await bulkLoad(into, source, options);
      expect(asObject(into.contents())).toEqual(expected);
    }
  });

  it('that is missing, or not of the format, is an error that says so', async () => {
    const into = target();
    await expect(bulkLoad(into, join(directory, 'none.csv'))).rejects.toMatchObject({
      code: 'LIGHTNING_IO',
    });
    const cases: [string, string | Buffer, BulkLoadOptions, RegExp][] = [
      ['a.csv', 'a,b\nc\n', {}, /a\.csv", line 2: 1 field instead of 2/],
      ['a.csv', 'a,b\n\n"c"d,e\n', {}, /line 3: text after the closing quotation mark/],
      ['a.csv', 'a,b\nc,"d\n', {}, /line 2: a quotation mark is never closed/],
      ['a.csv', 'id,b\nx,y\n', { key: 'nope' }, /Cannot find column "nope"/],
      ['a.ndjson', '{"key":"a","value":"1"}\n{"key":\n', {}, /line 2: not JSON/],
      [
        'a.ndjson',
        '{"key":"a","value":"1"}\n{"kex":"1"}\n',
        {},
        /line 2: the key field "key" is missing/,
      ],
      ['a.ndjson', Buffer.from([0x22, 0xff, 0x22, 0x0a]), {}, /line 1: not UTF-8/],
      ['a.json', '[["a","b"],', {}, /line 1: the JSON array has no end/],
      ['a.json', '[["a","b"],\n]', {}, /line 2: the last element of the JSON array is missing/],
      ['a.json', '[["a","b"],\n,["c","d"]]', {}, /line 1: an element is missing/],
      ['a.json', '[["a","b"]]\n x', {}, /line 2: there is text behind/],
      ['a.json', '[\n["a","b"],\n["c"]]', {}, /line 3: the value field "1" is missing/],
      ['a.json', '"text"', { format: 'json' }, /not a JSON array/],
      ['a.csv', Buffer.from([0xff, 0xfe, 0x61, 0x00]), {}, /UTF-16/],
      ['a.csv.gz', gzipSync('a,b\n').subarray(0, 20), {}, /Cannot unpack/],
    ];
    for (const [name, content, options, message] of cases) {
      await expect(bulkLoad(into, file(name, content), options), String(content)).rejects.toThrow(
        message,
      );
    }
    expect(into.contents().size).toBe(0);
    expect(strayFiles(into)).toEqual([]);
  });

  it('with records that cannot be read is loaded without them, if told to', async () => {
    const into = target();
    const rejectsFile = join(directory, 'rejects.ndjson');
    const path = file('a.csv', 'k1,v1\nbad\nk2,v2\n5" x,y\n,z\nk3,v3\n');
    const result = await bulkLoad(into, path, { onError: 'skip', rejectsMax: 2, rejectsFile });
    expect(asObject(into.contents())).toEqual({ k1: 'v1', k2: 'v2', k3: 'v3' });
    expect(result).toMatchObject({ records: 3, rejected: 3 });
    expect(result.rejects.map(({ line }) => line)).toEqual([2, 4]);
    const written = readFileSync(rejectsFile, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(written.map(({ line, record }) => [line, record])).toEqual([
      [2, 'bad'],
      [4, '5" x,y'],
      [5, ',z'],
    ]);
  });

  it.each(['a.csv', 'a.csv.gz', 'a.ndjson', 'a.json', 'a.json.gz'])(
    'of many pieces is loaded as one: %s',
    async (name) => {
      const into = target();
      const all = new Map<string, string>();
      for (let i = 0; i < 4000; i++) {
        all.set(
          `key ${(i * 7919) % 3001}`,
          `${i} "é" ${i % 3 === 0 ? 'two\nlines, ' : ''}${'x'.repeat(i % 200)}`,
        );
      }
      const rows = [...all];
      const text = name.includes('csv')
        ? rows.map(([k, v]) => `${k},"${v.replaceAll('"', '""')}"\n`).join('')
        : name.includes('ndjson')
          ? rows.map((row) => `${JSON.stringify(row)}\n`).join('')
          : `[${rows.map((row) => JSON.stringify(row)).join(',\n')}]`;
      const path = file(name, name.endsWith('.gz') ? gzipSync(text) : text);
      const result = await bulkLoad(into, path, {}, { rangeBytes: 3000 });
      expect(into.contents()).toEqual(all);
      expect(result.records).toBe(all.size);
      expect(into.jobs.length).toBeGreaterThan(50);
    },
  );
});

describe('a load', () => {
  it('that is aborted leaves nothing behind', async () => {
    for (const kind of ['bulk-chunk', 'bulk-build'] as const) {
      const controller = new AbortController();
      const into = new LocalTarget(join(directory, kind), {
        onJob: (job: BulkJob) => {
          if (job.kind === kind) controller.abort();
        },
      });
      const loading = bulkLoad(into, entries(200_000), { signal: controller.signal });
      await expect(loading).rejects.toMatchObject({ code: 'LIGHTNING_ABORTED' });
      expect(strayFiles(into)).toEqual([]);
      expect(readdirSync(join(into.path, 'coordinator'))).toEqual([]);
    }
  });

  it('that waits for its source is aborted at once', async () => {
    for (const objectMode of [true, false]) {
      const controller = new AbortController();
      const source = new Readable({ objectMode, read() {} });
      source.push(objectMode ? ['a', 'b'] : 'a,b\n');
      const into = new LocalTarget(join(directory, `waits-${objectMode}`));
      const loading = bulkLoad(into, source, { signal: controller.signal });
      setTimeout(() => controller.abort(), 20);
      await expect(loading).rejects.toMatchObject({ code: 'LIGHTNING_ABORTED' });
      expect(source.destroyed).toBe(true);
    }
    const aborted = AbortSignal.abort();
    await expect(bulkLoad(target(), [['a', 'b']], { signal: aborted })).rejects.toMatchObject({
      code: 'LIGHTNING_ABORTED',
    });
  });

  it('reports its progress', async () => {
    const reports: BulkLoadProgress[] = [];
    const path = file(
      'a.csv',
      entries(20_000)
        .map(([k, v]) => `${k},${v}\n`)
        .join(''),
    );
    await bulkLoad(target(), path, {
      onProgress: (report) => reports.push(report),
      progressIntervalMs: 0,
    });
    expect(new Set(reports.map(({ phase }) => phase))).toEqual(
      new Set(['read', 'merge', 'link', 'done']),
    );
    const last = reports.at(-1);
    expect(last).toMatchObject({ phase: 'done', records: 20_000, rejected: 0, mergedShare: 1 });
    expect(last?.bytes).toBe(last?.bytesTotal);
    expect(last?.shardRecords.reduce((sum, n) => sum + n)).toBe(20_000);
  });

  it('whose job fails leaves nothing behind', async () => {
    const into = target({
      onJob: (job: BulkJob) => {
        if (job.kind === 'bulk-build' && job.part === 0) throw new Error('disk on fire');
      },
    });
    await expect(bulkLoad(into, entries(1000))).rejects.toThrow('disk on fire');
    expect(strayFiles(into)).toEqual([]);
  });

  it.each([
    ['', false],
    [', also when nobody can look', true],
  ])('whose commit may be on the medium keeps its tables%s', async (_, isUnseen) => {
    const into = target();
    const { syncDirectory } = nodeFileSystem;
    const look = vi.spyOn(nodeFileSystem, 'exists');
    if (isUnseen) {
      look.mockImplementation((path) => {
        throw fileError({ code: 'EIO' }, 'stat', path);
      });
    }
    const refuse = vi.spyOn(nodeFileSystem, 'syncDirectory').mockImplementation((path) => {
      if (path.endsWith('coordinator')) throw fileError({ code: 'EIO' }, 'fsync', path);
      syncDirectory.call(nodeFileSystem, path);
    });
    try {
      await expect(bulkLoad(into, entries(1000))).rejects.toMatchObject({
        code: 'LIGHTNING_IO',
        details: { outcome: 'unknown' },
      });
    } finally {
      look.mockRestore();
      refuse.mockRestore();
    }
    // What the next open does.
    const [intent, ...others] = readLinkIntents(nodeFileSystem, join(into.path, 'coordinator'));
    expect(others).toEqual([]);
    await into.link(intent as LinkIntent);
    expect(into.contents().size).toBe(1000);
    expect(strayFiles(into)).toEqual([]);
  });

  it('whose commit is refused leaves nothing behind', async () => {
    const into = target();
    const { open } = nodeFileSystem;
    const refuse = vi.spyOn(nodeFileSystem, 'open').mockImplementation((path, mode) => {
      if (path.includes('bulk-')) throw fileError({ code: 'ENOSPC' }, 'open', path);
      return open.call(nodeFileSystem, path, mode);
    });
    try {
      await expect(bulkLoad(into, entries(1000))).rejects.toMatchObject({
        code: 'LIGHTNING_NO_SPACE',
      });
    } finally {
      refuse.mockRestore();
    }
    expect(strayFiles(into)).toEqual([]);
    expect(readLinkIntents(nodeFileSystem, join(into.path, 'coordinator'))).toEqual([]);
  });

  it('refuses options that mean nothing', async () => {
    const into = target();
    for (const options of [
      { format: 'xml' },
      { header: 'yes' },
      { onError: 'ignore' },
      { key: '{' },
      { key: 'constant{{}}' },
      { key: -1 },
      { rejectsFile: 'x' },
      { memoryBytes: 5 },
    ]) {
      await expect(
        bulkLoad(into, [], options as never),
        JSON.stringify(options),
      ).rejects.toMatchObject({
        code: 'LIGHTNING_INVALID_ARGUMENT',
      });
    }
  });
});
