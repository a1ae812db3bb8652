/**
 * Every byte of a small shard changed in turn, every file cut at each length, blocks and files
 * swapped, old files put back. The tests take samples; LIGHTNING_CORRUPTION_STEP=1 takes all.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { parseShardFileName } from '../../src/file-system/file-names.js';
import { type Files, judge, makeVictim, type Outcome, type Victim, withFile } from './victim.js';

const STEP = Number(process.env['LIGHTNING_CORRUPTION_STEP'] ?? 41);
const IS_WHOLE = STEP === 1;

let victim: Victim;
beforeAll(async () => {
  victim = await makeVictim();
});

/** How often each outcome came. */
class Count {
  readonly outcomes = new Map<Outcome, number>();

  add(outcome: Outcome): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }

  of(outcome: Outcome): number {
    return this.outcomes.get(outcome) ?? 0;
  }

  report(title: string): void {
    if (process.env['LIGHTNING_CORRUPTION_STEP'] === undefined) return;
    const parts = [...this.outcomes].map(([outcome, count]) => `${count} ${outcome}`);
    process.stdout.write(`${title}: ${parts.join(', ')}\n`);
  }
}

/** Of zeros that follow, a few are taken. */
const endOf = (bytes: Buffer): number => bytes.findLastIndex((byte) => byte !== 0) + 1;

const kindOf = (name: string): string => parseShardFileName(name)?.kind ?? name;

/** The newest edits of a manifest, and the newest groups of the log, may be what a crash cut. */
function mayBeEarlier(name: string, files: Files): boolean {
  const segments = [...files.keys()].filter((other) => kindOf(other) === 'wal');
  return kindOf(name) === 'manifest' || name === segments.at(-1);
}

/**
 * The large value is one of a kind from its second piece on, and the same file in both shards: all of
 * it is taken once, in a long run.
 */
function stepOf(name: string, which: 'killed' | 'closed', sparser: number): number {
  if (kindOf(name) !== 'blob' || (IS_WHOLE && which === 'killed')) return STEP;
  return STEP * sparser;
}

describe.each(['killed', 'closed'] as const)('a shard that was %s', (which) => {
  it('with any byte changed gives right values, or says where it is damaged', async () => {
    const files = victim[which];
    const count = new Count();
    let turn = 0;
    for (const [name, bytes] of files) {
      const step = stepOf(name, which, 40);
      const end = endOf(bytes);
      for (let at = turn++ % step; at < bytes.length; at += at < end ? step : step * 40) {
        const change = [0x01, 0x80, 0xff][at % 3] as number;
        const damaged = Buffer.from(bytes);
        damaged[at] = (damaged[at] as number) ^ change;
        const label = `${name} at ${at} of ${bytes.length} ^ ${change}`;
        const { states } = victim;
        const judgement = { states, mayBeEarlier: mayBeEarlier(name, files), label };
        count.add(await judge(withFile(files, name, damaged), judgement));
      }
    }
    count.report(`bytes changed, ${which}`);
    expect(count.of('an error at open')).toBeGreaterThan(0);
    expect(count.of('errors where it is needed')).toBeGreaterThan(0);
  }, 3_600_000);

  it('with a file cut anywhere gives right values, or says where it is damaged', async () => {
    const files = victim[which];
    const count = new Count();
    for (const [name, bytes] of files) {
      const step = IS_WHOLE ? stepOf(name, which, 160) : 2 * stepOf(name, which, 80);
      const end = endOf(bytes);
      for (let length = 0; length < bytes.length; length += length < end ? step : step * 40) {
        const cut = Buffer.from(bytes.subarray(0, length));
        const { states } = victim;
        const label = `${name} cut at ${length} of ${bytes.length}`;
        const judgement = { states, mayBeEarlier: mayBeEarlier(name, files), label };
        count.add(await judge(withFile(files, name, cut), judgement));
      }
    }
    count.report(`files cut, ${which}`);
    expect(count.of('an error at open')).toBeGreaterThan(0);
    expect(count.of('errors where it is needed')).toBeGreaterThan(0);
  }, 3_600_000);
});

describe('bytes that are valid elsewhere', () => {
  it('are not taken for those of their place', async () => {
    const files = victim.killed;
    const count = new Count();
    const tables = [...files].filter(([name]) => kindOf(name) === 'table');
    const pieces = Math.max(8, Math.floor(800 / STEP));
    for (const [name, bytes] of tables) {
      for (const [, other] of tables) {
        for (let i = 0; i < pieces; i++) {
          // A stretch of one table over another stretch, or over the same place of another table.
          const length = 64 + ((i * 131) % 900);
          const from = (i * 977) % Math.max(1, other.length - length);
          const to = other === bytes ? (from + 512) % Math.max(1, bytes.length - length) : from;
          const swapped = Buffer.from(bytes);
          other.copy(swapped, to, from, from + length);
          if (swapped.equals(bytes)) continue;
          const judgement = { states: victim.states, mayBeEarlier: false, label: `${name} ${i}` };
          count.add(await judge(withFile(files, name, swapped), judgement));
        }
      }
    }
    count.report('stretches of tables swapped');
    expect(count.of('right')).toBe(0);
  }, 3_600_000);

  it('in whole files of another number, or another kind, are refused', async () => {
    const files = victim.killed;
    const count = new Count();
    for (const name of files.keys()) {
      for (const [other, bytes] of files) {
        if (other === name) continue;
        const label = `${name} replaced by ${other}`;
        const judgement = { states: victim.states, mayBeEarlier: false, label };
        count.add(await judge(withFile(files, name, bytes), judgement));
      }
    }
    count.report('files swapped');
    expect(count.of('right')).toBe(0);
    expect(count.of('an earlier state')).toBe(0);
  }, 3_600_000);

  it('in files of an earlier time never mix two states', async () => {
    const { killed, earlier, states } = victim;
    const count = new Count();
    const names = [...earlier.keys()];
    // Every combination of old files among the new ones.
    const combinations = 2 ** names.length;
    const step = Math.max(1, Math.floor(combinations / (STEP === 1 ? combinations : 64)));
    for (let chosen = 1; chosen < combinations; chosen += step) {
      const files = new Map(killed);
      const back = names.filter((_, i) => (chosen & (1 << i)) !== 0);
      for (const name of back) files.set(name, earlier.get(name) as Buffer);
      const label = `put back: ${back.join(', ')}`;
      count.add(await judge(files, { states, mayBeEarlier: true, label }));
    }
    count.report('old files put back');
    expect(count.of('an error at open')).toBeGreaterThan(0);
  }, 3_600_000);
});
