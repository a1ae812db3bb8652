/** What the kernel offers to its host: every export of these files. */

export * from './epoch';
export * from './memtable';
export {
  groupAppend,
  groupBegin,
  groupBound,
  groupBytes,
  groupPlace,
  groupBytesWanted,
  groupCollect,
  groupCommits,
  groupControls,
  groupMalformed,
  groupOpen,
  groupOps,
  groupOpsBytesMax,
  groupPublish,
  groupRecordMax,
  groupSeal,
  groupSync,
  unsettledFrom,
  unsettledIfNone,
} from './commit';
export { applyOps, groupApply, setActiveMemtable } from './apply';
export {
  dropAcks,
  groupAck,
  groupAckRetry,
  groupClient,
  groupCommitsMax,
  groupForget,
  groupRequestId,
} from './acknowledge';
export { ringPeek, ringPop, ringPushResponse } from './ring';
export * from './hash';
export * from './lz4';
export * from './filter';
export * from './block';
export * from './table-index';
export * from './table-builder';
export * from './retention';
export * from './flush';
export * from './merge';
export * from './verify';
export {
  chunkAdd,
  chunkInit,
  chunkKeptBytes,
  chunkRoom,
  chunkSort,
  chunkSortRoom,
  runPack,
} from './sort';
export { runsMerge, runsOpen, runsRoom, runsSplit, runsSplitRoom } from './load-merge';
export * from './csv';
export { jsonScan, textCount, textFind, textFindRecord, utf8Valid } from './text';
export { columnsExpand } from './columns';
export { cacheDropTable, cacheInsert, cacheRecord } from './cache';
export { cacheCarry } from './cache-carry';
export { cacheInit, cacheReserve, cacheUsedBytes } from './cache-queue';
export { ownBlockBytesMax, ownBlockHit, ownBlockSource, ownBlockTake } from './own-block';
export {
  storedIsPlain,
  storedIsPossible,
  storedOpen,
  storedRawBytes,
  storedUnpack,
  storedVerify,
} from './stored-block';
export { setHeldRanges } from './held';
export {
  groupKeysBegin,
  groupKeysKnown,
  locksHeld,
  locksHit,
  locksInit,
  locksKeys,
  locksOps,
  rangeChanged,
  validateKeys,
  validateOps,
  validatedKey,
  validatedKeyBytes,
  validatedTo,
} from './locks';
export { get, getSettled } from './get';
export { getMany } from './get-many';
export { attach, scratchBase } from './reader';
export { scan } from './scan';
