import { availableParallelism } from 'node:os';
import { describe, expect, it } from 'vitest';
import { type LightningDbConfig, resolveConfig, withShards } from '../src/config.js';
import { InvalidArgumentError } from '../src/errors.js';

/** What a user of plain JavaScript may pass. */
const refuse = (config: unknown): string => {
  try {
    resolveConfig(config as LightningDbConfig);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return (error as Error).message;
  }
  throw new Error('The options were taken');
};

describe('the database options', () => {
  it('have defaults for everything', () => {
    const config = resolveConfig();
    expect(config).toMatchObject({
      shards: Math.min(64, availableParallelism()),
      shardsRequested: undefined,
      memtableBytes: 32 << 20,
      arenaBytes: 16 << 20,
      arenaCount: 4,
      compression: true,
      walSync: 'async',
      groupOpsMax: 1000,
      keyEncoding: 'utf8',
      valueEncoding: 'utf8',
      createIfMissing: true,
      errorIfExists: false,
      readOnly: false,
      prefetchBlocks: 64,
      requestRingBytes: 1 << 20,
      responseRingBytes: 1 << 20,
    });
    expect(config.cacheBytes).toBeLessThanOrEqual(1 << 30);
    expect(config.cacheBytesPerShard * config.shards).toBeLessThanOrEqual(config.cacheBytes);
    expect(config.compactionThreads).toBeGreaterThanOrEqual(2);
  });

  it('survive a structured clone', () => {
    const config = resolveConfig({
      keyEncoding: { encode: (value: string) => Buffer.from(value), decode: String },
    });
    expect(structuredClone(config)).toEqual(config);
    expect(config.keyEncoding).toBe('custom');
  });

  it('that are undefined are not given', () => {
    expect(resolveConfig({ shards: undefined, cacheSize: undefined })).toEqual(resolveConfig());
  });

  it.each([
    ['shard', 'did you mean "shards"?'],
    ['cachesize', 'did you mean "cacheSize"?'],
    ['memTableSize', 'did you mean "memtableSize"?'],
    ['walSync', 'did you mean "walSyncMode"?'],
    ['createIfMising', 'did you mean "createIfMissing"?'],
    ['somethingElse', 'known: shards, cacheSize'],
  ])('refuse the unknown name %s', (name, hint) => {
    expect(refuse({ [name]: 1 })).toContain(`Unknown option "${name}" in the database options`);
    expect(refuse({ [name]: 1 })).toContain(hint);
  });

  it.each([
    ['shards', 0],
    ['shards', 65],
    ['shards', 1.5],
    ['shards', '4'],
    ['cacheSize', -1],
    ['cacheSize', Number.NaN],
    ['cacheSize', 2 ** 50],
    ['memtableSize', 1000],
    ['memtableSize', 2 ** 31],
    ['compressionEnabled', 1],
    ['walSyncMode', 'always'],
    ['walSyncMode', null],
    ['writeBatchSize', 0],
    ['enableStatistics', 'yes'],
    ['maxActiveTransactions', 0],
    ['keyEncoding', 'utf-8'],
    ['valueEncoding', { encode: () => Buffer.alloc(0) }],
    ['createIfMissing', 'true'],
    ['prefetch', 2000],
    ['workerDirectory', 7],
    ['workerDirectory', new URL('https://example.com/')],
    ['blockBytes', 1],
    ['tableBytesMax', 1],
    ['filterBitsPerKey', 0],
    ['compactionThreads', 0],
    ['compactionBytesPerSecondMax', 1000],
  ])('refuse %s: %s, naming the option', (name, value) => {
    expect(refuse({ [name]: value })).toContain(`Option "${name}`);
  });

  it.each([[null], [7], ['path'], [[]]])('refuse %j in place of an object', (config) => {
    expect(refuse(config)).toContain('pass an object');
  });

  it('take a sync interval', () => {
    const config = resolveConfig({ walSyncMode: { periodic: { intervalMs: 250 } } });
    expect(config).toMatchObject({ walSync: 'periodic', walSyncIntervalMs: 250 });
    expect(refuse({ walSyncMode: { periodic: {} } })).toContain('walSyncMode.periodic.intervalMs');
    expect(refuse({ walSyncMode: { periodic: { interval: 1 } } })).toContain('"intervalMs"?');
    expect(refuse({ walSyncMode: { periodic: { intervalMs: 0 } } })).toContain('ms');
  });

  it('take rings that are powers of two', () => {
    const config = resolveConfig({ ringBytes: { request: 256 } });
    expect(config).toMatchObject({ requestRingBytes: 256, responseRingBytes: 1 << 20 });
    expect(refuse({ ringBytes: { response: 3000 } })).toContain('"ringBytes.response"');
    expect(refuse({ ringBytes: { request: 128 } })).toContain('"ringBytes.request"');
  });

  it('take a prefetch as blocks or a boolean', () => {
    expect(resolveConfig({ prefetch: false }).prefetchBlocks).toBe(0);
    expect(resolveConfig({ prefetch: true }).prefetchBlocks).toBe(64);
    expect(resolveConfig({ prefetch: 3 }).prefetchBlocks).toBe(3);
  });

  it('that contradict each other are refused', () => {
    expect(refuse({ readOnly: true, createIfMissing: true })).toContain('"createIfMissing"');
    expect(refuse({ readOnly: true, errorIfExists: true })).toContain('"errorIfExists"');
    expect(resolveConfig({ readOnly: true }).createIfMissing).toBe(false);
  });

  it('divide the cache over the shards that a database has', () => {
    const config = resolveConfig({ shards: 2, cacheSize: 64 << 20 });
    expect(config.cacheBytesPerShard).toBe(32 << 20);
    expect(withShards(config, 4)).toMatchObject({ shards: 4, cacheBytesPerShard: 16 << 20 });
  });

  it('keep a shard below 4 GiB', () => {
    expect(refuse({ shards: 1, cacheSize: 2 ** 32 })).toContain('"cacheSize"');
    expect(resolveConfig({ shards: 4, cacheSize: 2 ** 32 }).cacheBytesPerShard).toBe(2 ** 30);
    const rings = { request: 1 << 24, response: 1 << 24 };
    expect(refuse({ memtableSize: 1 << 30, ringBytes: rings })).toContain('no room for a cache');
  });
});
