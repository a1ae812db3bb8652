/** Short runs of the programs that press the kernel from several threads; run them alone for longer. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);

describe('threads at once', () => {
  it.each(['memtable-stress.mjs', 'commit-stress.mjs'])(
    'find nothing wrong: %s',
    async (program) => {
      const path = fileURLToPath(new URL(program, import.meta.url));
      const { stderr } = await run(process.execPath, [path, '2']);
      expect(stderr).toBe('');
    },
  );
});
