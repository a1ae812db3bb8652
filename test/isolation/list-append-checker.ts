/**
 * Finds out whether a history of list appends is one that an isolation level allows, in the manner
 * of Elle (Kingsbury and Alvaro, VLDB 2020). Lists make it possible: a read shows the order in which
 * the elements before it were written, and every element leads to the transaction that wrote it.
 *
 * From the lists follow edges between transactions:
 *   ww  the second wrote the version after the first's
 *   wr  the second read what the first wrote
 *   rw  the second wrote the version after the one that the first read
 *   rt  the first had its answer before the second began
 * and from sets, whose elements have no order:
 *   wr  the second found an element of the first in a range
 *   pw  the second wrote an element that the first did not find in a range
 * A cycle says that no order of the transactions explains what was seen. Which edges it needs names
 * the anomaly (Adya 1999). Some anomalies show in single reads, without a graph.
 */

import type { Attempt, History, Operation } from './history.js';

export type AnomalyName =
  /** A read saw what an aborted transaction wrote. */
  | 'G1a'
  /** A read saw what its writer had not finished. */
  | 'G1b'
  /** Writes alone contradict every order. */
  | 'G0'
  /** Writes and reads of them do. */
  | 'G1c'
  /** A cycle with one anti-dependency: read skew. */
  | 'G-single'
  /** A cycle whose anti-dependencies are apart from each other: snapshot isolation excludes it. */
  | 'G-nonadjacent'
  /** A cycle with anti-dependencies next to each other: write skew. */
  | 'G2-item'
  /** As G-single, with an anti-dependency of a range. */
  | 'G-single-predicate'
  /** A cycle that needs anti-dependencies of ranges: phantoms. */
  | 'G2'
  /** A transaction did not see what it wrote, or saw something else when it looked again. */
  | 'internal'
  /** One write of a transaction was seen, another not. */
  | 'fractured read'
  /** Two read one version and both appended to it; or an acknowledged append is gone. */
  | 'lost update'
  /** Two reads of a key show orders of which neither continues the other. */
  | 'incompatible order'
  /** An element stands in a list twice. */
  | 'duplicate element'
  /** An element that nobody appended. */
  | 'garbage element'
  /** The cycle of that name needs the order of real time. */
  | 'G0-realtime'
  | 'G1c-realtime'
  | 'G-single-realtime'
  | 'G-nonadjacent-realtime'
  | 'G-single-predicate-realtime'
  | 'G2-item-realtime'
  | 'G2-realtime';

export interface Anomaly {
  readonly name: AnomalyName;
  readonly what: string;
}

/** What an isolation level lets pass. */
export const ALLOWED: Readonly<Record<'snapshot' | 'serializable', readonly AnomalyName[]>> = {
  snapshot: ['G2-item', 'G2-item-realtime', 'G2', 'G2-realtime'],
  serializable: [],
};

const WW = 1;
const WR = 2;
const RW = 4;
const RT = 8;
const PW = 16;

/** All kinds of anomalies of the history, one example of each. */
export function findAnomalies(history: History): Anomaly[] {
  return new Checker(history).run();
}

/** The names of the anomalies that the level does not allow. */
export function violations(history: History, isolation: 'snapshot' | 'serializable'): Anomaly[] {
  return findAnomalies(history).filter(({ name }) => !ALLOWED[isolation].includes(name));
}

class Checker {
  readonly #history: History;
  readonly #found = new Map<AnomalyName, Anomaly>();
  /** Who wrote an element of a list or set. */
  readonly #writers = new Map<string, number>();
  /** The elements of a set. */
  readonly #inserts = new Map<string, { readonly element: number; readonly writer: number }[]>();
  /** The elements of a key in the order they were written, as far as somebody saw it. */
  readonly #orders = new Map<string, readonly number[]>();
  /** Per transaction, its edges: to whom, and which kinds. */
  readonly #edges: Map<number, number>[];
  /** Part of the graph: transactions that took effect. */
  readonly #isReal: boolean[];

  constructor(history: History) {
    this.#history = history;
    this.#edges = history.map(() => new Map());
    this.#isReal = history.map(({ outcome }) => outcome === 'committed');
  }

  run(): Anomaly[] {
    this.#findWriters();
    this.#checkInternal();
    this.#findOrders();
    this.#checkReads();
    this.#checkLostAppends();
    this.#addDependencies();
    this.#checkFracturedReads();
    this.#checkCycles(0);
    this.#addRealTime();
    this.#checkCycles(RT);
    return [...this.#found.values()];
  }

  #report(name: AnomalyName, what: string): void {
    if (!this.#found.has(name)) this.#found.set(name, { name, what });
  }

  #describe(index: number): string {
    const { client, operations, outcome } = this.#history[index] as Attempt;
    const text = operations.map((o) =>
      'element' in o ? `${o.kind} ${o.key} ${o.element}` : `${o.kind} ${o.key} [${o.list}]`,
    );
    return `T${index} (client ${client}, ${outcome}): ${text.join(', ')}`;
  }

  #findWriters(): void {
    this.#history.forEach(({ operations }, index) => {
      for (const o of operations) {
        if (!('element' in o)) continue;
        const name = elementName(o.key, o.element);
        if (this.#writers.has(name)) throw new Error(`Element ${name} was written twice`);
        this.#writers.set(name, index);
        if (o.kind !== 'insert') continue;
        const all = this.#inserts.get(o.key) ?? [];
        all.push({ element: o.element, writer: index });
        this.#inserts.set(o.key, all);
      }
    });
    // Who is seen took effect, whether its client heard of it or not.
    for (const [index, { operations, outcome }] of this.#history.entries()) {
      if (outcome !== 'committed') continue;
      for (const o of operations) {
        if ('element' in o) continue;
        for (const element of o.list) {
          const writer = this.#writers.get(elementName(o.key, element));
          if (writer === undefined) {
            this.#report('garbage element', `${this.#describe(index)}: nobody wrote ${element}`);
          } else if ((this.#history[writer] as Attempt).outcome === 'unknown') {
            this.#isReal[writer] = true;
          }
        }
      }
    }
  }

  /** A transaction's reads must agree with what it did before. */
  #checkInternal(): void {
    this.#history.forEach(({ operations, outcome }, index) => {
      if (outcome !== 'committed') return;
      const known = new Map<string, readonly number[]>();
      const appended = new Map<string, number[]>();
      for (const o of operations) {
        const own = appended.get(o.key) ?? [];
        if ('element' in o) {
          appended.set(o.key, [...own, o.element]);
          continue;
        }
        // The elements of a set may stand in any order.
        const list = o.kind === 'range' ? ownLast(o.list, own) : o.list;
        const before = known.get(o.key);
        const fits = before === undefined ? isSuffix(own, list) : isSame(list, [...before, ...own]);
        if (!fits) this.#report('internal', this.#describe(index));
        known.set(o.key, list.slice(0, list.length - own.length));
      }
    });
  }

  /** The order of a key is its longest list; all others must be beginnings of it. */
  #findOrders(): void {
    const lists = new Map<string, { list: readonly number[]; index: number }[]>();
    this.#history.forEach(({ operations, outcome }, index) => {
      if (outcome !== 'committed') return;
      for (const o of operations) {
        if (o.kind !== 'read') continue;
        if (new Set(o.list).size < o.list.length) {
          this.#report('duplicate element', this.#describe(index));
        }
        const all = lists.get(o.key);
        if (all === undefined) lists.set(o.key, [{ list: o.list, index }]);
        else all.push({ list: o.list, index });
      }
    });
    for (const [key, all] of lists) {
      let longest: readonly number[] = [];
      for (const { list } of all) if (list.length > longest.length) longest = list;
      this.#orders.set(key, longest);
      for (const { list, index } of all) {
        if (isPrefix(list, longest)) continue;
        this.#report('incompatible order', `${this.#describe(index)}, but [${longest}] elsewhere`);
        break;
      }
    }
  }

  #checkReads(): void {
    this.#history.forEach(({ operations, outcome }, index) => {
      if (outcome !== 'committed') return;
      for (const o of operations) {
        if ('element' in o) continue;
        for (const element of o.list) {
          const writer = this.#writers.get(elementName(o.key, element));
          if (writer !== undefined && this.#history[writer]?.outcome === 'aborted') {
            this.#report('G1a', `${this.#describe(index)} of ${this.#describe(writer)}`);
          }
        }
        const last = o.list.at(-1);
        if (last === undefined || o.kind === 'range') continue;
        const writer = this.#writers.get(elementName(o.key, last));
        if (writer === undefined || writer === index) continue;
        if (lastWritten(this.#history[writer] as Attempt, o.key) !== last) {
          this.#report('G1b', `${this.#describe(index)} of ${this.#describe(writer)}`);
        }
      }
    });
  }

  /** Whoever looks after everybody is done must see all that was acknowledged. */
  #checkLostAppends(): void {
    // Per key, the committed read that began last.
    const lastReads = new Map<string, { began: number; list: readonly number[] }>();
    for (const { operations, outcome, began } of this.#history) {
      if (outcome !== 'committed') continue;
      for (const o of operations) {
        if ('element' in o) continue;
        const last = lastReads.get(o.key);
        if (last === undefined || last.began < began) lastReads.set(o.key, { began, list: o.list });
      }
    }
    this.#history.forEach(({ operations, outcome, ended }, index) => {
      if (outcome !== 'committed') return;
      for (const o of operations) {
        const last = lastReads.get(o.key);
        if (!('element' in o) || last === undefined || last.began < ended) continue;
        if (!last.list.includes(o.element)) {
          this.#report('lost update', `${this.#describe(index)}: ${o.element} is gone later`);
        }
      }
    });
    this.#checkLostUpdates();
  }

  /** Two that read the same version of a key and both append to it: one of them is overwritten. */
  #checkLostUpdates(): void {
    const seen = new Map<string, number>();
    this.#history.forEach(({ operations, outcome }, index) => {
      if (outcome !== 'committed') return;
      const done = new Set<string>();
      for (const [at, o] of operations.entries()) {
        if (o.kind !== 'read' || done.has(o.key)) continue;
        done.add(o.key);
        const before = operations.slice(0, at).some((p) => p.kind === 'append' && p.key === o.key);
        const after = operations.slice(at).some((p) => p.kind === 'append' && p.key === o.key);
        if (before || !after) continue;
        const version = `${o.key} ${o.list.at(-1) ?? 'empty'}`;
        const other = seen.get(version);
        if (other !== undefined) {
          this.#report('lost update', `${this.#describe(other)} and ${this.#describe(index)}`);
        }
        seen.set(version, index);
      }
    });
  }

  #add(from: number, to: number, kind: number): void {
    if (from === to || !this.#isReal[from] || !this.#isReal[to]) return;
    const edges = this.#edges[from] as Map<number, number>;
    edges.set(to, (edges.get(to) ?? 0) | kind);
  }

  #addDependencies(): void {
    for (const [key, order] of this.#orders) {
      for (let i = 1; i < order.length; i++) {
        const from = this.#writers.get(elementName(key, order[i - 1] as number));
        const to = this.#writers.get(elementName(key, order[i] as number));
        if (from !== undefined && to !== undefined) this.#add(from, to, WW);
      }
    }
    this.#history.forEach(({ operations, outcome }, index) => {
      if (outcome !== 'committed') return;
      for (const { key, list, kind } of externalReads(operations)) {
        if (kind === 'range') {
          this.#addOfRange(index, key, list);
          continue;
        }
        const order = this.#orders.get(key) ?? [];
        const last = list.at(-1);
        if (last !== undefined) {
          const writer = this.#writers.get(elementName(key, last));
          if (writer !== undefined) this.#add(writer, index, WR);
        }
        const following = last === undefined ? order[0] : order[order.indexOf(last) + 1];
        if (following === undefined || (last !== undefined && !order.includes(last))) continue;
        const writer = this.#writers.get(elementName(key, following));
        if (writer !== undefined) this.#add(index, writer, RW);
      }
    });
  }

  #addOfRange(index: number, key: string, list: readonly number[]): void {
    for (const { element, writer } of this.#inserts.get(key) ?? []) {
      if (list.includes(element)) this.#add(writer, index, WR);
      else this.#add(index, writer, PW);
    }
  }

  /** Who saw one append of a transaction must see its appends to other keys, too. */
  #checkFracturedReads(): void {
    this.#history.forEach(({ operations, outcome }, index) => {
      if (outcome !== 'committed') return;
      const reads = externalReads(operations);
      const seen = new Set<number>();
      for (const { key, list } of reads) {
        for (const element of list) {
          const writer = this.#writers.get(elementName(key, element));
          if (writer !== undefined && writer !== index) seen.add(writer);
        }
      }
      for (const { key, list } of reads) {
        for (const writer of seen) {
          const element = lastWritten(this.#history[writer] as Attempt, key);
          if (element === undefined || list.includes(element)) continue;
          this.#report('fractured read', `${this.#describe(index)} of ${this.#describe(writer)}`);
        }
      }
    });
  }

  /**
   * Edges of real time. All pairs would be too many: a transaction gets edges from those that had
   * ended when it began, but for those from which an edge leads to another of them.
   */
  #addRealTime(): void {
    const real = this.#history.flatMap((attempt, index) =>
      this.#isReal[index] && attempt.outcome === 'committed' ? [{ ...attempt, index }] : [],
    );
    const byBegin = [...real].sort((a, b) => a.began - b.began);
    const byEnd = [...real].sort((a, b) => a.ended - b.ended);
    let frontier: (typeof real)[number][] = [];
    let next = 0;
    for (const attempt of byBegin) {
      for (; (byEnd[next]?.ended ?? Number.POSITIVE_INFINITY) < attempt.began; next++) {
        const ended = byEnd[next] as (typeof real)[number];
        frontier = frontier.filter((f) => f.ended >= ended.began);
        frontier.push(ended);
      }
      for (const f of frontier) this.#add(f.index, attempt.index, RT);
    }
  }

  /** `time`: RT, or 0 for cycles without it. */
  #checkCycles(time: number): void {
    const plain = WW | WR | time;
    this.#checkCyclesOf(plain, RW, ['G-single', 'G-nonadjacent', 'G2-item'], time);
    this.#checkCyclesOf(plain, RW | PW, ['G-single-predicate', 'G-nonadjacent', 'G2'], time);
  }

  /** Of edges that are `plain` or anti-dependencies; cycles are looked for from each of the latter. */
  #checkCyclesOf(
    plain: number,
    anti: number,
    [single, apart, any]: readonly [string, string, string],
    time: number,
  ): void {
    for (const component of components(this.#edges, plain | anti)) {
      const inside = new Set(component);
      for (const from of component) {
        for (const [to, kinds] of this.#edges[from] as Map<number, number>) {
          if (!inside.has(to)) continue;
          const named = (name: string, path: () => readonly number[] | undefined): boolean =>
            this.#isCycle(name, time !== 0, path);
          if ((kinds & WW) !== 0) named('G0', () => this.#path(to, from, WW | time, inside));
          if ((kinds & WR) !== 0) named('G1c', () => this.#path(to, from, plain, inside));
          // An edge that may be taken as another kind makes no anti-dependency. With ranges, cycles
          // are those that need one.
          const own = (anti & PW) === 0 ? RW : PW;
          if ((kinds & own) === 0 || (kinds & (plain | RW)) !== (kinds & own & RW)) continue;
          if (named(single, () => this.#path(to, from, plain, inside))) continue;
          if (named(apart, () => this.#pathApart(to, from, plain, anti, inside))) continue;
          named(any, () => this.#path(to, from, plain | anti, inside));
        }
      }
    }
  }

  /** Reports the cycle that a path closes, unless there is one of that name already. */
  #isCycle(name: string, realTime: boolean, path: () => readonly number[] | undefined): boolean {
    const full = (realTime ? `${name}-realtime` : name) as AnomalyName;
    if (this.#found.has(full) || this.#found.has(name as AnomalyName)) return true;
    const cycle = path();
    if (cycle === undefined) return false;
    this.#report(full, cycle.map((index) => this.#describe(index)).join(' → '));
    return true;
  }

  /** The shortest path over edges of these kinds. */
  #path(
    from: number,
    to: number,
    kinds: number,
    inside: ReadonlySet<number>,
  ): number[] | undefined {
    const before = new Map<number, number>([[from, -1]]);
    const queue = [from];
    for (const node of queue) {
      if (node === to) return trail(before, to);
      for (const [next, edge] of this.#edges[node] as Map<number, number>) {
        if ((edge & kinds) === 0 || before.has(next) || !inside.has(next)) continue;
        before.set(next, node);
        queue.push(next);
      }
    }
    return undefined;
  }

  /**
   * A path that closes an anti-dependency from `to` to `from` to a cycle in which no two
   * anti-dependencies follow each other.
   */
  #pathApart(
    from: number,
    to: number,
    kinds: number,
    anti: number,
    inside: ReadonlySet<number>,
  ): number[] | undefined {
    // A node twice: reached by an anti-dependency (odd) or not (even).
    const start = from * 2 + 1;
    const before = new Map<number, number>([[start, -1]]);
    const queue = [start];
    for (const state of queue) {
      const node = state >> 1;
      if (node === to && (state & 1) === 0) {
        return trail(before, state).map((s) => s >> 1);
      }
      for (const [next, edge] of this.#edges[node] as Map<number, number>) {
        if (!inside.has(next)) continue;
        const plain = (edge & kinds) !== 0;
        if (!plain && ((edge & anti) === 0 || (state & 1) === 1)) continue;
        const reached = next * 2 + (plain ? 0 : 1);
        if (before.has(reached)) continue;
        before.set(reached, state);
        queue.push(reached);
      }
    }
    return undefined;
  }
}

function trail(before: ReadonlyMap<number, number>, end: number): number[] {
  const path: number[] = [];
  for (let node = end; node !== -1; node = before.get(node) ?? -1) path.unshift(node);
  return path;
}

/** Strongly connected components with a cycle (Tarjan 1972, without recursion). */
function components(edges: readonly ReadonlyMap<number, number>[], kinds: number): number[][] {
  const order = new Int32Array(edges.length).fill(-1);
  const low = new Int32Array(edges.length);
  const isOnStack = new Uint8Array(edges.length);
  const stack: number[] = [];
  const found: number[][] = [];
  let counter = 0;
  const enter = (node: number): { node: number; rest: IterableIterator<[number, number]> } => {
    order[node] = counter;
    low[node] = counter++;
    stack.push(node);
    isOnStack[node] = 1;
    return { node, rest: (edges[node] as ReadonlyMap<number, number>).entries() };
  };
  for (let root = 0; root < edges.length; root++) {
    if (order[root] !== -1) continue;
    const calls = [enter(root)];
    for (let call = calls.at(-1); call !== undefined; call = calls.at(-1)) {
      const { node, rest } = call;
      const step = rest.next();
      if (step.done !== true) {
        const [next, edge] = step.value;
        if ((edge & kinds) === 0) continue;
        if (order[next] === -1) calls.push(enter(next));
        else if (isOnStack[next] === 1)
          low[node] = Math.min(low[node] as number, order[next] as number);
        continue;
      }
      calls.pop();
      const caller = calls.at(-1);
      if (caller !== undefined) {
        low[caller.node] = Math.min(low[caller.node] as number, low[node] as number);
      }
      if (low[node] !== order[node]) continue;
      const component: number[] = [];
      for (let member = -1; member !== node; ) {
        member = stack.pop() as number;
        isOnStack[member] = 0;
        component.push(member);
      }
      if (component.length > 1) found.push(component);
    }
  }
  return found;
}

const elementName = (key: string, element: number): string => `${key} ${element}`;

interface ExternalRead {
  readonly key: string;
  readonly list: readonly number[];
  readonly kind: 'read' | 'range';
}

/** The first read of each list or set that the transaction has not written to before. */
function externalReads(operations: readonly Operation[]): ExternalRead[] {
  const touched = new Set<string>();
  const reads: ExternalRead[] = [];
  for (const o of operations) {
    if (!('element' in o) && !touched.has(o.key)) reads.push(o);
    touched.add(o.key);
  }
  return reads;
}

function lastWritten({ operations }: Attempt, key: string): number | undefined {
  let last: number | undefined;
  for (const o of operations) if ('element' in o && o.key === key) last = o.element;
  return last;
}

/** The own elements of a set behind the others, in the order they were inserted. */
function ownLast(list: readonly number[], own: readonly number[]): number[] {
  const others = list.filter((element) => !own.includes(element));
  return [...others, ...own.filter((element) => list.includes(element))];
}

function isPrefix(shorter: readonly number[], longer: readonly number[]): boolean {
  return shorter.length <= longer.length && shorter.every((element, i) => element === longer[i]);
}

function isSuffix(suffix: readonly number[], list: readonly number[]): boolean {
  return isSame(suffix, list.slice(Math.max(0, list.length - suffix.length)));
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((element, i) => element === b[i]);
}
