/** Signatures of the kernel's exports for memtables and group commit; documented where defined. */
export interface CommitExports {
  // memtable.ts; sequence numbers are u64
  memtableInit(arena: number, bytes: number): void;

  // commit.ts
  groupBegin(): void;
  groupBound(bytes: number): void;
  groupRecordMax(bytes: number): void;
  groupCommitsMax(): number;
  groupCollect(client: number, operationsMax: number): number;
  groupMalformed(): number;
  groupAppend(
    operations: number,
    operationsBytes: number,
    operationCount: number,
    kind: number,
    transactionId: number,
    client: number,
    requestId: number,
  ): number;
  groupPlace(opsBytes: number): number;
  groupBytes(): number;
  groupCommits(): number;
  groupOps(): number;
  groupControls(): number;
  groupOpsBytesMax(): number;
  groupSync(): number;
  groupClient(commit: number): number;
  groupRequestId(commit: number): number;
  groupSeal(
    firstSequence: number,
    timestampUs: number,
    epoch: number,
    durableBytes: number,
    segment: number,
    fileOffset: number,
    flags: number,
  ): number;
  groupOpen(bytes: number, segment: number, fileOffset: number): number;
  groupBytesWanted(): number;
  setActiveMemtable(arena: number): void;
  groupApply(): number;
  applyOps(operations: number, operationsBytes: number, sequence: number): number;
  groupPublish(sequence: number): void;
  unsettledFrom(sequence: number): void;
  unsettledIfNone(sequence: number): number;
  groupAck(): number;
  groupAckRetry(): number;
  dropAcks(): void;
  groupForget(client: number): void;

  // locks.ts
  setHeldRanges(isHeld: number): void;
  groupKeysBegin(): void;
  groupKeysKnown(): number;
  locksHeld(): number;
  locksHit(operations: number, bytes: number, bitmap: number): number;
  locksInit(address: number, lockSlots: number, setSlots: number): void;
  locksKeys(keys: number, bytes: number, holder: number, isAdded: number): void;
  locksOps(operations: number, bytes: number, holder: number, isAdded: number): void;
  rangeChanged(
    start: number,
    startLength: number,
    end: number,
    endLength: number,
    flags: number,
    snapshot: number,
  ): number;
  validateKeys(
    keys: number,
    bytes: number,
    snapshot: number,
    holder: number,
    isTableNewer: number,
  ): number;
  validateOps(
    operations: number,
    bytes: number,
    snapshot: number,
    holder: number,
    isTableNewer: number,
  ): number;
  validatedKey(): number;
  validatedKeyBytes(): number;
  validatedTo(): number;

  // ring.ts
  ringPeek(client: number): number;
  ringPop(client: number): void;
  ringPushResponse(
    client: number,
    kind: number,
    flags: number,
    requestId: number,
    argument: number,
    payload: number,
    payloadBytes: number,
  ): number;
}
