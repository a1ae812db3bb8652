import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LightningDb } from 'lightning-db';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../api/temporary-directory.js';
import { type CommandOptions, type CommandResult, runCommand } from './command-line.js';

const directory = temporaryDirectory();
let path: string;

const run = (args: readonly string[], options?: CommandOptions): Promise<CommandResult> =>
  runCommand([...args, '--path', path], options);

/** Runs a command that must succeed; its standard output without the last newline. */
async function answer(args: readonly string[], options?: CommandOptions): Promise<string> {
  const { exitCode, stdout, stderr } = await run(args, options);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return stdout.replace(/\n$/, '');
}

beforeAll(async () => {
  path = join(directory.path, 'db');
  const db = await LightningDb.open(path, {
    shards: 2,
    cacheSize: 32 << 20,
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
  });
  const batch = db.batch();
  for (let i = 0; i < 100; i++) {
    batch.put(Buffer.from(`k${String(i).padStart(3, '0')}`), Buffer.from(`value ${i}`));
  }
  batch.put(Buffer.from('tab\tkey'), Buffer.from('line\nvalue'));
  batch.put(Buffer.of(0xff, 0xfe), Buffer.of(0x80));
  await batch.write();
  await db.close();
});

afterAll(() => directory.remove());

describe('get', () => {
  it('prints the value', async () => {
    expect(await answer(['get', 'k007'])).toBe('value 7');
    expect(await answer(['get', 'tab\\tkey', '--escapes'])).toBe('line\nvalue');
    expect(JSON.parse(await answer(['get', 'k007', '--json']))).toEqual({
      key: 'k007',
      found: true,
      value: 'value 7',
    });
  });

  it('ends with 1 when the key is missing', async () => {
    expect(await run(['get', 'nothing'])).toEqual({ exitCode: 1, stdout: '', stderr: '' });
    expect(await run(['get', 'nothing', '--json'])).toMatchObject({
      exitCode: 1,
      stdout: '{"key":"nothing","found":false}\n',
    });
  });
});

describe('scan', () => {
  it('prints a line per entry', async () => {
    expect(await answer(['scan', '--gte', 'k001', '--lt', 'k003'])).toBe(
      'k001\tvalue 1\nk002\tvalue 2',
    );
    expect(await answer(['scan', '--prefix', 'k09', '--reverse', '--limit', '2', '--keys'])).toBe(
      'k099\nk098',
    );
    expect(await answer(['scan', '--gt', 'k097', '--lte', 'k099', '--values'])).toBe(
      'value 98\nvalue 99',
    );
  });

  it('escapes what would break a line', async () => {
    expect(await answer(['scan', '--prefix', 'tab'])).toBe('tab\\tkey\tline\\nvalue');
    expect(await answer(['scan', '--gte', '\\xff', '--escapes'])).toBe('\\xff\\xfe\t\\x80');
  });

  it('prints JSON lines', async () => {
    const lines = (await answer(['scan', '--gte', 'k099', '--json'])).split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { key: 'k099', value: 'value 99' },
      { key: 'tab\tkey', value: 'line\nvalue' },
      { keyBase64: '//4=', valueBase64: 'gA==' },
    ]);
  });

  it('ends quietly when the reader of a pipe goes away', async () => {
    const result = await run(['scan'], { closeOutputAfterBytes: 1 });
    expect(result).toMatchObject({ exitCode: 0, stderr: '' });
  });
});

it('count counts', async () => {
  expect(await answer(['count'])).toBe('102');
  expect(JSON.parse(await answer(['count', '--prefix', 'k', '--json']))).toEqual({ count: 100 });
});

it('put and delete change what get finds', async () => {
  await answer(['put', 'new', 'value']);
  expect(await answer(['get', 'new'])).toBe('value');
  await answer(['put', 'new'], { input: Buffer.from('from\nstandard input') });
  expect(await answer(['get', 'new', '--raw'])).toBe('from\nstandard input');
  await answer(['delete', 'new', 'never there']);
  expect(await run(['get', 'new'])).toMatchObject({ exitCode: 1 });
});

it('stats, compact and check work on a healthy database', async () => {
  expect(JSON.parse(await answer(['stats', '--json']))).toBeTypeOf('object');
  expect(await answer(['compact'])).toContain('Compacted');
  const report = JSON.parse(await answer(['check', '--json']));
  expect(report).toMatchObject({ ok: true, problems: [] });
  expect(await answer(['check'])).toContain('Everything is as it was written');
});

it('stats says what there is, and what its counters count', async () => {
  const text = await answer(['stats']);
  expect(text).toMatch(/^amplification {2}(nothing was written|.* bytes of tables for each)/m);
  expect(text).toMatch(/^cache .*since it was opened$/m);
  expect(text).toMatch(/^stalls .*no write was held up since it was opened$/m);
});

it('check says what keeps a database from opening, and ends with 1', async () => {
  const broken = join(directory.path, 'broken');
  cpSync(path, broken, { recursive: true });
  const shard = join(broken, 'shard-000');
  const manifest = join(shard, readdirSync(shard).find((name) => name.endsWith('.manifest')) ?? '');
  const bytes = readFileSync(manifest);
  bytes[60] = (bytes[60] as number) ^ 1;
  writeFileSync(manifest, bytes);
  const { exitCode, stdout } = await runCommand(['check', '--path', broken]);
  expect(exitCode).toBe(1);
  expect(stdout).toContain(`${manifest} at offset 32: Manifest frame is damaged`);
  expect(stdout).toContain('repair --dry-run');
  const json = await runCommand(['check', '--path', broken, '--json']);
  expect(json.exitCode).toBe(1);
  const { ok, opens, problems } = JSON.parse(json.stdout);
  expect({ ok, opens, first: problems[0].offset }).toEqual({ ok: false, opens: false, first: 32 });
});

describe('load', () => {
  const load = (args: readonly string[], options?: CommandOptions): Promise<CommandResult> =>
    runCommand(['load', ...args], { cwd: directory.path, ...options });

  it('loads a file and standard input', async () => {
    writeFileSync(join(directory.path, 'users.csv'), 'id,name\n1,Ada\n2,Grace\n');
    const file = await load([
      'users.csv',
      '--path',
      'loaded',
      '--key',
      'user:{id}',
      '--value',
      'name',
    ]);
    expect(file).toMatchObject({ exitCode: 0 });
    expect(file.stdout).toContain('Loaded 2 records into "loaded"');
    const stdin = await load(['-', '--path', 'loaded', '--format', 'ndjson', '--json'], {
      input: '{"key":"user:3","value":"Edsger"}\n',
    });
    expect(JSON.parse(stdin.stdout)).toMatchObject({ records: 1, rejected: 0 });
    const scan = await runCommand(['scan', '--path', 'loaded'], { cwd: directory.path });
    expect(scan.stdout).toBe('user:1\tAda\nuser:2\tGrace\nuser:3\tEdsger\n');
  });

  it('writes rejected records to a file', async () => {
    writeFileSync(join(directory.path, 'bad.ndjson'), '{"key":"a","value":"1"}\nnot JSON\n');
    const stopped = await load(['bad.ndjson', '--path', 'bad']);
    expect(stopped).toMatchObject({ exitCode: 7 });
    expect(stopped.stderr).toContain('[LIGHTNING_PARSE]');
    const skipped = await load([
      'bad.ndjson',
      '--path',
      'bad',
      '--on-error',
      'skip',
      '--rejects',
      'rejects.ndjson',
    ]);
    expect(skipped.exitCode).toBe(0);
    expect(skipped.stdout).toContain('1 could not be read');
    expect(readFileSync(join(directory.path, 'rejects.ndjson'), 'utf8')).toContain('not JSON');
  });
});

describe('a load that is stopped', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('by %s ends with %i and leaves the database as it was', async (signal, exitCode) => {
    const args = ['load', '-', '--path', path, '--format', 'ndjson'];
    // The lock is taken by a load that has begun; it then waits for more input.
    const lock = join(path, 'LOCK');
    rmSync(lock, { force: true });
    const when = (): boolean => existsSync(lock);
    const input = '{"key":"stopped","value":"never seen"}\n';
    const result = await runCommand(args, { input, interrupt: { signal, when } });
    expect(result).toMatchObject({ exitCode, stdout: '' });
    expect(result.stderr).toContain('[LIGHTNING_ABORTED]');
    expect(await run(['get', 'stopped'])).toMatchObject({ exitCode: 1 });
    expect(await answer(['count'])).toBe('102');
  });
});

describe('what goes wrong', () => {
  it.each([
    [['get', 'k', '--path', 'nowhere'], 3, 'LIGHTNING_NOT_FOUND'],
    [['scan', '--path', 'nowhere'], 3, 'LIGHTNING_NOT_FOUND'],
    [['get', '--path', 'nowhere'], 2, 'LIGHTNING_INVALID_ARGUMENT'],
    [['scan', '--limit', 'many', '--path', 'nowhere'], 2, 'LIGHTNING_INVALID_ARGUMENT'],
    [['frobnicate'], 2, 'LIGHTNING_INVALID_ARGUMENT'],
    [['load', 'x.csv', '--rejects', 'y', '--path', 'nowhere'], 2, 'LIGHTNING_INVALID_ARGUMENT'],
    [['get', 'a\\q', '-e', '--path', 'nowhere'], 2, 'LIGHTNING_INVALID_ARGUMENT'],
  ])('%j ends with %i', async (args, exitCode, code) => {
    const { stderr, ...rest } = await runCommand([...args, '--json'], { cwd: directory.path });
    expect(rest).toEqual({ exitCode, stdout: '' });
    expect(JSON.parse(stderr)).toMatchObject({ error: { code } });
  });

  it('is one line for people: what, what to do, which code', async () => {
    const { stderr } = await runCommand(['get', 'k', '--path', 'nowhere'], { cwd: directory.path });
    expect(stderr).toMatch(
      /^lightning-db: There is no database at ".*nowhere" \(check --path, .*\) \[LIGHTNING_NOT_FOUND\]\n$/,
    );
  });

  it('a locked database ends with 4', async () => {
    const db = await LightningDb.open(join(directory.path, 'locked'), { shards: 1 });
    const args = ['put', 'k', 'v', '--path', join(directory.path, 'locked')];
    expect(await runCommand(args)).toMatchObject({ exitCode: 4 });
    await db.close();
  });

  it('help ends with 0 and shows the exit codes', async () => {
    const { exitCode, stdout } = await runCommand(['--help']);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('another process has the database open');
    expect((await runCommand(['scan', '--help'])).stdout).toContain('Example:');
  });
});
