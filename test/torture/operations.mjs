/**
 * What the torture's lanes do: operation `i` of a lane follows from the seed alone, so that parent
 * and child know it without telling each other. A lane has one operation under way at a time, and
 * keys of its own; so after a death its keys are as operation `i` left them, or as `i + 1` did,
 * where `i` is the last one acknowledged.
 */

export const LANES = 6;
const KEYS_PER_LANE = 60;

/** A small generator (splitmix32): the same numbers for the same seed everywhere. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return ((z ^ (z >>> 16)) >>> 0) / 2 ** 32;
  };
}

const keyOf = (lane, k) => `lane-${lane}/${String(k).padStart(3, '0')}`;

/** `changes`: pairs of key and version, null for a delete. All of them happen, or none. */
export function operationOf(seed, lane, i) {
  const next = random(seed * 7919 + lane * 104729 + i * 31);
  next();
  const whole = (n) => Math.floor(next() * n);
  const kind = next();
  const key = () => keyOf(lane, whole(KEYS_PER_LANE));
  const sync = next() < 0.05;
  if (kind < 0.5) return { kind: 'put', changes: [[key(), i + 1]], sync };
  if (kind < 0.6) return { kind: 'delete', changes: [[key(), null]], sync };
  if (kind < 0.62) return { kind: 'large', changes: [[key(), i + 1]], sync };
  const changes = new Map();
  for (let n = 2 + whole(14); n > 0; n--) changes.set(key(), next() < 0.2 ? null : i + 1);
  return { kind: kind < 0.85 ? 'batch' : 'transaction', changes: [...changes], sync };
}

/** The value says which key and version it is, so that one that is torn or out of place shows. */
export function storedValue(key, version, isLarge = false) {
  const pad = isLarge ? 400_000 : (version * 37) % 700;
  return `${key}=${version}:${'z'.repeat(pad)}`;
}

/** The version in a stored value; throws when the value is not one that was written. */
export function versionOf(key, stored) {
  if (stored === undefined) return null;
  const match = /^([^=]*)=(\d+):(z*)$/.exec(stored);
  const version = Number(match?.[2]);
  const isWhole =
    match?.[1] === key && (match[3].length === (version * 37) % 700 || match[3].length === 400_000);
  if (!isWhole)
    throw new Error(`${key} has a value that was never written: ${stored.slice(0, 80)}`);
  return version;
}

/** What a lane's keys are to be; missing ones are left out. */
export class LaneState {
  constructor(lane, next = 0, versions = []) {
    this.lane = lane;
    /** The operation that comes next. */
    this.next = next;
    this.versions = new Map(versions);
  }

  static parse({ lane, next, versions }) {
    return new LaneState(lane, next, versions);
  }

  toJSON() {
    return { lane: this.lane, next: this.next, versions: [...this.versions] };
  }

  keys() {
    return Array.from({ length: KEYS_PER_LANE }, (_, k) => keyOf(this.lane, k));
  }

  apply({ changes }) {
    for (const [key, version] of changes) {
      if (version === null) this.versions.delete(key);
      else this.versions.set(key, version);
    }
  }

  /** Goes on from what was found, with the operation after the one that was under way. */
  take(found) {
    this.versions = new Map([...found].filter(([, version]) => version !== null));
    this.next++;
  }

  /**
   * Compares what was found (key → version or null) with this state: 'as it was', 'applied' when it
   * is as after `operation`; throws what differs otherwise. Where batches are not atomic over shards,
   * it may be 'torn'.
   */
  compare(found, operation, isAtomic) {
    const changed = new Map(operation.changes);
    let before = 0;
    let after = 0;
    for (const key of this.keys()) {
      const was = this.versions.get(key) ?? null;
      const is = found.get(key) ?? null;
      const becomes = changed.get(key);
      if (becomes === undefined || becomes === was) {
        if (is !== was) throw new Error(`${key} has version ${is}, not ${was}`);
        continue;
      }
      if (is === was) before++;
      else if (is === becomes) after++;
      else throw new Error(`${key} has version ${is}, neither ${was} nor ${becomes}`);
    }
    if (before > 0 && after > 0) {
      const { kind, changes } = operation;
      if (!isAtomic) return 'torn';
      throw new Error(
        `${after} of the ${before + after} changes of a ${kind} are there: ${JSON.stringify(changes)}`,
      );
    }
    return after > 0 ? 'applied' : 'as it was';
  }
}
