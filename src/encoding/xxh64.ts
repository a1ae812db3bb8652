/**
 * XXH64 (Yann Collet, xxHash specification 0.1.1) in plain JavaScript, for headers, manifests,
 * decisions and other small things that are read or written without a kernel. Blocks and WAL groups
 * are hashed by the kernel, which is faster still.
 *
 * A 64-bit number is a pair of 32-bit halves, low and high: a BigInt per step costs ten times as
 * much. A function that has such a pair as its result leaves it in `low` and `high`.
 */

const PRIME_1_LOW = 0x85ebca87 | 0;
const PRIME_1_HIGH = 0x9e3779b1 | 0;
const PRIME_2_LOW = 0x27d4eb4f | 0;
const PRIME_2_HIGH = 0xc2b2ae3d | 0;
const PRIME_3_LOW = 0x9e3779f9 | 0;
const PRIME_3_HIGH = 0x165667b1 | 0;
const PRIME_4_LOW = 0xc2b2ae63 | 0;
const PRIME_4_HIGH = 0x85ebca77 | 0;
const PRIME_5_LOW = 0x165667c5 | 0;
const PRIME_5_HIGH = 0x27d4eb2f | 0;
const MASK = 0xffff_ffff_ffff_ffffn;
const PLACEMENT_FACTOR = 0x9e3779b97f4a7c15n;

let low = 0;
let high = 0;

/** The accumulators of the stripes, low and high in turn. */
const lanes = new Int32Array(8);

/** The upper half of the product of two unsigned 32-bit numbers. */
function multiplyHigh(left: number, right: number): number {
  const leftLow = left & 0xffff;
  const leftHigh = left >>> 16;
  const rightLow = right & 0xffff;
  const rightHigh = right >>> 16;
  const middle = leftHigh * rightLow + ((leftLow * rightLow) >>> 16);
  const other = leftLow * rightHigh + (middle & 0xffff);
  return (leftHigh * rightHigh + (middle >>> 16) + (other >>> 16)) | 0;
}

function add(rightLow: number, rightHigh: number): void {
  const sum = (low >>> 0) + (rightLow >>> 0);
  high = (high + rightHigh + (sum > 0xffff_ffff ? 1 : 0)) | 0;
  low = sum | 0;
}

function multiply(rightLow: number, rightHigh: number): void {
  high = (multiplyHigh(low, rightLow) + Math.imul(high, rightLow) + Math.imul(low, rightHigh)) | 0;
  low = Math.imul(low, rightLow);
}

/** Rotates to the left, by 1 to 31 bits. */
function rotate(bits: number): void {
  const before = low;
  low = (low << bits) | (high >>> (32 - bits));
  high = (high << bits) | (before >>> (32 - bits));
}

/** `low` and `high` are the accumulator. */
function round(laneLow: number, laneHigh: number): void {
  const accumulatorLow = low;
  const accumulatorHigh = high;
  low = laneLow;
  high = laneHigh;
  multiply(PRIME_2_LOW, PRIME_2_HIGH);
  add(accumulatorLow, accumulatorHigh);
  rotate(31);
  multiply(PRIME_1_LOW, PRIME_1_HIGH);
}

function load(lane: number): void {
  low = lanes[lane * 2] as number;
  high = lanes[lane * 2 + 1] as number;
}

function store(lane: number): void {
  lanes[lane * 2] = low;
  lanes[lane * 2 + 1] = high;
}

/** Adds lane `lane`, rotated. */
function addLane(lane: number, bits: number): void {
  const sumLow = low;
  const sumHigh = high;
  load(lane);
  rotate(bits);
  add(sumLow, sumHigh);
}

function mergeLane(lane: number): void {
  const hashLow = low;
  const hashHigh = high;
  low = 0;
  high = 0;
  round(lanes[lane * 2] as number, lanes[lane * 2 + 1] as number);
  low ^= hashLow;
  high ^= hashHigh;
  multiply(PRIME_1_LOW, PRIME_1_HIGH);
  add(PRIME_4_LOW, PRIME_4_HIGH);
}

/** Shifts to the right by less than 32 bits, and combines with what was before. */
function shiftXor(bits: number): void {
  low ^= (low >>> bits) | (high << (32 - bits));
  high ^= high >>> bits;
}

/** Four lanes of 8 bytes at a time; returns where they end. */
function stripes(view: DataView, end: number, seedLow: number, seedHigh: number): number {
  const set = (lane: number, plusLow: number, plusHigh: number): void => {
    low = seedLow;
    high = seedHigh;
    add(plusLow, plusHigh);
    store(lane);
  };
  set(1, PRIME_2_LOW, PRIME_2_HIGH);
  add(PRIME_1_LOW, PRIME_1_HIGH);
  store(0);
  set(2, 0, 0);
  // What is taken away is added as its complement.
  set(3, -PRIME_1_LOW | 0, ~PRIME_1_HIGH);
  let at = 0;
  for (; at + 32 <= end; at += 32) {
    for (let lane = 0; lane < 4; lane++) {
      const from = at + lane * 8;
      load(lane);
      round(view.getInt32(from, true), view.getInt32(from + 4, true));
      store(lane);
    }
  }
  load(0);
  rotate(1);
  addLane(1, 7);
  addLane(2, 12);
  addLane(3, 18);
  for (let lane = 0; lane < 4; lane++) mergeLane(lane);
  return at;
}

/** What is left behind the stripes, fewer than 32 bytes. */
function tail(view: DataView, start: number, end: number): void {
  let at = start;
  for (; at + 8 <= end; at += 8) {
    const hashLow = low;
    const hashHigh = high;
    low = 0;
    high = 0;
    round(view.getInt32(at, true), view.getInt32(at + 4, true));
    low ^= hashLow;
    high ^= hashHigh;
    rotate(27);
    multiply(PRIME_1_LOW, PRIME_1_HIGH);
    add(PRIME_4_LOW, PRIME_4_HIGH);
  }
  if (at + 4 <= end) {
    const hashLow = low;
    const hashHigh = high;
    low = view.getInt32(at, true);
    high = 0;
    multiply(PRIME_1_LOW, PRIME_1_HIGH);
    low ^= hashLow;
    high ^= hashHigh;
    rotate(23);
    multiply(PRIME_2_LOW, PRIME_2_HIGH);
    add(PRIME_3_LOW, PRIME_3_HIGH);
    at += 4;
  }
  for (; at < end; at++) {
    const hashLow = low;
    const hashHigh = high;
    low = view.getUint8(at);
    high = 0;
    multiply(PRIME_5_LOW, PRIME_5_HIGH);
    low ^= hashLow;
    high ^= hashHigh;
    rotate(11);
    multiply(PRIME_1_LOW, PRIME_1_HIGH);
  }
}

function hash(view: DataView, length: number, seedLow: number, seedHigh: number): void {
  let at = 0;
  if (length >= 32) {
    at = stripes(view, length, seedLow, seedHigh);
  } else {
    low = seedLow;
    high = seedHigh;
    add(PRIME_5_LOW, PRIME_5_HIGH);
  }
  add(length | 0, 0);
  tail(view, at, length);
  // By 33 bits: from the upper half into the lower.
  low ^= high >>> 1;
  multiply(PRIME_2_LOW, PRIME_2_HIGH);
  shiftXor(29);
  multiply(PRIME_3_LOW, PRIME_3_HIGH);
  low ^= high;
}

/** The hash of `bytes`, as an unsigned 64-bit number. */
export function xxh64(bytes: Uint8Array, seed = 0n): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  hash(view, bytes.length, Number(seed & 0xffff_ffffn) | 0, Number(seed >> 32n) | 0);
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

/** The seed that makes bytes valid only at `offset` of file number `fileId`. */
export function placementSeed(fileId: number, offset: number): bigint {
  return (BigInt(fileId) * PLACEMENT_FACTOR + BigInt(offset)) & MASK;
}
