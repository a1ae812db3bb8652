import { LightningDb } from 'lightning-db';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseIpAddress } from '../../../src/cli/demo/ip-address.js';
import { findNetwork, formatRange, keyOf } from '../../../src/cli/demo/networks.js';
import { temporaryDirectory } from '../../api/temporary-directory.js';

const RANGES = [
  ['8.8.8.0', '8.8.8.255', 15169, 'Google LLC'],
  ['8.8.10.0', '8.8.10.255', 1, 'Next, but one'],
  ['2001:4860::', '2001:4860:ffff:ffff:ffff:ffff:ffff:ffff', 15169, 'Google LLC'],
] as const;

describe('the network of an address', () => {
  const directory = temporaryDirectory();
  let db: LightningDb;

  beforeAll(async () => {
    db = await LightningDb.open(directory.path, { shards: 3, cacheSize: 16 << 20 });
    const batch = db.batch();
    for (const [first, last, asn, organization] of RANGES) {
      const value = `${parseIpAddress(last).hex}\t${asn}\t${organization}`;
      batch.put(keyOf(parseIpAddress(first)), value);
    }
    await batch.write();
  });

  afterAll(async () => {
    await db.close();
    directory.remove();
  });

  it.each([
    ['8.8.8.0', 'Google LLC', '8.8.8.0 – 8.8.8.255'],
    ['8.8.8.255', 'Google LLC', '8.8.8.0 – 8.8.8.255'],
    ['::ffff:8.8.10.7', 'Next, but one', '8.8.10.0 – 8.8.10.255'],
    ['2001:4860:4860::8888', 'Google LLC', '2001:4860:: – 2001:4860:ffff:ffff:ffff:ffff:ffff:ffff'],
  ])('%s is %s', (text, organization, range) => {
    const network = findNetwork(db, parseIpAddress(text));
    expect(network).toMatchObject({ organization });
    expect(network === undefined ? '' : formatRange(network)).toBe(range);
  });

  it.each(['8.8.7.255', '8.8.9.0', '8.8.11.0', '255.255.255.255', '::', '2001:4861::'])(
    'of %s is none',
    (text) => {
      expect(findNetwork(db, parseIpAddress(text))).toBeUndefined();
    },
  );
});
