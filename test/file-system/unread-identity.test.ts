/** The name of the system's run cannot be read: another identity would pass for a loss of power. */

import { expect, it, vi } from 'vitest';
import { IoError, NoSpaceError } from '../../src/errors.js';
import { systemIdentity } from '../../src/file-system/system-identity.js';

const code = vi.hoisted(() => ({ now: '' }));

vi.mock('node:fs', async (original) => ({
  ...(await original<typeof import('node:fs')>()),
  readFileSync: () => {
    throw Object.assign(new Error(code.now), { code: code.now });
  },
}));

it.runIf(process.platform === 'linux')('is an error, unless there is none', () => {
  code.now = 'EMFILE';
  expect(() => systemIdentity()).toThrow(NoSpaceError);
  code.now = 'EIO';
  expect(() => systemIdentity()).toThrow(IoError);
  for (const missing of ['ENOENT', 'EACCES']) {
    code.now = missing;
    // By the time of boot.
    expect(systemIdentity().readBigUInt64LE(0)).toBe(0n);
  }
});
