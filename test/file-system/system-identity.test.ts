import { describe, expect, it } from 'vitest';
import {
  bootTimeIdentity,
  identityOf,
  isSameSystemRun,
  SYSTEM_IDENTITY_BYTES,
  systemIdentity,
} from '../../src/file-system/system-identity.js';

describe('the identity of a run of the system', () => {
  it('stays the same while the system runs', () => {
    expect(systemIdentity().length).toBe(SYSTEM_IDENTITY_BYTES);
    expect(isSameSystemRun(systemIdentity(), systemIdentity())).toBe(true);
  });

  it('differs from that of another run', () => {
    expect(isSameSystemRun(identityOf('monday'), identityOf('tuesday'))).toBe(false);
    expect(isSameSystemRun(identityOf('monday'), bootTimeIdentity(1e9))).toBe(false);
    expect(isSameSystemRun(systemIdentity(), identityOf('monday'))).toBe(false);
  });

  it('by the time of boot, bears with a clock that is set a little', () => {
    expect(isSameSystemRun(bootTimeIdentity(1e9), bootTimeIdentity(1e9 + 5))).toBe(true);
    expect(isSameSystemRun(bootTimeIdentity(1e9), bootTimeIdentity(1e9 + 90))).toBe(false);
  });
});
