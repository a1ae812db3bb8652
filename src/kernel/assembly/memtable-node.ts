/**
 * Inner nodes of the memtable's radix tree (Leis et al., "The Adaptive Radix Tree", ICDE 2013).
 *
 *   0   u8      type: NODE_4, NODE_16, NODE_48, NODE_256
 *   2   u16     children; in NODE_4 and NODE_16 atomic, since it publishes them; unused in NODE_256
 *   4   u16     branch: the position in the key at which the children differ
 *   6   u16     start: the position of the first stored prefix byte
 *   8   u32     atomic: leaf of the key that ends at `branch`, or 0
 *   12  u8[12]  the bytes that all keys below share from `start` on, up to `branch`
 *   24  NODE_4    u8[4] bytes, u32[4] children
 *       NODE_16   u8[16] bytes, u32[16] children
 *       NODE_48   u8[256] child number + 1 of each byte or 0, u32[48] children
 *       NODE_256  u32[256] children
 *
 * `branch` and `start` are positions in the whole key, not lengths. So a node means the same
 * wherever it hangs: splitting the path above it leaves it as it is. No key is longer than 64 KiB,
 * so no two keys part later than at position 65535.
 *
 * Invariants, on which readers in other threads rely:
 * 1. Type, branch, start and prefix never change once the node is linked.
 * 2. NODE_4, NODE_16: byte and child i are written before a count above i is published.
 *    NODE_48: the child is written before its number. NODE_256: the child is published itself.
 * 3. Child words and the end leaf change by atomic stores only, and only to something that holds
 *    all the keys of what was there.
 * 4. A full node is copied to a larger one, which is published in the word that held it. The old
 *    one is not written any more: readers inside see the tree as it was, complete up to then.
 * 5. So a writer that stops anywhere leaves a tree in which the key is or is not: insertions can go on
 *    in it, and the one that was cut short can be repeated. What it had taken of the arena is lost.
 */

import { ARENA_END, LEAF_KEY, LEAF_TAG, VERSION_VALUE } from './layout';

export const NODE_TYPE: u32 = 0;
export const NODE_COUNT: u32 = 2;
export const NODE_BRANCH: u32 = 4;
export const NODE_START: u32 = 6;
export const NODE_END: u32 = 8;
export const NODE_PREFIX: u32 = 12;
export const NODE_PREFIX_BYTES: u32 = 12;
const NODE_BODY: u32 = 24;

const NODE_4: u32 = 0;
const NODE_16: u32 = 1;
const NODE_48: u32 = 2;
const NODE_256: u32 = 3;

const NODE_4_CHILDREN: u32 = NODE_BODY + 4;
const NODE_16_CHILDREN: u32 = NODE_BODY + 16;
const NODE_48_CHILDREN: u32 = NODE_BODY + 256;

const NODE_4_BYTES: u32 = 64;
const NODE_16_BYTES: u32 = 128;
const NODE_48_BYTES: u32 = 512;
const NODE_256_BYTES: u32 = 1088;

/** Most bytes that one insertion takes for nodes: it either makes a NODE_4 or grows one node. */
export const NODE_GROWTH_BYTES_MAX: u32 = NODE_256_BYTES;

/**
 * What a put takes of the arena at most, beside the bytes of key and value: heads and padding of leaf
 * and version, and nodes.
 */
export const PUT_BYTES_MAX: u32 = LEAF_KEY + 7 + VERSION_VALUE + 7 + NODE_GROWTH_BYTES_MAX;

/** Positions of a node in key order: the end leaf, then byte + 1. */
export const POSITION_END: i32 = 0;
export const POSITION_PAST: i32 = 257;
export const POSITION_NONE: i32 = -1;

/** Takes a node from the end of the arena's free room; the caller checked that it is there. */
// @ts-ignore: decorator
@inline
function allocateNode(arena: u32, bytes: u32): u32 {
  const address = load<u32>(arena, ARENA_END) - bytes;
  store<u32>(arena, address, ARENA_END);
  return address;
}

/** How many leading bytes of a and b are equal, up to `length`. */
// @ts-ignore: decorator
@inline
export function commonBytes(a: u32, b: u32, length: u32): u32 {
  let i: u32 = 0;
  while (i + 8 <= length) {
    const difference = load<u64>(a + i) ^ load<u64>(b + i);
    if (difference) return i + (<u32>ctz(difference) >> 3);
    i += 8;
  }
  while (i < length && load<u8>(a + i) == load<u8>(b + i)) i++;
  return i;
}

/** A NODE_4 without children whose keys share the bytes [start, branch) of `key`. */
export function newNode(arena: u32, key: u32, start: u32, branch: u32): u32 {
  const node = allocateNode(arena, NODE_4_BYTES);
  store<u32>(node, NODE_4);
  store<u16>(node, <u16>branch, NODE_BRANCH);
  store<u16>(node, <u16>start, NODE_START);
  store<u32>(node, 0, NODE_END);
  const stored = min<u32>(branch - start, NODE_PREFIX_BYTES);
  for (let i: u32 = 0; i < stored; i++) {
    store<u8>(node + i, load<u8>(key + start + i), NODE_PREFIX);
  }
  return node;
}

/** Address of the word that holds the child for `byte`, or 0. */
// @ts-ignore: decorator
@inline
export function findChild(node: u32, byte: u32): u32 {
  const type = <u32>load<u8>(node, NODE_TYPE);
  if (type == NODE_256) {
    const slot = node + NODE_BODY + (byte << 2);
    return atomic.load<u32>(slot) ? slot : 0;
  }
  if (type == NODE_48) {
    const number = <u32>atomic.load<u8>(node + byte, NODE_BODY);
    return number ? node + NODE_48_CHILDREN - 4 + (number << 2) : 0;
  }
  const count = <u32>atomic.load<u16>(node, NODE_COUNT);
  if (type == NODE_16) {
    const equal = i8x16.bitmask(i8x16.eq(v128.load(node, NODE_BODY), i8x16.splat(<i8>byte)));
    const found = equal & ((1 << count) - 1);
    return found ? node + NODE_16_CHILDREN + (<u32>ctz(found) << 2) : 0;
  }
  // The lowest zero byte of x is marked exactly; what lies above the count is masked off.
  const x = load<u32>(node, NODE_BODY) ^ (byte * 0x01010101);
  const zeros = (x - 0x01010101) & ~x & 0x80808080;
  const found = <u32>(<u64>zeros & ((<u64>1 << (count << 3)) - 1));
  return found ? node + NODE_4_CHILDREN + ((<u32>ctz(found) >> 3) << 2) : 0;
}

/** Links `child` under `byte`, which has no child yet; a full node is replaced in `slot`. */
export function addChild(arena: u32, slot: u32, node: u32, byte: u32, child: u32): void {
  const type = <u32>load<u8>(node, NODE_TYPE);
  const count = <u32>load<u16>(node, NODE_COUNT);
  if (type == NODE_256) {
    atomic.store<u32>(node + NODE_BODY + (byte << 2), child);
    return;
  }
  const full: u32 = type == NODE_48 ? 48 : type == NODE_16 ? 16 : 4;
  if (count == full) {
    grow(arena, slot, node, byte, child);
    return;
  }
  if (type == NODE_48) {
    store<u32>(node + (count << 2), child, NODE_48_CHILDREN);
    // The place is taken before it is shown: a writer that dies in between leaves it unused.
    store<u16>(node, <u16>(count + 1), NODE_COUNT);
    atomic.store<u8>(node + byte, <u8>(count + 1), NODE_BODY);
  } else {
    store<u8>(node + count, <u8>byte, NODE_BODY);
    store<u32>(node + full + (count << 2), child, NODE_BODY);
    atomic.store<u16>(node, <u16>(count + 1), NODE_COUNT);
  }
}

/** Publishes a copy of a full node, one type larger and with one more child, in `slot`. */
function grow(arena: u32, slot: u32, node: u32, byte: u32, child: u32): void {
  const type = <u32>load<u8>(node, NODE_TYPE);
  let larger: u32;
  if (type == NODE_4) {
    larger = allocateNode(arena, NODE_16_BYTES);
    store<u32>(larger, load<u32>(node, NODE_BODY), NODE_BODY);
    memory.copy(larger + NODE_16_CHILDREN, node + NODE_4_CHILDREN, 4 << 2);
  } else if (type == NODE_16) {
    larger = allocateNode(arena, NODE_48_BYTES);
    memory.fill(larger + NODE_BODY, 0, 256);
    for (let i: u32 = 0; i < 16; i++) {
      store<u8>(larger + <u32>load<u8>(node + i, NODE_BODY), <u8>(i + 1), NODE_BODY);
    }
    memory.copy(larger + NODE_48_CHILDREN, node + NODE_16_CHILDREN, 16 << 2);
  } else {
    larger = allocateNode(arena, NODE_256_BYTES);
    for (let i: u32 = 0; i < 256; i++) {
      const number = <u32>load<u8>(node + i, NODE_BODY);
      const moved = number ? load<u32>(node + NODE_48_CHILDREN - 4 + (number << 2)) : 0;
      store<u32>(larger + (i << 2), moved, NODE_BODY);
    }
  }
  memory.copy(larger, node, NODE_BODY);
  store<u8>(larger, <u8>(type + 1), NODE_TYPE);
  addChild(arena, slot, larger, byte, child);
  atomic.store<u32>(slot, larger);
}

/** Some leaf below the node: its key has the bytes that all keys below share. */
export function anyLeaf(node: u32): u32 {
  let pointer = node;
  while (!(pointer & LEAF_TAG)) {
    const end = atomic.load<u32>(pointer, NODE_END);
    if (end) return end ^ LEAF_TAG;
    const type = <u32>load<u8>(pointer, NODE_TYPE);
    if (type == NODE_4) {
      pointer = atomic.load<u32>(pointer, NODE_4_CHILDREN);
    } else if (type == NODE_16) {
      pointer = atomic.load<u32>(pointer, NODE_16_CHILDREN);
    } else if (type == NODE_48) {
      pointer = atomic.load<u32>(pointer, NODE_48_CHILDREN);
    } else {
      nodeAfter(pointer, POSITION_END);
      pointer = atomic.load<u32>(neighbourSlot);
    }
  }
  return pointer ^ LEAF_TAG;
}

/** A byte of the path above the node, `position` being one all its keys share. */
export function sharedByte(node: u32, position: u32): u32 {
  const start = <u32>load<u16>(node, NODE_START);
  if (position >= start && position - start < NODE_PREFIX_BYTES) {
    return <u32>load<u8>(node + (position - start), NODE_PREFIX);
  }
  return <u32>load<u8>(anyLeaf(node) + LEAF_KEY + position);
}

/** Set by `nodeAfter` and `nodeBefore`: address of the word at the position they return. */
export let neighbourSlot: u32 = 0;

/** The smallest position above `position` that holds something, or POSITION_NONE. */
export function nodeAfter(node: u32, position: i32): i32 {
  const type = <u32>load<u8>(node, NODE_TYPE);
  // A position is byte + 1: bytes from `position` on lie above it.
  if (type == NODE_256) {
    for (let byte = position; byte < 256; byte++) {
      const slot = node + NODE_BODY + (<u32>byte << 2);
      if (atomic.load<u32>(slot)) {
        neighbourSlot = slot;
        return byte + 1;
      }
    }
    return POSITION_NONE;
  }
  if (type == NODE_48) {
    for (let byte = position; byte < 256; ) {
      if (!(byte & 15) && !v128.any_true(v128.load(node + <u32>byte, NODE_BODY))) {
        byte += 16;
        continue;
      }
      const number = <u32>atomic.load<u8>(node + <u32>byte, NODE_BODY);
      if (number) {
        neighbourSlot = node + NODE_48_CHILDREN - 4 + (number << 2);
        return byte + 1;
      }
      byte++;
    }
    return POSITION_NONE;
  }
  const count = <u32>atomic.load<u16>(node, NODE_COUNT);
  if (type == NODE_16) {
    const bytes = v128.load(node, NODE_BODY);
    let among = lanes(count);
    if (position > 0) {
      if (position > 255) return POSITION_NONE;
      among = v128.and(among, i8x16.ge_u(bytes, i8x16.splat(<i8>position)));
    }
    if (!v128.any_true(among)) return POSITION_NONE;
    return take16(node, bytes, among, <i32>smallestByte(v128.or(bytes, v128.not(among))));
  }
  let best: i32 = 256;
  let at: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const byte = <i32>load<u8>(node + i, NODE_BODY);
    if (byte >= position && byte < best) {
      best = byte;
      at = i;
    }
  }
  if (best == 256) return POSITION_NONE;
  neighbourSlot = node + NODE_4_CHILDREN + (at << 2);
  return best + 1;
}

/** The largest position below `position` that holds something, or POSITION_NONE. */
export function nodeBefore(node: u32, position: i32): i32 {
  const byte = byteBefore(node, position);
  if (byte >= 0) return byte + 1;
  if (position > POSITION_END && atomic.load<u32>(node, NODE_END)) {
    neighbourSlot = node + NODE_END;
    return POSITION_END;
  }
  return POSITION_NONE;
}

/** The largest byte with a child below `position` (a byte + 1), or -1. */
function byteBefore(node: u32, position: i32): i32 {
  const type = <u32>load<u8>(node, NODE_TYPE);
  const from = position - 2;
  if (from < 0) return -1;
  if (type == NODE_256) {
    for (let byte = from; byte >= 0; byte--) {
      const slot = node + NODE_BODY + (<u32>byte << 2);
      if (atomic.load<u32>(slot)) {
        neighbourSlot = slot;
        return byte;
      }
    }
    return -1;
  }
  if (type == NODE_48) {
    for (let byte = from; byte >= 0; ) {
      if ((byte & 15) == 15 && !v128.any_true(v128.load(node + <u32>byte - 15, NODE_BODY))) {
        byte -= 16;
        continue;
      }
      const number = <u32>atomic.load<u8>(node + <u32>byte, NODE_BODY);
      if (number) {
        neighbourSlot = node + NODE_48_CHILDREN - 4 + (number << 2);
        return byte;
      }
      byte--;
    }
    return -1;
  }
  const count = <u32>atomic.load<u16>(node, NODE_COUNT);
  if (type == NODE_16) {
    const bytes = v128.load(node, NODE_BODY);
    const among = v128.and(
      lanes(count),
      i8x16.le_u(bytes, i8x16.splat(<i8>from)),
    );
    if (!v128.any_true(among)) return -1;
    const largest = 255 - <i32>smallestByte(v128.not(v128.and(bytes, among)));
    return take16(node, bytes, among, largest) - 1;
  }
  let best: i32 = -1;
  let at: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const byte = <i32>load<u8>(node + i, NODE_BODY);
    if (byte <= from && byte > best) {
      best = byte;
      at = i;
    }
  }
  if (best < 0) return -1;
  neighbourSlot = node + NODE_4_CHILDREN + (at << 2);
  return best;
}

/** All ones in the lanes that hold a byte of a NODE_16 with `count` children. */
// @ts-ignore: decorator
@inline
function lanes(count: u32): v128 {
  return i8x16.lt_u(
    i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    i8x16.splat(<i8>count),
  );
}

/** Notes the word of `byte`, one of those `among` the node's. Returns its position. */
// @ts-ignore: decorator
@inline
function take16(node: u32, bytes: v128, among: v128, byte: i32): i32 {
  const found = i8x16.bitmask(v128.and(among, i8x16.eq(bytes, i8x16.splat(<i8>byte))));
  neighbourSlot = node + NODE_16_CHILDREN + (<u32>ctz(found) << 2);
  return byte + 1;
}

/** The smallest of 16 unsigned bytes: of pairs at a distance of 8, 4, 2 and 1. */
// @ts-ignore: decorator
@inline
function smallestByte(x: v128): u32 {
  x = i8x16.min_u(x, i64x2.shuffle(x, x, 1, 0));
  x = i8x16.min_u(x, i32x4.shuffle(x, x, 1, 0, 3, 2));
  x = i8x16.min_u(x, i16x8.shuffle(x, x, 1, 0, 3, 2, 5, 4, 7, 6));
  return <u32>i8x16.extract_lane_u(i8x16.min_u(x, i16x8.shr_u(x, 8)), 0);
}
