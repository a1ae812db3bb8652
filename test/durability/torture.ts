/**
 * The long run of the sweep, from the command line (test/torture/faults.mjs).
 *
 *   --seeds N        scripts 1 to N, each with every mode and fault, at `--every`-th calls
 *   --every K        distance of the calls (default 37)
 *   --point LINE     one point again
 */

import { parseArgs } from 'node:util';
import { FAULTS, formatPoint, MODES, type Point, parsePoint, runPoint } from './sweep.js';

/** Scripts make fewer calls than this. */
const CALLS_MAX = 5000;

/** Runs what the arguments ask for; returns how many points failed. Lines go to `print`. */
export async function tortureFaults(
  args: readonly string[],
  print: (line: string) => void,
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seeds: { type: 'string', default: '3' },
      every: { type: 'string', default: '37' },
      point: { type: 'string' },
    },
  });
  let points = 0;
  let failed = 0;
  const run = async (point: Point): Promise<boolean> => {
    const { failure, isHit } = await runPoint(point);
    points++;
    if (failure !== undefined) {
      failed++;
      print(`FAILED ${failure}`);
      print(`  again: npm run torture -- faults --point ${formatPoint(point)}`);
    }
    return isHit;
  };
  if (values.point !== undefined) {
    await run(parsePoint(values.point));
  } else {
    const every = Number(values.every);
    for (let script = 1; script <= Number(values.seeds); script++) {
      for (const mode of MODES) {
        for (const fault of FAULTS) {
          // Another start for each, so that all together cover more calls.
          const first =
            1 + ((script * 7 + FAULTS.indexOf(fault) * 11 + MODES.indexOf(mode)) % every);
          for (let call = first; call < CALLS_MAX; call += every) {
            if (!(await run({ script, mode, fault, call }))) break;
          }
        }
      }
      print(`script ${script}: ${points} points so far, ${failed} failed`);
    }
  }
  print(`${points} points, ${failed} failed`);
  return failed;
}
