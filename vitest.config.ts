import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/**
 * Tests of the public surface import 'lightning-db' and get the built package, workers and all;
 * tests of single modules import them from src/. `npm test` builds first.
 */
export default defineConfig({
  resolve: {
    alias: { 'lightning-db': fileURLToPath(new URL('./dist/index.js', import.meta.url)) },
  },
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['**/node_modules/**', 'test/smoke/**'],
    // A process per file: a test that kills threads or leaks memory hurts only itself.
    pool: 'forks',
    // Every open database has threads of its own; more files at once only take turns.
    maxWorkers: Math.max(2, Math.floor(availableParallelism() / 2)),
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    server: { deps: { external: [/\/dist\//] } },
  },
});
