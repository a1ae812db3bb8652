/**
 * Ordered walks over a memtable: a cursor stands on a leaf and knows the way there.
 *
 * The way is a stack of (node, position) in the cursor, which the caller provides and which one
 * thread uses. The stack keeps the deepest CURSOR_FRAMES frames; when a step needs one that was
 * dropped (keys that are prefixes of each other hundreds deep), it seeks again from the root by the
 * current key.
 *
 * While a writer inserts: nodes of the stack may have been replaced by larger copies meanwhile.
 * They are frozen then, complete up to that time, and all that was reachable below them still is.
 * So the cursor sees every key that was there when it was placed, and every step goes strictly up
 * (down) in key order; of newer keys it may see some. The arena itself must stay: hold an epoch.
 *
 * A step past either end returns 0 and leaves the cursor nowhere: place it again.
 */

import { compareBytes } from './bytes';
import { ARENA_ROOT, LEAF_KEY, LEAF_KEY_LENGTH, LEAF_TAG } from './layout';
import {
  NODE_BRANCH,
  NODE_END,
  NODE_PREFIX,
  NODE_PREFIX_BYTES,
  NODE_START,
  POSITION_END,
  POSITION_NONE,
  POSITION_PAST,
  anyLeaf,
  findChild,
  neighbourSlot,
  nodeAfter,
  nodeBefore,
} from './memtable-node';

/** A power of two. */
const CURSOR_FRAMES: u32 = 256;
const CURSOR_HEAD_BYTES: u32 = 32;
/** Bytes of a cursor, 8-byte aligned. */
export const MEMTABLE_CURSOR_BYTES: u32 = CURSOR_HEAD_BYTES + CURSOR_FRAMES * 8;

/** `stopAt` of a descent that goes on to the end. */
const NOWHERE: i32 = -1;

@unmanaged
class Cursor {
  arena: u32;
  /** The leaf it stands on, or 0. */
  leaf: u32;
  /** Frames on the stack, and the number of all that were pushed less those popped. */
  frames: u32;
  height: u32;
  /** Branch of the deepest dropped frame that has a key beyond the one sought, or NOWHERE. */
  resume: i32;
}

// @ts-ignore: decorator
@inline
function frameAt(c: Cursor, height: u32): u32 {
  return changetype<u32>(c) + CURSOR_HEAD_BYTES + ((height & (CURSOR_FRAMES - 1)) << 3);
}

// @ts-ignore: decorator
@inline
function push(c: Cursor, node: u32, position: i32): void {
  const frame = frameAt(c, c.height);
  store<u32>(frame, node);
  store<i32>(frame, position, 4);
  c.height++;
  if (c.frames < CURSOR_FRAMES) c.frames++;
}

/** True when the frame that the next push drops still has something ahead. */
function dropsSomethingAhead(c: Cursor, forward: bool): bool {
  const frame = frameAt(c, c.height);
  const node = load<u32>(frame);
  const position = load<i32>(frame, 4);
  return (forward ? nodeAfter(node, position) : nodeBefore(node, position)) != POSITION_NONE;
}

/** Goes down to the first (last) leaf below the pointer. */
function descend(c: Cursor, pointer: u32, forward: bool): u32 {
  while (!(pointer & LEAF_TAG)) {
    let slot = pointer + NODE_END;
    let position = POSITION_END;
    if (!forward) {
      position = nodeBefore(pointer, POSITION_PAST);
      slot = neighbourSlot;
    } else if (!atomic.load<u32>(slot)) {
      position = nodeAfter(pointer, POSITION_END);
      slot = neighbourSlot;
    }
    push(c, pointer, position);
    pointer = atomic.load<u32>(slot);
  }
  return pointer ^ LEAF_TAG;
}

/** The leaf after (before) the place the stack names, or 0 when the stack knows of none. */
function step(c: Cursor, forward: bool): u32 {
  while (c.frames) {
    const frame = frameAt(c, c.height - 1);
    const node = load<u32>(frame);
    const from = load<i32>(frame, 4);
    const position = forward ? nodeAfter(node, from) : nodeBefore(node, from);
    if (position != POSITION_NONE) {
      store<i32>(frame, position, 4);
      return descend(c, atomic.load<u32>(neighbourSlot), forward);
    }
    c.height--;
    c.frames--;
  }
  return 0;
}

/**
 * Where the bytes [depth, branch) that all keys below the node share stand to the key's: below
 * (-1), above (1), or equal (0). A key that ends among them is below them.
 */
function comparePrefix(node: u32, depth: u32, branch: u32, key: u32, keyLength: u32): i32 {
  const start = <u32>load<u16>(node, NODE_START);
  const limit = min(branch, keyLength);
  const known = min(limit, start + NODE_PREFIX_BYTES);
  if (depth < known) {
    const bytes = known - depth;
    const order = compareBytes(node + NODE_PREFIX + (depth - start), bytes, key + depth, bytes);
    if (order) return order;
    depth = known;
  }
  if (depth < limit) {
    const bytes = limit - depth;
    const order = compareBytes(anyLeaf(node) + LEAF_KEY + depth, bytes, key + depth, bytes);
    if (order) return order;
  }
  return keyLength < branch ? 1 : 0;
}

/**
 * Walks down along the key and returns the first leaf at or beyond it (beyond it when `strict`) in
 * the direction, or 0. At the node that branches at `stopAt` the walk leaves the key.
 */
function walk(
  c: Cursor,
  key: u32,
  keyLength: u32,
  strict: bool,
  forward: bool,
  stopAt: i32,
): u32 {
  c.frames = 0;
  c.height = 0;
  c.resume = NOWHERE;
  let pointer = atomic.load<u32>(c.arena + ARENA_ROOT);
  if (!pointer) return 0;
  let depth: u32 = 0;
  while (!(pointer & LEAF_TAG)) {
    const branch = <u32>load<u16>(pointer, NODE_BRANCH);
    if (branch > depth) {
      const order = comparePrefix(pointer, depth, branch, key, keyLength);
      if (order) return order > 0 == forward ? descend(c, pointer, forward) : step(c, forward);
    }
    if (c.frames == CURSOR_FRAMES && dropsSomethingAhead(c, forward)) {
      c.resume = <i32>load<u16>(load<u32>(frameAt(c, c.height)), NODE_BRANCH);
    }
    if (branch == keyLength) {
      push(c, pointer, POSITION_END);
      const end = atomic.load<u32>(pointer + NODE_END);
      return end && !strict ? end ^ LEAF_TAG : step(c, forward);
    }
    const byte = <u32>load<u8>(key + branch);
    push(c, pointer, <i32>byte + 1);
    if (<i32>branch == stopAt) return step(c, forward);
    const slot = findChild(pointer, byte);
    if (!slot) return step(c, forward);
    pointer = atomic.load<u32>(slot);
    depth = branch + 1;
  }
  const leaf = pointer ^ LEAF_TAG;
  const order = compareBytes(leaf + LEAF_KEY, load<u32>(leaf, LEAF_KEY_LENGTH), key, keyLength);
  if (order == 0 ? !strict : order > 0 == forward) return leaf;
  return step(c, forward);
}

/** As `walk`, from the root, whatever the stack lost on the way. */
function place(c: Cursor, key: u32, keyLength: u32, strict: bool, forward: bool): u32 {
  const leaf = walk(c, key, keyLength, strict, forward, NOWHERE);
  // A node on the key's path stays on it, so the second walk meets the one noted.
  if (leaf || c.resume == NOWHERE) return leaf;
  return walk(c, key, keyLength, strict, forward, c.resume);
}

/** Places the cursor on the first key at or above the target. Returns its leaf, or 0. */
export function memtableSeek(cursor: u32, arena: u32, key: u32, keyLength: u32): u32 {
  const c = changetype<Cursor>(cursor);
  c.arena = arena;
  c.leaf = place(c, key, keyLength, false, true);
  return c.leaf;
}

/** Places the cursor on the last key at or below the target. Returns its leaf, or 0. */
export function memtableSeekLast(cursor: u32, arena: u32, key: u32, keyLength: u32): u32 {
  const c = changetype<Cursor>(cursor);
  c.arena = arena;
  c.leaf = place(c, key, keyLength, false, false);
  return c.leaf;
}

function placeAtEnd(cursor: u32, arena: u32, forward: bool): u32 {
  const c = changetype<Cursor>(cursor);
  c.arena = arena;
  c.frames = 0;
  c.height = 0;
  const root = atomic.load<u32>(arena + ARENA_ROOT);
  c.leaf = root ? descend(c, root, forward) : 0;
  return c.leaf;
}

/** Places the cursor on the first key. Returns its leaf, or 0. */
export function memtableFirst(cursor: u32, arena: u32): u32 {
  return placeAtEnd(cursor, arena, true);
}

/** Places the cursor on the last key. Returns its leaf, or 0. */
export function memtableLast(cursor: u32, arena: u32): u32 {
  return placeAtEnd(cursor, arena, false);
}

function move(cursor: u32, forward: bool): u32 {
  const c = changetype<Cursor>(cursor);
  const from = c.leaf;
  if (!from) return 0;
  let leaf = step(c, forward);
  if (!leaf && c.height) {
    leaf = place(c, from + LEAF_KEY, load<u32>(from, LEAF_KEY_LENGTH), true, forward);
  }
  c.leaf = leaf;
  return leaf;
}

/** Steps to the next key. Returns its leaf, or 0 past the last one. */
export function memtableNext(cursor: u32): u32 {
  return move(cursor, true);
}

/** Steps to the key before. Returns its leaf, or 0 past the first one. */
export function memtablePrev(cursor: u32): u32 {
  return move(cursor, false);
}
