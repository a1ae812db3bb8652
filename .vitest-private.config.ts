import { defineConfig } from 'vitest/config';
export default defineConfig({
  resolve: { alias: { 'lightning-db': '/tmp/bench/dist/index.js' } },
  test: { include: ['test/**/*.test.ts'], pool: 'forks', maxWorkers: 1, testTimeout: 60_000, hookTimeout: 60_000, server: { deps: { external: [/\/dist\//] } } },
});
