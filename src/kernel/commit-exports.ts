/** Signatures of the kernel's exports for memtables and group commit; documented where defined. */
export interface CommitExports {
  // memtable.ts; sequence numbers are u64
  memtableInit(arena: number, bytes: number): void;

  // commit.ts
  groupBegin(): void;
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
  groupAck(): number;
  groupAckRetry(): number;
  groupForget(client: number): void;

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
