/** A view of the whole database as of one moment. */

import type { EncodingInput, EncodingOption, EncodingType } from '../encoding/encoding.js';
import { ClosedError } from '../errors.js';
import type { AcquiredSnapshot } from './control-block.js';
import { wrongType } from './key-scratch.js';
import { type Readable, type ReadOptions, ReadView, type ScanEntry } from './read-view.js';
import type { Scan, SyncScan } from './scan.js';
import type { ScanOptions } from './scan-query.js';
import type { Session } from './session.js';
import type { SnapshotHold } from './snapshot-registry.js';

const HANDLE_KIND = 'lightning-db:snapshot';

/**
 * What `snapshot.share()` gives: post it to another thread that has the same database open, and pass
 * it to `db.snapshot` there. Opaque; good for as long as the snapshot it came from is open.
 */
export interface SnapshotHandle {
  readonly kind: typeof HANDLE_KIND;
  /** @internal */
  readonly slot: number;
  /** @internal */
  readonly sequence: number;
  /** @internal Of the database that is open. */
  readonly identity: number;
}

/**
 * The database as it was when `db.snapshot()` was called: everything written and acknowledged before
 * is there, nothing that came later, on all shards alike. It keeps old versions on disk: close it.
 */
export class Snapshot<K = string, V = string> implements Readable<K, V> {
  readonly #view: ReadView;
  readonly #hold: SnapshotHold;
  #open = true;

  readonly #acquired: AcquiredSnapshot;
  readonly #session: Session;

  /** @internal */
  constructor(session: Session, handle?: SnapshotHandle) {
    const { client } = session;
    const acquired =
      handle === undefined
        ? client.acquireSnapshot()
        : client.adoptSnapshot(checkHandle(session, handle));
    this.#session = session;
    this.#acquired = acquired;
    this.#hold = session.snapshots.hold(acquired);
    this.#hold.releaseWith(this);
    this.#view = new ReadView(session, {
      sequence: acquired.sequence,
      checkOpen: () => this.#checkOpen(),
    });
  }

  /**
   * A handle for other threads, which open the same moment with `db.snapshot(handle)`. Each has a
   * snapshot of its own then; this one must stay open until they do.
   */
  share(): SnapshotHandle {
    this.#checkOpen();
    const { slot, sequence } = this.#acquired;
    const identity = this.#session.client.control.identity();
    return { kind: HANDLE_KIND, slot, sequence, identity };
  }

  get(key: EncodingInput<K>): Promise<V | undefined>;
  get<E extends EncodingOption>(
    key: EncodingInput<K>,
    options: ReadOptions<E> | undefined,
  ): Promise<EncodingType<E> | undefined>;
  get(key: EncodingInput<K>, options?: ReadOptions): Promise<unknown> {
    return this.#view.get(key, options);
  }

  getSync(key: EncodingInput<K>): V | undefined;
  getSync<E extends EncodingOption>(
    key: EncodingInput<K>,
    options: ReadOptions<E> | undefined,
  ): EncodingType<E> | undefined;
  getSync(key: EncodingInput<K>, options?: ReadOptions): unknown {
    return this.#view.getSync(key, options);
  }

  /**
   * The value's bytes, not decoded, in memory that is used again: they are good until the next call of
   * `getBorrowedSync` on this thread, of the database or any snapshot of it, and hold another value
   * afterwards. Nothing else changes them, not even a write to the key. Copy what is to be kept
   * (`Buffer.from(bytes)`). For hot loops: it saves what making a Buffer or string costs.
   */
  getBorrowedSync(key: EncodingInput<K>): Buffer | undefined {
    return this.#view.getBorrowedSync(key);
  }

  getMany(keys: readonly EncodingInput<K>[]): Promise<(V | undefined)[]>;
  getMany<E extends EncodingOption>(
    keys: readonly EncodingInput<K>[],
    options: ReadOptions<E> | undefined,
  ): Promise<(EncodingType<E> | undefined)[]>;
  getMany(keys: readonly EncodingInput<K>[], options?: ReadOptions): Promise<unknown[]> {
    return this.#view.getMany(keys, options);
  }

  getManySync(keys: readonly EncodingInput<K>[]): (V | undefined)[];
  getManySync<E extends EncodingOption>(
    keys: readonly EncodingInput<K>[],
    options: ReadOptions<E> | undefined,
  ): (EncodingType<E> | undefined)[];
  getManySync(keys: readonly EncodingInput<K>[], options?: ReadOptions): unknown[] {
    return this.#view.getManySync(keys, options);
  }

  has(key: EncodingInput<K>): Promise<boolean> {
    return this.#view.has(key);
  }

  hasSync(key: EncodingInput<K>): boolean {
    return this.#view.hasSync(key);
  }

  scan<const O extends ScanOptions<EncodingInput<K>>>(options?: O): Scan<ScanEntry<K, V, O>> {
    return this.#view.scan(options);
  }

  scanSync<const O extends ScanOptions<EncodingInput<K>>>(
    options?: O,
  ): SyncScan<ScanEntry<K, V, O>> {
    return this.#view.scanSync(options);
  }

  /** Lets go of the moment; further reads are refused. Idempotent. */
  close(): void {
    this.#open = false;
    this.#hold.release();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(): void {
    this.#session.checkOpen();
    if (!this.#open) throw new ClosedError('The snapshot is closed: take a new one');
  }
}

function checkHandle(session: Session, handle: unknown): SnapshotHandle {
  if (
    typeof handle === 'object' &&
    handle !== null &&
    'kind' in handle &&
    handle.kind === HANDLE_KIND
  ) {
    const given = handle as SnapshotHandle;
    if (given.identity === session.client.control.identity()) return given;
  }
  throw wrongType('handle', 'what share() of a snapshot of this database returned', handle);
}
