/** The tester tested: the sweep notices a reader that does not compare checksums, of any kind. */
import { beforeAll, describe, expect, it } from 'vitest';
import { parseShardFileName } from '../../src/file-system/file-names.js';
import { type Reseal, resealBlocks, resealEdits, resealGroups } from './reseal.js';
import { judge, makeVictim, type Victim, withFile } from './victim.js';

/** Turns a digit into another one, or a letter into another one. */
const CHANGE = 0x04;
/** Coprime to the sizes of files: visits every byte, and not in order. */
const STRIDE = 389;

let victim: Victim;
beforeAll(async () => {
  victim = await makeVictim();
});

const isDigit = (byte: number): boolean => byte >= 0x30 && byte <= 0x39;

/**
 * Edits are strict JSON, and what they say of tables is compared with the tables: little but a
 * number that is another number goes unnoticed there.
 */
const PLANTS: readonly [string, string, Reseal, (byte: number) => boolean][] = [
  ['blocks', 'table', resealBlocks, () => true],
  ['groups of the log', 'wal', resealGroups, (byte) => byte !== 0],
  ['edits of the manifest', 'manifest', resealEdits, isDigit],
];

describe('the sweep over bytes', () => {
  it.each(PLANTS)(
    'notices when checksums of %s are ignored',
    async (_, kind, reseal, isWorthwhile) => {
      const { killed: files, states } = victim;
      const [name, sound] = [...files].find(
        ([other]) => parseShardFileName(other)?.kind === kind,
      ) as [string, Buffer];
      const number = parseShardFileName(name)?.number as number;
      let caught: string | undefined;
      // Some changes are caught as errors that no damage may cause.
      for (let i = 0; i < sound.length && !/Wrong values/.test(caught ?? ''); i++) {
        const at = (i * STRIDE) % sound.length;
        if (!isWorthwhile(sound[at] as number)) continue;
        const damaged = Buffer.from(sound);
        damaged[at] = (damaged[at] as number) ^ CHANGE;
        const judgement = { states, mayBeEarlier: kind !== 'table', label: `${name} at ${at}` };
        try {
          await judge(withFile(files, name, reseal(number, sound, damaged)), judgement);
        } catch (error) {
          caught = String(error);
          // With checksums that count, it has nothing against the same byte.
          await judge(withFile(files, name, damaged), judgement);
        }
      }
      expect(caught).toMatch(/Wrong values/);
    },
    120_000,
  );
});
