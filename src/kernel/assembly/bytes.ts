/**
 * Small byte work, inlined: a wasm `memory.copy` leaves the module and costs more than a short key.
 */

/** Copies `n` bytes; the ranges must not overlap. Never touches a byte outside of them. */
export function copyBytes(target: u32, from: u32, n: u32): void {
  if (n >= 16) {
    if (n > 512) {
      memory.copy(target, from, n);
      return;
    }
    let i: u32 = 0;
    for (; i + 16 <= n; i += 16) v128.store(target + i, v128.load(from + i));
    if (i < n) v128.store(target + n - 16, v128.load(from + n - 16));
    return;
  }
  if (n >= 8) {
    store<u64>(target, load<u64>(from));
    store<u64>(target + n - 8, load<u64>(from + n - 8));
    return;
  }
  if (n >= 4) {
    store<u32>(target, load<u32>(from));
    store<u32>(target + n - 4, load<u32>(from + n - 4));
    return;
  }
  for (let i: u32 = 0; i < n; i++) store<u8>(target + i, load<u8>(from + i));
}

/** As `copyBytes`; returns whether no byte has its high bit set. */
export function copyText(target: u32, from: u32, n: u32): bool {
  if (n < 16 || n > 512) {
    copyBytes(target, from, n);
    return isAscii(target, n);
  }
  let all = v128.load(from + n - 16);
  v128.store(target + n - 16, all);
  for (let i: u32 = 0; i + 16 <= n; i += 16) {
    const bytes = v128.load(from + i);
    v128.store(target + i, bytes);
    all = v128.or(all, bytes);
  }
  return !i8x16.bitmask(all);
}

/** Whether two runs of `n` bytes are the same. */
export function equalBytes(a: u32, b: u32, n: u32): bool {
  if (n >= 8) {
    const last = n - 8;
    for (let i: u32 = 0; i < last; i += 8) {
      if (load<u64>(a + i) != load<u64>(b + i)) return false;
    }
    return load<u64>(a + last) == load<u64>(b + last);
  }
  if (n >= 4) {
    return (
      load<u32>(a) == load<u32>(b) && load<u32>(a + n - 4) == load<u32>(b + n - 4)
    );
  }
  for (let i: u32 = 0; i < n; i++) {
    if (load<u8>(a + i) != load<u8>(b + i)) return false;
  }
  return true;
}

/** memcmp, then length: negative, zero, positive. */
export function compareBytes(a: u32, aLength: u32, b: u32, bLength: u32): i32 {
  const n = min(aLength, bLength);
  let i: u32 = 0;
  while (i + 8 <= n) {
    const x = load<u64>(a + i);
    const y = load<u64>(b + i);
    if (x != y) return bswap<u64>(x) < bswap<u64>(y) ? -1 : 1;
    i += 8;
  }
  while (i < n) {
    const d = <i32>load<u8>(a + i) - <i32>load<u8>(b + i);
    if (d) return d;
    i++;
  }
  return <i32>aLength - <i32>bLength;
}

/** Bytes that two keys have in common at their start. */
export function commonPrefix(a: u32, aLength: u32, b: u32, bLength: u32): u32 {
  const n = min(aLength, bLength);
  let i: u32 = 0;
  while (i + 8 <= n) {
    const difference = load<u64>(a + i) ^ load<u64>(b + i);
    if (difference) return i + (<u32>ctz(difference) >> 3);
    i += 8;
  }
  while (i < n && load<u8>(a + i) == load<u8>(b + i)) i++;
  return i;
}

/** The first 8 bytes of a key, zero-padded, as a big-endian number: orders most keys by itself. */
export function headOf(key: u32, length: u32): u64 {
  if (length >= 8) return bswap<u64>(load<u64>(key));
  let head: u64 = 0;
  for (let i: u32 = 0; i < length; i++) head |= <u64>load<u8>(key + i) << (56 - (i << 3));
  return head;
}

/** True when no byte has its high bit set. */
export function isAscii(ptr: u32, length: u32): bool {
  if (length >= 16) {
    for (let i: u32 = 0; i + 16 <= length; i += 16) {
      if (i8x16.bitmask(v128.load(ptr + i))) return false;
    }
    return !i8x16.bitmask(v128.load(ptr + length - 16));
  }
  for (let i: u32 = 0; i < length; i++) if (load<u8>(ptr + i) & 0x80) return false;
  return true;
}

/** Bytes of a number as a varint. */
// @ts-ignore: decorator
@inline
export function varintBytes(value: u64): u32 {
  return ((63 - <u32>clz(value | 1)) * 9363 >> 16) + 1;
}

// @ts-ignore: decorator
@inline
export function putVarint(p: u32, value: u64): u32 {
  while (value >= 0x80) {
    store<u8>(p++, <u8>value | 0x80);
    value >>= 7;
  }
  store<u8>(p, <u8>value);
  return p + 1;
}
