/**
 * IP addresses as fixed-width hexadecimal, in which the order of text is the order of addresses.
 * An IPv4 address in IPv6 clothes (`::ffff:8.8.8.8`) is the IPv4 address.
 */

import { InvalidArgumentError } from '../../index.js';

export interface IpAddress {
  readonly version: 4 | 6;
  /** 8 digits for version 4, 32 for version 6; lower case. */
  readonly hex: string;
}

const MAPPED_PREFIX = `${'0'.repeat(20)}ffff`;

/** Reads an address as people write it. Throws `InvalidArgumentError` saying what is wrong. */
export function parseIpAddress(text: string): IpAddress {
  const address = text.includes(':') ? parseVersion6(text) : parseVersion4(text);
  if (typeof address === 'string') {
    throw new InvalidArgumentError(`"${text}" is not an IP address: ${address}`);
  }
  return address;
}

/** The address as people write it; version 6 with its longest run of zeros left out (RFC 5952). */
export function formatIpAddress({ version, hex }: IpAddress): string {
  const word = version === 4 ? 2 : 4;
  const words = Array.from({ length: hex.length / word }, (_, i) =>
    Number.parseInt(hex.slice(i * word, (i + 1) * word), 16),
  );
  if (version === 4) return words.join('.');
  const [start, length] = longestZeros(words);
  const groups = words.map((group) => group.toString(16));
  if (length < 2) return groups.join(':');
  return `${groups.slice(0, start).join(':')}::${groups.slice(start + length).join(':')}`;
}

/** The address, or what is wrong with the text. */
function parseVersion4(text: string): IpAddress | string {
  const parts = text.split('.');
  if (parts.length !== 4) return 'four numbers with dots between them, or groups with colons';
  let hex = '';
  for (const part of parts) {
    if (!/^\d{1,3}$/.test(part)) return `"${part}" is not a number from 0 to 255`;
    // Some systems read 010 as octal 8: nobody can be sure what was meant.
    if (part.length > 1 && part.startsWith('0')) return `"${part}" has a leading zero`;
    const octet = Number(part);
    if (octet > 255) return `"${part}" is more than 255`;
    hex += octet.toString(16).padStart(2, '0');
  }
  return { version: 4, hex };
}

function parseVersion6(text: string): IpAddress | string {
  if (text.includes('%')) return 'a zone ("%") has a meaning on one machine only';
  const halves = text.split('::');
  if (halves.length > 2) return '"::" may stand once';
  const groups = halves.map(parseGroups);
  const wrong = groups.find((group) => typeof group === 'string');
  if (typeof wrong === 'string') return wrong;
  const [head = '', tail = ''] = groups.map((group) => (group as readonly string[]).join(''));
  const missing = 32 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 4) {
    return `${missing < 4 ? 'more than' : 'fewer than'} eight groups`;
  }
  const hex = head + '0'.repeat(missing) + tail;
  return hex.startsWith(MAPPED_PREFIX)
    ? { version: 4, hex: hex.slice(MAPPED_PREFIX.length) }
    : { version: 6, hex };
}

/** Groups of four digits; a trailing IPv4 address counts as two. */
function parseGroups(text: string, index: number, halves: readonly string[]): string[] | string {
  if (text === '') return halves.length === 2 ? [] : 'it is empty';
  const parts = text.split(':');
  const groups: string[] = [];
  for (const [i, part] of parts.entries()) {
    const last = index === halves.length - 1 && i === parts.length - 1;
    if (last && part.includes('.')) {
      const embedded = parseVersion4(part);
      if (typeof embedded === 'string') return embedded;
      groups.push(embedded.hex.slice(0, 4), embedded.hex.slice(4));
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(part.toLowerCase().padStart(4, '0'));
    } else {
      return `"${part}" is not a group of one to four hexadecimal digits`;
    }
  }
  return groups;
}

function longestZeros(words: readonly number[]): [start: number, length: number] {
  let best: [number, number] = [0, 0];
  let start = 0;
  for (let i = 0; i <= words.length; i++) {
    if (i < words.length && words[i] === 0) continue;
    if (i - start > best[1]) best = [start, i - start];
    start = i + 1;
  }
  return best;
}
