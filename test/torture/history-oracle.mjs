/**
 * Compares what lanes wrote down with one serial order: that of the commits' sequence numbers.
 *
 * From the commits follows every version of every key. Then, for everything that was read:
 * - a snapshot saw exactly the versions of its number;
 * - a transaction saw what some moment R shows, at or after everything that was acknowledged before
 *   it began; when it committed as S, what it wrote (and under 'serializable' what it read) was the
 *   same just before S as at R;
 * - a latest read saw a version whose overwriting was not acknowledged before it began; of several
 *   keys read at the latest, each for itself. A scan saw one moment.
 * And a commit's number is higher than any that was acknowledged before it was asked for.
 */

const NEVER = Number.POSITIVE_INFINITY;

export class History {
  /** Per key: sequence numbers and ids, ascending. */
  #versions = new Map();
  #commits = [];
  #unknown = new Map();
  #readers = [];
  counters = new Map();
  #acknowledged = [];
  counts = {
    commits: 0,
    none: 0,
    conflicts: 0,
    transactions: 0,
    snapshots: 0,
    latest: 0,
    scans: 0,
  };

  /** Takes the lines of one lane's file. The last may be cut off. */
  take(text) {
    const open = new Map();
    for (const line of text.split('\n')) {
      if (line === '') continue;
      let record;
      try {
        record = JSON.parse(line);
      } catch {
        continue;
      }
      if (record.failed !== undefined) throw new Error(record.failed);
      if (record.counter !== undefined) {
        const counter = this.counters.get(record.counter) ?? { committed: 0, unknown: 0 };
        counter[record.outcome]++;
        this.counters.set(record.counter, counter);
      } else if (record.committing !== undefined) {
        open.set(record.id, record);
      } else if (record.id !== undefined && record.kind === undefined) {
        const attempt = open.get(record.id);
        open.delete(record.id);
        if (record.outcome === 'committed') this.#add(attempt, record.sequence, record.ended);
        else {
          this.counts.none++;
          if (record.code === 'LIGHTNING_CONFLICT') this.counts.conflicts++;
          this.#readers.push(attempt);
        }
      } else this.#readers.push(record);
    }
    for (const [id, attempt] of open) this.#unknown.set(id, attempt);
  }

  /** Commits of which no answer came, with the mark to look at. */
  unknown() {
    return [...this.#unknown.values()].map(({ id, mark }) => ({ id, mark }));
  }

  /** `sequence` undefined: it did not take place. */
  resolve(id, sequence) {
    const attempt = this.#unknown.get(id);
    this.#unknown.delete(id);
    if (sequence === undefined) this.#readers.push(attempt);
    else this.#add(attempt, sequence, NEVER);
  }

  #add(attempt, sequence, ended) {
    this.counts.commits++;
    // One without writes has the number of its moment.
    if (attempt.writes.length === 0) {
      attempt.moment = sequence;
      this.#readers.push(attempt);
      return;
    }
    this.#commits.push({ ...attempt, sequence, ended });
  }

  /** Everything is known: compares. Returns what does not fit. */
  check(final) {
    const problems = [];
    const report = (what, record) => {
      if (problems.length < 20) problems.push(`${what}: ${JSON.stringify(record).slice(0, 1500)}`);
    };
    this.#commits.sort((a, b) => a.sequence - b.sequence);
    const seen = new Map();
    for (const commit of this.#commits) {
      if (seen.has(commit.sequence)) {
        report(`number ${commit.sequence} was given to ${seen.get(commit.sequence)}, too`, commit);
      }
      seen.set(commit.sequence, commit.id);
      for (const [key, id] of commit.writes) {
        const list = this.#versions.get(key) ?? { sequences: [], ids: [], ends: [] };
        list.sequences.push(commit.sequence);
        list.ends.push(commit.ended);
        list.ids.push(id);
        this.#versions.set(key, list);
      }
    }
    this.#keys = [...this.#versions.keys()].sort();
    this.#acknowledge();
    for (const commit of this.#commits) this.#checkCommit(commit, report);
    for (const record of this.#readers) this.#checkReader(record, report);
    this.#checkFinal(final, report);
    return problems;
  }

  #keys = [];

  #acknowledge() {
    const byEnd = this.#commits.filter(({ ended }) => ended < NEVER);
    byEnd.sort((a, b) => a.ended - b.ended);
    let highest = 0;
    this.#acknowledged = byEnd.map(({ ended, sequence }) => {
      highest = Math.max(highest, sequence);
      return { ended, highest };
    });
  }

  /** The highest number that was acknowledged before a time. */
  #acknowledgedBefore(time) {
    let low = 0;
    let high = this.#acknowledged.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#acknowledged[middle].ended < time) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : this.#acknowledged[low - 1].highest;
  }

  /** As `#acknowledgedBefore`, of commits that wrote the key. */
  #acknowledgedOf(key, time) {
    const list = this.#versions.get(key);
    return list?.sequences.findLast((_, i) => list.ends[i] < time) ?? 0;
  }

  /** Index of the newest version of the key at a number; -1: none. */
  #indexAt(list, sequence) {
    let low = 0;
    let high = list.sequences.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (list.sequences[middle] <= sequence) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  #at(key, sequence) {
    const list = this.#versions.get(key);
    if (list === undefined) return null;
    const index = this.#indexAt(list, sequence);
    return index < 0 ? null : list.ids[index];
  }

  /** All that was seen, keys of ranges that were not there included. */
  #constraints({ reads, held = [], scans }) {
    const all = [...reads, ...held];
    for (const scan of scans) all.push(...this.#ofScan(scan));
    return all;
  }

  #ofScan([low, high, entries, own = []]) {
    const found = new Map(entries);
    const constraints = [...entries];
    const isExclusive = high.startsWith('!');
    const end = isExclusive ? high.slice(1) : high;
    for (let i = lowerBound(this.#keys, low); i < this.#keys.length; i++) {
      const key = this.#keys[i];
      if (isExclusive ? key >= end : key > end) break;
      if (!found.has(key) && !own.includes(key)) constraints.push([key, null]);
    }
    return constraints;
  }

  /** A moment from `low` to `high`, inclusive, that shows all of it; undefined: none. */
  #moment(constraints, low, high) {
    let moment = low;
    for (let isSettled = false; !isSettled; ) {
      isSettled = true;
      for (const [key, id] of constraints) {
        const list = this.#versions.get(key);
        if (list === undefined) {
          if (id !== null) return undefined;
          continue;
        }
        let index = this.#indexAt(list, moment);
        if ((index < 0 ? null : list.ids[index]) === id) continue;
        do index++;
        while (index < list.ids.length && list.ids[index] !== id);
        if (index >= list.ids.length || list.sequences[index] > high) return undefined;
        moment = list.sequences[index];
        isSettled = false;
      }
    }
    return moment;
  }

  #checkCommit(commit, report) {
    const { kind, sequence, committing, began, isolation } = commit;
    if (this.#acknowledgedBefore(committing) >= sequence) {
      report('a later commit has a lower number', commit);
    }
    if (kind !== 'tx') return;
    this.counts.transactions++;
    const seen = this.#constraints(commit);
    const before = commit.writes.map(([key]) => [key, this.#at(key, sequence - 1)]);
    const earliest = this.#acknowledgedBefore(began);
    if (this.#moment(seen, earliest, sequence - 1) === undefined) {
      report('no moment shows what it read', commit);
    } else if (this.#moment([...seen, ...before], earliest, sequence - 1) === undefined) {
      report('what it wrote was changed since', commit);
    }
    const valid = isolation === 'serializable' ? seen : commit.held;
    for (const [key, id] of valid) {
      if (this.#at(key, sequence - 1) !== id) {
        report(`what it read of ${key} (${id}) was ${this.#at(key, sequence - 1)} by then`, commit);
        break;
      }
    }
  }

  #checkReader(record, report) {
    const { kind, began } = record;
    if (kind === 'blind') return;
    const seen = this.#constraints(record);
    this.counts.scans += record.scans.length;
    if (kind === 'snapshot') {
      this.counts.snapshots++;
      if (began !== undefined && this.#acknowledgedBefore(began) > record.sequence) {
        report('a snapshot is older than what was acknowledged', record);
      }
      for (const [key, id] of seen) {
        const expected = this.#at(key, record.sequence);
        if (expected !== id) report(`a snapshot saw ${id} of ${key}, not ${expected}`, record);
      }
      return;
    }
    if (kind === 'latest') this.counts.latest++;
    const isPoint = kind === 'latest' && record.scans.length === 0;
    const earliest = isPoint
      ? this.#acknowledgedOf(record.reads[0][0], began)
      : this.#acknowledgedBefore(began);
    const { moment } = record;
    const found = this.#moment(seen, moment ?? earliest, moment ?? NEVER);
    if (found === undefined) report('no moment shows what was read', record);
    if (moment !== undefined && moment < earliest) report('an old moment was read', record);
  }

  #checkFinal(final, report) {
    for (const [key, id] of final) {
      const expected = this.#at(key, NEVER);
      if (id !== expected) report(`in the end ${key} is ${id}, not ${expected}`, {});
    }
    for (const [key, list] of this.#versions) {
      if (list.ids.at(-1) !== null && !final.has(key)) {
        report(`in the end ${key} is missing`, { id: list.ids.at(-1) });
      }
    }
  }
}

function lowerBound(keys, key) {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle] < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
