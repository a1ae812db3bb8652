/**
 * Memtable: an ordered map from keys to their versions, in an arena of shared memory.
 *
 * An adaptive radix tree (memtable-node.ts) whose leaves hold the whole key and a chain of
 * versions, newest first. Leaves and versions are taken from the free room's start, nodes from its
 * end, where they lie close together; nothing is freed: the arena is dropped whole.
 *
 *   arena    ARENA_* head, leaves and versions (8-byte aligned), free room, nodes
 *   leaf     LEAF_*: key length, newest version, key
 *   version  VERSION_*: sequence, older version, type and length, value
 *
 * Thread safety: one writer at a time (the shard worker, or who it lent the shard to), any number of
 * readers in other threads, no locks.
 * 1. A leaf's key and a version's bytes never change once linked; atomic stores link them.
 * 2. A slot (the root word, a child word, an end leaf) only ever moves to something that holds
 *    every key of what it held. So a reader, however slow, finds every key that was there when it
 *    read the root; of keys inserted later it may or may not see some.
 * 3. Versions of a key have distinct sequence numbers, strictly falling along the chain.
 *
 * Readers skip prefixes longer than a node stores and compare the whole key at the leaf. The writer
 * skips them too and, before it links anything, checks the skipped bytes once against some leaf.
 */

import { copyBytes } from './bytes';
import {
  ARENA_END,
  ARENA_HEAD_BYTES,
  ARENA_KEYS,
  ARENA_ROOT,
  ARENA_SEQUENCE_MAX,
  ARENA_SEQUENCE_MIN,
  ARENA_TOP,
  ARENA_VERSIONS,
  LEAF_HEAD,
  LEAF_KEY,
  LEAF_KEY_LENGTH,
  LEAF_TAG,
  VERSION_OLDER,
  VERSION_SEQUENCE,
  VERSION_TYPE_SHIFT,
  VERSION_VALUE,
  VERSION_VALUE_LENGTH,
} from './layout';
import {
  NODE_BRANCH,
  NODE_END,
  NODE_GROWTH_BYTES_MAX,
  NODE_PREFIX,
  NODE_PREFIX_BYTES,
  NODE_START,
  addChild,
  anyLeaf,
  commonBytes,
  findChild,
  newNode,
  sharedByte,
} from './memtable-node';

export {
  memtableFirst,
  memtableLast,
  memtableNext,
  memtablePrev,
  memtableSeek,
  memtableSeekLast,
} from './memtable-cursor';

/** `skipped` of an insertion that compared every byte it passed. */
const NOTHING: u32 = 0xffffffff;

/**
 * Makes an empty memtable of the `bytes` (ARENA_HEAD_BYTES at least) at `arena` (8-byte aligned),
 * which no reader can see.
 */
export function memtableInit(arena: u32, bytes: u32): void {
  const top = arena + ARENA_HEAD_BYTES;
  memory.fill(arena, 0, ARENA_HEAD_BYTES);
  store<u32>(arena, top, ARENA_TOP);
  // Nodes are as large as cache lines and lie on them.
  store<u32>(arena, max(top, (arena + bytes) & ~63), ARENA_END);
  atomic.store<u32>(arena + ARENA_ROOT, 0);
}

// @ts-ignore: decorator
@inline
function leafBytes(keyLength: u32): u32 {
  return (LEAF_KEY + keyLength + 7) & ~7;
}

// @ts-ignore: decorator
@inline
function versionBytes(valueLength: u32): u32 {
  return (VERSION_VALUE + valueLength + 7) & ~7;
}

/**
 * Takes `bytes` (a multiple of 8) for a leaf or version; the caller checked that they are there.
 */
// @ts-ignore: decorator
@inline
function allocate(arena: u32, bytes: u32): u32 {
  const address = load<u32>(arena, ARENA_TOP);
  store<u32>(arena, address + bytes, ARENA_TOP);
  return address;
}

function newVersion(
  arena: u32,
  type: u32,
  value: u32,
  valueLength: u32,
  sequence: u64,
  older: u32,
): u32 {
  const version = allocate(arena, versionBytes(valueLength));
  store<u64>(version, sequence, VERSION_SEQUENCE);
  store<u32>(version, older, VERSION_OLDER);
  store<u32>(version, valueLength | (type << VERSION_TYPE_SHIFT), VERSION_VALUE_LENGTH);
  copyBytes(version + VERSION_VALUE, value, valueLength);
  return version;
}

/** A leaf with its first version right behind it. Returns the tagged pointer. */
function newLeaf(
  arena: u32,
  key: u32,
  keyLength: u32,
  type: u32,
  value: u32,
  valueLength: u32,
  sequence: u64,
): u32 {
  const leaf = allocate(arena, leafBytes(keyLength));
  store<u32>(leaf, keyLength, LEAF_KEY_LENGTH);
  copyBytes(leaf + LEAF_KEY, key, keyLength);
  store<u32>(leaf, newVersion(arena, type, value, valueLength, sequence, 0), LEAF_HEAD);
  store<u32>(arena, load<u32>(arena, ARENA_KEYS) + 1, ARENA_KEYS);
  return leaf | LEAF_TAG;
}

/**
 * Adds a version to a leaf's chain, in its place by sequence number. A version with the same number
 * takes the other's place: the later of two operations on a key in one commit counts.
 */
function addVersion(
  arena: u32,
  leaf: u32,
  type: u32,
  value: u32,
  valueLength: u32,
  sequence: u64,
): void {
  let link = leaf + LEAF_HEAD;
  let next = load<u32>(link);
  // Writers count up, so this ends at once but for a log that is replayed.
  while (next && load<u64>(next, VERSION_SEQUENCE) > sequence) {
    link = next + VERSION_OLDER;
    next = load<u32>(link);
  }
  if (next && load<u64>(next, VERSION_SEQUENCE) == sequence) {
    next = load<u32>(next, VERSION_OLDER);
    store<u32>(arena, load<u32>(arena, ARENA_VERSIONS) - 1, ARENA_VERSIONS);
  }
  atomic.store<u32>(link, newVersion(arena, type, value, valueLength, sequence, next));
}

/** Notes a version in the arena's head. */
// @ts-ignore: decorator
@inline
function account(arena: u32, sequence: u64): void {
  const versions = load<u32>(arena, ARENA_VERSIONS);
  if (versions == 0 || sequence < load<u64>(arena, ARENA_SEQUENCE_MIN)) {
    store<u64>(arena, sequence, ARENA_SEQUENCE_MIN);
  }
  if (sequence > load<u64>(arena, ARENA_SEQUENCE_MAX)) {
    store<u64>(arena, sequence, ARENA_SEQUENCE_MAX);
  }
  store<u32>(arena, versions + 1, ARENA_VERSIONS);
}

/**
 * Adds a version of a key: at most KEY_BYTES_MAX bytes of key, VERSION_LENGTH_MASK bytes of value,
 * `type` an OP_*. Key and value are copied. Returns 0, or 1 when the arena might not have room, and
 * then nothing has changed.
 */
export function memtablePut(
  arena: u32,
  key: u32,
  keyLength: u32,
  type: u32,
  value: u32,
  valueLength: u32,
  sequence: u64,
): i32 {
  const room = load<u32>(arena, ARENA_END) - load<u32>(arena, ARENA_TOP);
  if (room < leafBytes(keyLength) + versionBytes(valueLength) + NODE_GROWTH_BYTES_MAX) return 1;
  account(arena, sequence);

  let slot = arena + ARENA_ROOT;
  let depth: u32 = 0;
  let skipped: u32 = NOTHING;
  while (true) {
    const node = load<u32>(slot);
    if (node & LEAF_TAG) {
      const leaf = node ^ LEAF_TAG;
      const at = partsAt(leaf, key, keyLength, min(skipped, depth));
      if (at == keyLength && at == load<u32>(leaf, LEAF_KEY_LENGTH)) {
        addVersion(arena, leaf, type, value, valueLength, sequence);
        return 0;
      }
      const fresh = newLeaf(arena, key, keyLength, type, value, valueLength, sequence);
      if (at < depth) insertAbove(arena, key, keyLength, at, fresh);
      else insertBeside(arena, slot, depth, key, keyLength, at, fresh);
      return 0;
    }
    if (!node) {
      // Only the root word of an empty tree.
      const fresh = newLeaf(arena, key, keyLength, type, value, valueLength, sequence);
      atomic.store<u32>(slot, fresh);
      return 0;
    }

    // How far does the key go along with the bytes that all keys below share?
    const branch = <u32>load<u16>(node, NODE_BRANCH);
    let at = depth;
    if (branch > depth) {
      const start = <u32>load<u16>(node, NODE_START);
      const limit = min(branch, keyLength);
      const known = min(limit, start + NODE_PREFIX_BYTES);
      if (at < known) {
        at += commonBytes(node + NODE_PREFIX + (at - start), key + at, known - at);
      }
      if (at >= known) {
        if (at < limit) skipped = min(skipped, at);
        at = limit;
      }
    }
    let child: u32 = 0;
    if (at == branch) {
      child = at < keyLength ? findChild(node, <u32>load<u8>(key + at)) : node + NODE_END;
      if (child && load<u32>(child)) {
        slot = child;
        depth = at < keyLength ? at + 1 : at;
        continue;
      }
    }

    // Nothing further down shares more with the key: it is inserted here, or above when bytes that
    // were skipped turn out to differ.
    const fresh = newLeaf(arena, key, keyLength, type, value, valueLength, sequence);
    if (skipped < at) {
      const truly = partsAt(anyLeaf(node), key, at, skipped);
      if (truly < at) {
        insertAbove(arena, key, keyLength, truly, fresh);
        return 0;
      }
    }
    if (at < branch) insertBeside(arena, slot, depth, key, keyLength, at, fresh);
    else if (at == keyLength) atomic.store<u32>(node + NODE_END, fresh);
    else addChild(arena, slot, node, <u32>load<u8>(key + at), fresh);
    return 0;
  }
}

/** The first position from `from` on where the key differs from the leaf's, or either ends. */
// @ts-ignore: decorator
@inline
function partsAt(leaf: u32, key: u32, keyLength: u32, from: u32): u32 {
  const common = min(load<u32>(leaf, LEAF_KEY_LENGTH), keyLength);
  return from + commonBytes(leaf + LEAF_KEY + from, key + from, common - from);
}

/** Replaces what `slot` holds by a node with that and the new leaf, whose keys part at `at`. */
function insertBeside(
  arena: u32,
  slot: u32,
  depth: u32,
  key: u32,
  keyLength: u32,
  at: u32,
  fresh: u32,
): void {
  const present = load<u32>(slot);
  const node = newNode(arena, key, depth, at);
  const leaf = present ^ LEAF_TAG;
  if (!(present & LEAF_TAG)) {
    addChild(arena, 0, node, sharedByte(present, at), present);
  } else if (at < load<u32>(leaf, LEAF_KEY_LENGTH)) {
    addChild(arena, 0, node, <u32>load<u8>(leaf + at, LEAF_KEY), present);
  } else {
    store<u32>(node, present, NODE_END);
  }
  if (at < keyLength) addChild(arena, 0, node, <u32>load<u8>(key + at), fresh);
  else store<u32>(node, fresh, NODE_END);
  atomic.store<u32>(slot, node);
}

/**
 * Inserts where the key parts from the tree at `at`, on the path that the key itself leads along.
 */
function insertAbove(arena: u32, key: u32, keyLength: u32, at: u32, fresh: u32): void {
  let slot = arena + ARENA_ROOT;
  let depth: u32 = 0;
  while (true) {
    const node = load<u32>(slot);
    if (node & LEAF_TAG) break;
    const branch = <u32>load<u16>(node, NODE_BRANCH);
    if (branch >= at) break;
    slot = findChild(node, <u32>load<u8>(key + branch));
    depth = branch + 1;
  }
  insertBeside(arena, slot, depth, key, keyLength, at, fresh);
}

/** The newest version of the key at or below `snapshot`: its address, or 0. */
export function memtableFind(arena: u32, key: u32, keyLength: u32, snapshot: u64): u32 {
  let pointer = atomic.load<u32>(arena + ARENA_ROOT);
  while (pointer) {
    if (pointer & LEAF_TAG) {
      const leaf = pointer ^ LEAF_TAG;
      if (load<u32>(leaf, LEAF_KEY_LENGTH) != keyLength) return 0;
      if (commonBytes(leaf + LEAF_KEY, key, keyLength) != keyLength) return 0;
      let version = atomic.load<u32>(leaf + LEAF_HEAD);
      // Most keys have one version, and it is here: the address does not wait for the load above.
      const first = leaf + leafBytes(keyLength);
      if (version == first && load<u64>(first, VERSION_SEQUENCE) <= snapshot) return first;
      while (version && load<u64>(version, VERSION_SEQUENCE) > snapshot) {
        version = atomic.load<u32>(version + VERSION_OLDER);
      }
      return version;
    }
    const branch = <u32>load<u16>(pointer, NODE_BRANCH);
    let slot = pointer + NODE_END;
    if (branch < keyLength) {
      slot = findChild(pointer, <u32>load<u8>(key + branch));
      if (!slot) return 0;
    } else if (branch > keyLength) {
      return 0;
    }
    pointer = atomic.load<u32>(slot);
  }
  return 0;
}
