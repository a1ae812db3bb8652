/**
 * Builds the package into dist/:
 *
 *   kernel.wasm               AssemblyScript, by asc
 *   index.js index.cjs        the library
 *   index.d.ts index.d.cts    its types
 *   workers/*.cjs             entries of the worker threads: shard, coordinator, job, load
 *   workers/LICENSES          of the packages that are part of those
 *   cli.js bench-client.js    the command line, a consumer of index.js, and what its benchmark runs on
 *                             further threads
 *   dev/                      demonstration and benchmarks; not published
 *
 * `--fast` leaves the types out. `--if-stale` does nothing when no source is newer than the build.
 */

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DIST = join(ROOT, 'dist');
const FAST = process.argv.includes('--fast');
const VERSION = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version;

const common = {
  absWorkingDir: ROOT,
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  packages: 'external',
  sourcemap: false,
  legalComments: 'none',
  charset: 'utf8',
  logLevel: 'warning',
  define: { __VERSION__: JSON.stringify(VERSION) },
};

/** The command line and its like use the library as anyone would: built, from `location`. */
const libraryAt = (location) => ({
  name: 'library-at',
  setup(bundle) {
    const filter = /^((\.\.\/)+index\.js|lightning-db)$/;
    bundle.onResolve({ filter }, () => ({ path: location, external: true }));
  },
});

async function buildLibrary() {
  await Promise.all([
    build({
      ...common,
      entryPoints: ['src/index.ts'],
      format: 'esm',
      outfile: 'dist/index.js',
    }),
    build({
      ...common,
      entryPoints: ['src/index.ts'],
      format: 'cjs',
      outfile: 'dist/index.cjs',
      // CommonJS has no import.meta; the file's own URL says the same.
      define: { ...common.define, 'import.meta.url': '__fileUrl' },
      banner: { js: "const __fileUrl = require('node:url').pathToFileURL(__filename).href;" },
    }),
    buildOpeningWorkers(),
    build({
      ...common,
      // The pool calls `require` first: a thread that ends while Node requires an ES module takes
      // the process with it.
      entryPoints: ['workers/job.ts'],
      format: 'cjs',
      outfile: 'dist/workers/job.cjs',
    }),
    build({
      ...common,
      entryPoints: { cli: 'src/cli/main.ts', 'bench-client': 'src/cli/bench/client.ts' },
      format: 'esm',
      outdir: 'dist',
      plugins: [libraryAt('./index.js')],
    }),
    build({
      ...common,
      entryPoints: {
        demo: 'src/cli/demo/main.ts',
        'demo-client': 'src/cli/demo/client.ts',
        bench: 'bench/main.ts',
        'bench-client': 'bench/client.ts',
        'compaction-policies': 'bench/compaction-policies.ts',
        'steady-writes': 'bench/steady-writes.ts',
        opening: 'bench/opening.ts',
      },
      format: 'esm',
      outdir: 'dist/dev',
      plugins: [libraryAt('../index.js')],
    }),
  ]);
  chmodSync(join(DIST, 'cli.js'), 0o755);
}

/**
 * The workers that an open waits for: one file each, CommonJS, with the packages that they need at once
 * in it. A thread that loads ES modules, or looks for packages, starts half as slow again.
 */
async function buildOpeningWorkers() {
  const { metafile } = await build({
    ...common,
    entryPoints: ['workers/shard.ts', 'workers/coordinator.ts', 'workers/load.ts'],
    packages: 'bundle',
    external: ['piscina'],
    format: 'cjs',
    outdir: 'dist/workers',
    outExtension: { '.js': '.cjs' },
    metafile: true,
  });
  const packages = new Set(
    Object.keys(metafile.inputs).flatMap((path) => /^.*node_modules\/[^/]+/.exec(path) ?? []),
  );
  const licenses = [...packages].sort().map((path) => {
    const name = readdirSync(join(ROOT, path)).find((entry) => /^licen[cs]e/i.test(entry));
    return `${path.replace(/.*\//, '')}\n\n${readFileSync(join(ROOT, path, name), 'utf8').trim()}\n`;
  });
  writeFileSync(join(DIST, 'workers/LICENSES'), licenses.join('\n----\n\n'));
}

/** Types of the public surface, rolled into one file; the same file serves CommonJS. */
async function buildTypes() {
  const [{ rollup }, { dts }] = await Promise.all([import('rollup'), import('rollup-plugin-dts')]);
  const bundle = await rollup({
    input: join(ROOT, 'src/index.ts'),
    plugins: [
      dts({ tsconfig: join(ROOT, 'tsconfig.json'), compilerOptions: { stripInternal: true } }),
    ],
    external: [/^node:/],
    onwarn(warning, warn) {
      if (warning.code !== 'CIRCULAR_DEPENDENCY') warn(warning);
    },
  });
  const { output } = await bundle.generate({ format: 'es' });
  await bundle.close();
  const types = withoutFalseValues(output[0].code, await exportsOfLibrary());
  for (const name of ['index.d.ts', 'index.d.cts']) writeFileSync(join(DIST, name), types);
}

/** Names that exist at run time. */
async function exportsOfLibrary() {
  const { metafile } = await build({
    ...common,
    entryPoints: ['src/index.ts'],
    format: 'esm',
    outfile: 'dist/index.js',
    metafile: true,
    write: false,
  });
  return metafile.outputs['dist/index.js'].exports;
}

/** Classes that are exported as types only come out of the roll-up as values: `type` makes them right. */
function withoutFalseValues(types, values) {
  return types.replace(/^export \{ (.*) \};$/m, (_, list) => {
    const names = list
      .split(', ')
      .map((name) => (name.startsWith('type ') || values.includes(name) ? name : `type ${name}`));
    return `export { ${names.join(', ')} };`;
  });
}

/** Compiles beside the old kernel and swaps: a process that is just starting finds one or the other. */
function buildKernel() {
  const script = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).scripts;
  const [, ...options] = script['build:kernel'].split(' ');
  const fresh = join(DIST, 'kernel.wasm.new');
  options[options.indexOf('-o') + 1] = relative(ROOT, fresh);
  const asc = join(ROOT, 'node_modules/assemblyscript/bin/asc.js');
  const { status } = spawnSync(process.execPath, [asc, ...options], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  if (status !== 0) throw new Error('the kernel does not compile');
  renameSync(fresh, join(DIST, 'kernel.wasm'));
}

/** Whether one of `outputs` is missing or older than one of `sources`, files or directories. */
function isOlder(outputs, sources) {
  const modifiedAtMs = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const builtAtMs = Math.min(...outputs.map((name) => modifiedAtMs(join(DIST, name))));
  return sources
    .map((source) => join(ROOT, source))
    .flatMap((path) =>
      statSync(path).isDirectory()
        ? readdirSync(path, { recursive: true })
            .filter((name) => !name.includes('node_modules'))
            .map((name) => join(path, name))
        : [path],
    )
    .some((path) => modifiedAtMs(path) > builtAtMs);
}

/** The library is built last. */
function isStale() {
  const outputs = [
    'index.js',
    'index.cjs',
    'cli.js',
    'dev/demo.js',
    'workers/job.cjs',
    'workers/load.cjs',
  ];
  if (!FAST) outputs.push('index.d.ts', 'index.d.cts');
  return isOlder(outputs, ['src', 'workers', 'scripts', 'bench', 'package.json', 'tsconfig.json']);
}

if (process.argv.includes('--if-stale') && !isStale()) process.exit();
const startedAtMs = performance.now();
mkdirSync(DIST, { recursive: true });
// Types of yesterday's sources are worse than none, and so are workers of another name.
for (const stale of ['index.d.ts', 'index.d.cts', 'workers/shard.js', 'workers/coordinator.js'])
  rmSync(join(DIST, stale), { force: true });
// The kernel takes the longest and changes the least.
if (isOlder(['kernel.wasm'], ['src/kernel/assembly', 'package.json'])) buildKernel();
await Promise.all([buildLibrary(), FAST ? undefined : buildTypes()]);
const kib = (...names) =>
  Math.ceil(names.reduce((sum, name) => sum + statSync(join(DIST, name)).size, 0) / 1024);
const workers = ['shard', 'coordinator', 'job', 'load'].map((name) => `workers/${name}.cjs`);
console.log(
  `built dist/ in ${((performance.now() - startedAtMs) / 1000).toFixed(1)} s: ` +
    `index.js ${kib('index.js')} KiB, workers ${kib(...workers)} KiB, ` +
    `kernel.wasm ${kib('kernel.wasm')} KiB`,
);
