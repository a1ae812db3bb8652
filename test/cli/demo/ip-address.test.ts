import { describe, expect, it } from 'vitest';
import { formatIpAddress, parseIpAddress } from '../../../src/cli/demo/ip-address.js';

describe('IP addresses', () => {
  it.each([
    ['0.0.0.0', 4, '00000000'],
    ['8.8.8.8', 4, '08080808'],
    ['255.255.255.255', 4, 'ffffffff'],
    ['::', 6, '0'.repeat(32)],
    ['::1', 6, `${'0'.repeat(31)}1`],
    ['1::', 6, `0001${'0'.repeat(28)}`],
    ['2001:4860:4860::8888', 6, '20014860486000000000000000008888'],
    ['2001:DB8:0:0:1::FF', 6, '20010db80000000000010000000000ff'],
    ['1:2:3:4:5:6:7:8', 6, '00010002000300040005000600070008'],
    ['1:2:3:4:5:6:7::', 6, '00010002000300040005000600070000'],
    ['::ffff:8.8.8.8', 4, '08080808'],
    ['::ffff:0808:0808', 4, '08080808'],
    ['64:ff9b::192.0.2.33', 6, '0064ff9b0000000000000000c0000221'],
  ] as const)('%s is version %i, %s', (text, version, hex) => {
    expect(parseIpAddress(text)).toEqual({ version, hex });
  });

  it.each([
    ['', 'four numbers'],
    ['8.8.8', 'four numbers'],
    ['8.8.8.8.8', 'four numbers'],
    ['8.8.8.256', '"256" is more than 255'],
    ['8.8.8.-1', '"-1" is not a number'],
    ['8.8.8.', '"" is not a number'],
    ['8.8.8.010', 'leading zero'],
    ['8.8.8.8 ', '"8 " is not a number'],
    ['example.com', 'four numbers'],
    [':', 'not a group'],
    [':::', 'not a group'],
    ['1::2::3', '"::" may stand once'],
    ['1:2:3:4:5:6:7', 'fewer than eight groups'],
    ['1:2:3:4:5:6:7:8:9', 'more than eight groups'],
    ['1:2:3:4::5:6:7:8', 'more than eight groups'],
    ['12345::', '"12345" is not a group'],
    ['g::', '"g" is not a group'],
    ['fe80::1%eth0', 'a zone'],
    ['1.2.3.4::', 'not a group'],
    ['::ffff:8.8.8.300', 'more than 255'],
  ])('refuses "%s"', (text, reason) => {
    expect(() => parseIpAddress(text)).toThrow(`"${text}" is not an IP address: `);
    expect(() => parseIpAddress(text)).toThrow(reason);
  });

  it.each([
    ['8.8.8.8', '8.8.8.8'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['2001:0db8:0:0:1:0:0:0', '2001:db8:0:0:1::'],
    ['1:0:3:4:5:6:7:8', '1:0:3:4:5:6:7:8'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['::ffff:1.2.3.4', '1.2.3.4'],
  ])('%s is written %s', (text, written) => {
    expect(formatIpAddress(parseIpAddress(text))).toBe(written);
  });
});
