/**
 * The long run of the sweep, from the command line (test/torture/faults.mjs).
 *
 *   --seeds N        scripts 1 to N (default 3), each with every mode and fault
 *   --first M        the first script (default 1)
 *   --every K        distance of the calls (default 37); 1: a fault at every call that it can come at
 *   --mode, --fault  these alone; may be given more than once
 *   --part I/N       the I-th of N shares of the points, for several processes
 *   --point LINE     one point again
 */

import { parseArgs } from 'node:util';
import { isFaulty } from '../../src/file-system/memory.js';
import {
  callsOf,
  FAULTS,
  type FaultKind,
  formatPoint,
  isReadFault,
  MODES,
  type Mode,
  type Point,
  parsePoint,
} from './points.js';
import { countReads, runPoint, traceScript } from './sweep.js';

const POINTS_PER_LINE = 500;

/** Runs what the arguments ask for; returns how many points failed. Lines go to `print`. */
export async function tortureFaults(
  args: readonly string[],
  print: (line: string) => void,
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seeds: { type: 'string', default: '3' },
      first: { type: 'string', default: '1' },
      every: { type: 'string', default: '37' },
      mode: { type: 'string', multiple: true, default: [...MODES] },
      fault: { type: 'string', multiple: true, default: [...FAULTS] },
      part: { type: 'string', default: '0/1' },
      point: { type: 'string' },
    },
  });
  const modes = MODES.filter((mode) => values.mode.includes(mode));
  const faults = FAULTS.filter((fault) => values.fault.includes(fault));
  const [part, parts] = values.part.split('/').map(Number) as [number, number];
  const hits = new Map<FaultKind, number>(faults.map((fault) => [fault, 0]));
  let points = 0;
  let failed = 0;
  const run = async (point: Point): Promise<void> => {
    const { failure, isHit } = await runPoint(point);
    points++;
    if (isHit) hits.set(point.fault, (hits.get(point.fault) ?? 0) + 1);
    if (points % POINTS_PER_LINE === 0) print(`${formatPoint(point)}: ${points} points so far`);
    if (failure === undefined) return;
    failed++;
    print(`FAILED ${failure}`);
    print(`  again: npm run torture -- faults --point ${formatPoint(point)}`);
  };
  if (values.point !== undefined) {
    await run(parsePoint(values.point));
  } else {
    const every = Number(values.every);
    const first = Number(values.first);
    for (let script = first; script < first + Number(values.seeds); script++) {
      for (const mode of modes) {
        const trace = await traceScript(script, mode);
        const reads = await countReads(script, mode);
        const planned = pointsOf({ script, mode, faults, trace, reads, every });
        for (const [i, point] of planned.entries()) {
          if (i % parts === part) await run(point);
        }
        print(
          `script ${script} in mode ${mode} makes ${trace.length} calls, and ${reads} that read: ` +
            `${points} points so far, ${failed} failed`,
        );
      }
    }
  }
  print([...hits].map(([fault, count]) => `${fault} ${count}`).join(', '));
  print(`${points} points, ${failed} failed`);
  return failed;
}

interface Plan {
  readonly script: number;
  readonly mode: Mode;
  readonly faults: readonly FaultKind[];
  readonly trace: readonly string[];
  readonly reads: number;
  readonly every: number;
}

/** A point at each `every`-th of the calls that a fault can come at. */
function pointsOf({ script, mode, faults, trace, reads, every }: Plan): Point[] {
  return faults.flatMap((fault) => {
    const calls = isReadFault(fault)
      ? Array.from({ length: reads }, (_, i) => i + 1)
      : trace.flatMap((syscall, i) => (isFaulty(callsOf(fault), syscall) ? [i + 1] : []));
    // Another start for each, so that all together cover more calls.
    const start = (script * 7 + FAULTS.indexOf(fault) * 11 + MODES.indexOf(mode)) % every;
    return calls
      .filter((_, i) => i % every === start)
      .map((call) => ({ script, mode, fault, call }));
  });
}
