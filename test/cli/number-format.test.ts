import { expect, it } from 'vitest';
import {
  formatBytes,
  formatCount,
  formatPlural,
  formatRate,
  formatSeconds,
  formatShare,
} from '../../src/cli/number-format.js';

it.each([
  [formatCount, 1234567, '1,234,567'],
  [formatBytes, 0, '0 B'],
  [formatBytes, 999, '999 B'],
  [formatBytes, 1230, '1.23 kB'],
  [formatBytes, 999_600, '1.00 MB'],
  [formatBytes, 45_600_000, '45.6 MB'],
  [formatBytes, 7.89e15, '7890 TB'],
  [formatRate, 12, '12 /s'],
  [formatRate, 412_345, '412 k/s'],
  [formatRate, 1_320_000, '1.32 M/s'],
  [formatSeconds, 0.0123, '12 ms'],
  [formatSeconds, 3.44, '3.4 s'],
  [formatSeconds, 59.99, '1 min 00 s'],
  [formatSeconds, 125, '2 min 05 s'],
  [formatSeconds, 3725, '1 h 02 min'],
  [formatShare, 0.1234, '12.3 %'],
  [formatShare, 1, '100 %'],
])('%o shows %d as %s', (format, value, text) => {
  expect(format(value)).toBe(text);
});

it('formatPlural knows one from many', () => {
  expect(formatPlural(1, 'entry', 'entries')).toBe('1 entry');
  expect(formatPlural(1000, 'table')).toBe('1,000 tables');
});
