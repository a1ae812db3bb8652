/**
 * Faults on purpose, for tests of the commit protocol: none unless the environment variable
 * LIGHTNING_DB_FAULT asks for them, and then nothing but a comparison with undefined.
 *
 *   kill:POINT#SHARD*N   the process is killed when POINT is reached for the Nth time (1) on SHARD (any)
 *   die:POINT#SHARD*N    the worker thread ends there
 *   hang:POINT#SHARD*N   the thread goes no further, and does not end
 *   weaken:NAME          a rule of the protocol does not hold
 *
 * Several are separated by commas. Points count in the first worker of each kind, so that what takes its
 * place works, and in each client thread by itself. What the points and rules are says docs/ARCHITECTURE.md.
 */

export type FaultPoint =
  | 'claimed'
  | 'prepares-sent'
  | 'prepare-received'
  | 'prepare-torn'
  | 'prepare-written'
  | 'all-prepared'
  | 'deciding'
  | 'decision-appended'
  | 'decision-written'
  | 'decided'
  | 'commit-seen'
  | 'applied'
  | 'recorded'
  | 'resolving'
  | 'resolved';

export type Weakening =
  | 'skip-write-validation'
  | 'skip-read-validation'
  | 'skip-range-validation'
  | 'validate-against-last'
  | 'ignore-prepared'
  | 'skip-wounding'
  | 'lose-commit-records'
  | 'release-early'
  | 'snapshot-at-last'
  /** None of the protocol's: the coordinator decides everything itself. */
  | 'keep-log';

interface Fault {
  readonly action: string;
  readonly point: string;
  readonly shard: number | undefined;
  remaining: number;
}

const specification = process.env['LIGHTNING_DB_FAULT'];
const weakenings = specification === undefined ? undefined : parseWeakenings(specification);
let armed: Fault[] | undefined;

/** Whether the rule is not to hold. */
export function isWeakened(rule: Weakening): boolean {
  return weakenings?.has(rule) === true;
}

/** From now on faults happen on this thread: a client's, or that of the first worker of its kind. */
export function armFaults(): void {
  if (specification !== undefined) armed = parseFaults(specification);
}

/** Ends the process or the thread here, if that is asked for. */
export function faultPoint(point: FaultPoint, shard?: number): void {
  if (armed !== undefined && isDue(point, shard)) strike(point);
}

/** As `faultPoint`, for a point at which something is left half done first. */
export function isFaultDue(point: FaultPoint, shard?: number): boolean {
  return armed !== undefined && isDue(point, shard);
}

export function strike(point: FaultPoint): void {
  const action = armed?.find((fault) => fault.point === point)?.action;
  while (action === 'kill') process.kill(process.pid, 'SIGKILL');
  while (action === 'hang') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  // In a worker this ends the thread.
  process.exit(1);
}

function isDue(point: FaultPoint, shard: number | undefined): boolean {
  for (const fault of armed as Fault[]) {
    if (fault.point !== point) continue;
    if (fault.shard !== undefined && fault.shard !== shard) continue;
    if (--fault.remaining === 0) return true;
  }
  return false;
}

function parseWeakenings(text: string): ReadonlySet<string> {
  const names = text.split(',').map((part) => /^weaken:([a-z-]+)$/.exec(part)?.[1]);
  return new Set(names.filter((name) => name !== undefined));
}

function parseFaults(text: string): Fault[] {
  return text.split(',').flatMap((part) => {
    const match = /^(kill|die|hang):([a-z-]+)(?:#(\d+))?(?:\*(\d+))?$/.exec(part);
    if (match === null) return [];
    const [, action, point, shard, times] = match;
    return [
      {
        action: action as string,
        point: point as string,
        shard: shard === undefined ? undefined : Number(shard),
        remaining: Number(times ?? 1),
      },
    ];
  });
}
