/** Keeps the tree tidy: what a reviewer should not have to look for. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/**
 * Layers from the bottom up: a module imports from its own layer and those below. `index` is the
 * public surface; only what stands on it comes after.
 */
const LAYERS: readonly (readonly string[])[] = [
  ['errors', 'assert', 'faults', 'limits', 'options', 'artifacts'],
  ['encoding', 'file-system', 'kernel'],
  ['config'],
  ['wal', 'memtable', 'sstable', 'blob', 'iterator', 'ring', 'protocol'],
  ['version'],
  ['compaction'],
  ['shard', 'router', 'coordinator', 'transaction', 'bulk-load', 'metrics', 'backup'],
  ['repair'],
  ['lightning-db'],
  ['index'],
  ['cli'],
];

/** Concepts of one layer that may only be seen from one side. */
const NOT_FROM: Readonly<Record<string, readonly string[]>> = {
  shard: ['router', 'transaction', 'bulk-load', 'metrics', 'backup'],
  router: ['shard', 'transaction', 'bulk-load', 'metrics', 'backup'],
  coordinator: ['metrics', 'backup'],
};

/** Where router, shard and coordinator meet: open to all three. */
const MEETING_PLACES = ['src/router/control-block.ts', 'src/router/transaction-table.ts'];

/** Where programs start, and files that a program starts by name. */
const ENTRIES = [
  'src/index.ts',
  'src/cli/main.ts',
  'src/cli/demo/main.ts',
  'src/cli/demo/client.ts',
  'src/kernel/assembly/kernel.ts',
  'src/cli/bench/client.ts',
  'bench/main.ts',
  'bench/client.ts',
  'bench/compaction-policies.ts',
  'bench/steady-writes.ts',
  'bench/opening.ts',
  'workers/shard.ts',
  'workers/coordinator.ts',
  'workers/job.ts',
  'workers/load.ts',
];

/** A file that is longer should have become two. */
const LINES_MAX = 600;

interface SourceFile {
  readonly path: string;
  readonly text: string;
  readonly tree: ts.SourceFile;
  /** Relative imports, as paths from the root. */
  readonly imports: readonly Import[];
  /** Packages. */
  readonly packages: readonly Import[];
}

interface Import {
  readonly target: string;
  readonly specifier: string;
  readonly typeOnly: boolean;
}

const files = new Map(
  ['src', 'workers', 'bench', 'test'].flatMap(typescriptIn).map((path) => [path, read(path)]),
);
const inSource = [...files.values()].filter(({ path }) => /^(src|workers)\//.test(path));
const inKernel = (path: string): boolean => path.startsWith('src/kernel/assembly/');
const hosted = inSource.filter(({ path }) => !inKernel(path));

describe('the tree', () => {
  it('has imports that end in .js and lead somewhere', () => {
    const wrong = [...files.values()]
      .filter(({ path }) => !inKernel(path))
      .flatMap(({ path, imports }) =>
        imports
          .filter(
            ({ specifier, target }) =>
              !/\.m?js$/.test(specifier) || !existsSync(join(ROOT, target)),
          )
          .map(({ specifier }) => `${path}: ${specifier}`),
      );
    expect(wrong).toEqual([]);
  });

  it('has dependencies that point one way', () => {
    const wrong = hosted.flatMap(({ path, imports }) =>
      imports
        .filter(({ target }) => !MEETING_PLACES.includes(target))
        .filter(({ target }) => !mayImport(conceptOf(path), conceptOf(target)))
        .map(({ target }) => `${path} imports ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  it('has no import cycles', () => {
    expect(findCycle()).toEqual([]);
  });

  it('has no file that nobody uses', () => {
    const used = reachable([...ENTRIES, ...[...files.keys()].filter((p) => p.startsWith('test/'))]);
    const dead = [...files.keys()].filter((path) => !used.has(path) && !path.endsWith('.d.ts'));
    expect(dead).toEqual([]);
  });

  it('has no runtime dependency that is not used, and uses none that is not there', () => {
    const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    const used = new Set(
      inSource
        .flatMap(({ packages }) => packages.filter(({ typeOnly }) => !typeOnly))
        .map(({ target }) => target),
    );
    expect([...used].sort()).toEqual(Object.keys(manifest.dependencies).sort());
  });

  it('has only one file that re-exports', () => {
    const barrels = hosted.filter(
      ({ path, tree }) =>
        path !== 'src/index.ts' &&
        tree.statements.length > 0 &&
        tree.statements.every((s) => ts.isExportDeclaration(s) && s.moduleSpecifier),
    );
    expect(barrels.map(({ path }) => path)).toEqual([]);
  });

  it('has no file longer than it should be', () => {
    const long = hosted.filter(({ text }) => text.split('\n').length > LINES_MAX);
    expect(long.map(({ path }) => path)).toEqual([]);
  });

  it('has no names that say nothing', () => {
    const wrong = inSource.filter(({ path }) => /\b(utils?|helpers?|common|misc)\b/.test(path));
    expect(wrong.map(({ path }) => path)).toEqual([]);
  });
});

describe('the code', () => {
  it('leaves no note to do something later', () => {
    const words = new RegExp(`\\b(${['TO', 'DO'].join('')}|${['FIX', 'ME'].join('')}|XXX)\\b`);
    expect(inSource.filter(({ text }) => words.test(text)).map(({ path }) => path)).toEqual([]);
  });

  it('has no any', () => {
    expect(nodesWhere(hosted, ({ kind }) => kind === ts.SyntaxKind.AnyKeyword)).toEqual([]);
  });

  it('has no enum and no private keyword', () => {
    const unwanted = [ts.SyntaxKind.EnumDeclaration, ts.SyntaxKind.PrivateKeyword];
    const wrong = nodesWhere(
      hosted,
      (node) =>
        unwanted.includes(node.kind) &&
        // A constructor has no other way to be private.
        !ts.isConstructorDeclaration(node.parent),
    );
    expect(wrong.filter((place) => !place.includes('.d.ts'))).toEqual([]);
  });

  it('has default exports in pool jobs only', () => {
    const wrong = nodesWhere(
      inSource.filter(({ path }) => path !== 'workers/job.ts'),
      (node) =>
        ts.isExportAssignment(node) ||
        (node.kind === ts.SyntaxKind.DefaultKeyword && ts.canHaveModifiers(node.parent)),
    );
    expect(wrong).toEqual([]);
  });

  it('writes to the console in the command line only', () => {
    const wrong = nodesWhere(
      hosted.filter(({ path }) => !path.startsWith('src/cli/')),
      (node) => ts.isIdentifier(node) && node.text === 'console',
    );
    expect(wrong).toEqual([]);
  });

  it('has no class that is called a manager, helper or service', () => {
    const wrong = nodesWhere(
      hosted,
      (node) =>
        ts.isClassDeclaration(node) && /(Manager|Helper|Service)$/.test(node.name?.text ?? ''),
    );
    expect(wrong).toEqual([]);
  });
});

function typescriptIn(directory: string): string[] {
  if (!existsSync(join(ROOT, directory))) return [];
  return readdirSync(join(ROOT, directory), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.includes('node_modules'))
    .map((name) => join(directory, name));
}

function read(path: string): SourceFile {
  const text = readFileSync(join(ROOT, path), 'utf8');
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const imports: Import[] = [];
  const packages: Import[] = [];
  const add = (specifier: string, typeOnly: boolean): void => {
    if (specifier.startsWith('.')) {
      imports.push({ specifier, typeOnly, target: targetOf(path, specifier) });
    } else if (!specifier.startsWith('node:') && specifier !== 'lightning-db') {
      const target = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
      packages.push({ specifier, typeOnly, target });
    }
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      add(node.moduleSpecifier.text, node.importClause?.isTypeOnly ?? false);
    } else if (
      ts.isExportDeclaration(node) &&
      node.moduleSpecifier &&
      ts.isStringLiteral(node.moduleSpecifier)
    ) {
      add(node.moduleSpecifier.text, node.isTypeOnly);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [argument] = node.arguments;
      if (argument && ts.isStringLiteral(argument)) add(argument.text, false);
    }
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return { path, text, tree, imports, packages };
}

/** The source a specifier means: `.js` stands for `.ts`; the kernel leaves the ending out. */
function targetOf(from: string, specifier: string): string {
  const plain = relative(ROOT, resolve(ROOT, dirname(from), specifier));
  const source = /\.js$/.test(plain) ? plain.replace(/\.js$/, '.ts') : `${plain}.ts`;
  return existsSync(join(ROOT, source)) ? source : plain;
}

/** The folder under src/, or the file's name when it has none. */
function conceptOf(path: string): string {
  const [top = '', second = ''] = path.split('/');
  return top === 'src' ? second.replace(/\.ts$/, '') : top;
}

function mayImport(from: string, to: string): boolean {
  if (from === to || from === 'workers') return true;
  const layerOf = (concept: string): number => LAYERS.findIndex((l) => l.includes(concept));
  if (layerOf(from) === -1 || layerOf(to) === -1) return false;
  return layerOf(to) <= layerOf(from) && !(NOT_FROM[from] ?? []).includes(to);
}

/** The first cycle of imports that exist at run time, as a list of paths. */
function findCycle(): string[] {
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): string[] => {
    const start = trail.indexOf(path);
    if (start !== -1) return [...trail.slice(start), path];
    if (done.has(path)) return [];
    for (const { target, typeOnly } of files.get(path)?.imports ?? []) {
      const cycle = typeOnly ? [] : walk(target, [...trail, path]);
      if (cycle.length > 0) return cycle;
    }
    done.add(path);
    return [];
  };
  for (const { path } of hosted) {
    const cycle = walk(path, []);
    if (cycle.length > 0) return cycle;
  }
  return [];
}

function reachable(entries: readonly string[]): Set<string> {
  const used = new Set<string>();
  const queue = entries.filter((path) => files.has(path));
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (used.has(path)) continue;
    used.add(path);
    queue.push(...(files.get(path)?.imports ?? []).map(({ target }) => target));
  }
  return used;
}

/** `path:line` of every node that answers to `matches`. */
function nodesWhere(sources: readonly SourceFile[], matches: (node: ts.Node) => boolean): string[] {
  return sources.flatMap(({ path, tree }) => {
    const found: string[] = [];
    const visit = (node: ts.Node): void => {
      if (matches(node)) {
        const { line } = tree.getLineAndCharacterOfPosition(node.getStart(tree));
        found.push(`${path}:${line + 1}`);
      }
      ts.forEachChild(node, visit);
    };
    visit(tree);
    return found;
  });
}
