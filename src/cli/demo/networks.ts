/**
 * The demonstration's data: which network owns which range of addresses.
 *
 * Key: version, colon, the range's first address in hexadecimal (`4:08080800`). Value: the range's
 * last address in hexadecimal, the network's number, its name, with tabs between them. The network
 * of an address is then the last entry that does not begin after it, if its range reaches that far:
 * one step of a backward scan.
 */

import { createReadStream, existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { type LightningDb, LightningError } from '../../index.js';
import { formatIpAddress, type IpAddress, parseIpAddress } from './ip-address.js';

export const ATTRIBUTION =
  'Source: ip-location-db (asn), from RouteViews (routeviews.org), DB-IP (https://db-ip.com) and NRO ' +
  '(nro.net), CC BY 4.0; a sample, not to be relied on for who owns what today.';

export interface Network {
  readonly first: IpAddress;
  readonly last: IpAddress;
  /** The number of the autonomous system. */
  readonly asn: number;
  readonly organization: string;
}

/** Every range as a key and a value of the database. */
export interface NetworkTable {
  readonly keys: readonly string[];
  readonly values: readonly string[];
}

const FILES = ['asn-ipv4.csv', 'asn-ipv6.csv'] as const;

/** Reads the package's tables. Throws `LIGHTNING_NOT_FOUND` when it is not installed. */
export async function readNetworks(): Promise<NetworkTable> {
  const directory = dataDirectory();
  const keys: string[] = [];
  const values: string[] = [];
  for (const file of FILES) {
    const lines = createInterface({
      input: createReadStream(join(directory, file)),
      crlfDelay: Number.POSITIVE_INFINITY,
    });
    for await (const line of lines) {
      if (line === '') continue;
      const [start = '', end = '', asn = '', organization = ''] = splitLine(line);
      keys.push(keyOf(parseIpAddress(start)));
      values.push(`${parseIpAddress(end).hex}\t${asn}\t${organization}`);
    }
  }
  return { keys, values };
}

/** The network that owns an address, or undefined. */
export function findNetwork(
  db: Pick<LightningDb, 'scanSync'>,
  address: IpAddress,
): Network | undefined {
  const { version, hex } = address;
  const range = { gte: `${version}:`, lte: keyOf(address), reverse: true, limit: 1 };
  for (const [key, value] of db.scanSync(range)) {
    const [last = '', asn = '', organization = ''] = value.split('\t');
    if (last < hex) return undefined;
    return {
      first: { version, hex: key.slice(2) },
      last: { version, hex: last },
      asn: Number(asn),
      organization,
    };
  }
  return undefined;
}

/** `8.8.8.0 – 8.8.8.255` */
export function formatRange({ first, last }: Network): string {
  return `${formatIpAddress(first)} – ${formatIpAddress(last)}`;
}

export function keyOf({ version, hex }: IpAddress): string {
  return `${version}:${hex}`;
}

/** Splits `start,end,number,name`; only the name may be in quotation marks. */
function splitLine(line: string): string[] {
  const [start = '', end = '', asn = ''] = line.split(',', 3);
  const name = line.slice(start.length + end.length + asn.length + 3);
  const quoted = name.startsWith('"') && name.endsWith('"');
  return [start, end, asn, quoted ? name.slice(1, -1).replaceAll('""', '"') : name];
}

function dataDirectory(): string {
  const require = createRequire(import.meta.url);
  try {
    const directory = dirname(require.resolve('@ip-location-db/asn/package.json'));
    if (FILES.every((file) => existsSync(join(directory, file)))) return directory;
  } catch (cause) {
    throw missing(cause);
  }
  throw missing(undefined);
}

function missing(cause: unknown): LightningError {
  return new LightningError(
    'LIGHTNING_NOT_FOUND',
    'Cannot find the tables of "@ip-location-db/asn": run npm install in the repository first',
    { cause },
  );
}
