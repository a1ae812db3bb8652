/** The README's examples, extracted and run as a reader would run them. */

import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { transformSync } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryDirectory } from './api/temporary-directory.js';

const execute = promisify(execFile);
const readme = readFileSync('README.md', 'utf8');
const cli = resolve('dist/cli.js');

function blocks(language: string): string[] {
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(
    ([, code]) => code ?? '',
  );
}

describe('the examples of the README', () => {
  const directory = temporaryDirectory();
  beforeAll(() => {
    writeFileSync(`${directory.path}/users.csv`, 'id,name\n42,Ada\n43,Grace\n');
  });
  afterAll(() => directory.remove());

  it('in TypeScript run, one after the other, in one program', async () => {
    const source = blocks('ts').join('\n');
    expect(source).toContain('LightningDb.open');
    expect(source).toContain('LightningDb.bulkLoad');
    const { code } = transformSync(source, { loader: 'ts', format: 'esm', target: 'es2022' });
    // The package is resolved from where the program starts; its files go to the directory.
    const program = `process.chdir(${JSON.stringify(directory.path)});\n${code}`;
    await execute(process.execPath, ['--input-type=module', '-e', program], { timeout: 30_000 });
  }, 60_000);

  it('of the command line do what their exit code says', async () => {
    const lines = blocks('sh')
      .join('')
      .split('\n')
      .filter((line) => line.startsWith('lightning-db '))
      .map((line) => line.replace(/\s+#.*$/, ''));
    expect(lines.length).toBeGreaterThanOrEqual(9);
    for (const line of lines) {
      const args = line.split(' ').slice(1);
      await execute(process.execPath, [cli, ...args], { cwd: directory.path, timeout: 30_000 });
    }
    const { stdout } = await execute(
      process.execPath,
      [cli, 'scan', '--path', './data', '--prefix', '4'],
      { cwd: directory.path },
    );
    expect(stdout).toContain('Grace');
  }, 120_000);
});
