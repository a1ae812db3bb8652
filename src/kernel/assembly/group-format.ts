/**
 * Bytes of groups and commits in the log: docs/FORMAT.md, "WAL segment". These numbers are on disk
 * and do not change.
 */

export const GROUP_MAGIC: u32 = 0x50524747;
export const GROUP_BODY_BYTES: u32 = 4;
export const GROUP_CHECKSUM: u32 = 8;
export const GROUP_CHECKED: u32 = 16; // the checksum covers everything from here on
export const GROUP_SEQUENCE: u32 = 16;
export const GROUP_TIMESTAMP: u32 = 24;
export const GROUP_EPOCH: u32 = 32;
export const GROUP_DURABLE_BYTES: u32 = 40;
export const GROUP_COMMITS: u32 = 48;
export const GROUP_FLAGS: u32 = 52;
export const GROUP_ZERO: u32 = 56;
export const GROUP_HEADER_BYTES: u32 = 64;
/** The one commit of this group goes on in the next group. */
export const GROUP_FLAG_CONTINUES: u32 = 1;

export const COMMIT_OPERATION_BYTES: u32 = 0;
export const COMMIT_OPERATIONS: u32 = 4;
export const COMMIT_KIND: u32 = 8; // u8 kind, u8 flags, u16 zero, u32 zero
export const COMMIT_TRANSACTION: u32 = 16;
export const COMMIT_HEADER_BYTES: u32 = 24;

export const KIND_PLAIN: u32 = 0;
/** Operations that wait for the decision about their transaction. */
export const KIND_PREPARE: u32 = 1;
/** No operations; COMMIT_BODY_BYTES: sequence number and timestamp (f64 each) of its transaction. */
export const KIND_COMMIT: u32 = 2;
export const COMMIT_BODY_BYTES: u32 = 16;
/** No operations and no bytes: the transaction's prepares mean nothing. */
export const KIND_ABORT: u32 = 3;
export const KIND_LAST: u32 = 3;

/** Everything else stands in the log only. */
// @ts-ignore: decorator
@inline
export function isApplied(kind: u32): bool {
  return kind == KIND_PLAIN;
}
