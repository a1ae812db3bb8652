/** A fresh directory per test file or case, removed afterwards. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TemporaryDirectory {
  readonly path: string;
  remove(): void;
}

export function temporaryDirectory(): TemporaryDirectory {
  const path = mkdtempSync(join(tmpdir(), 'lightning-db-test-'));
  return {
    path,
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}
