/** What the published types say. Compiled against the packed package, strictly; never run. */
import { type Batch, type Encoding, json, LightningDb } from 'lightning-db';

interface User {
  readonly name: string;
}

export async function byDefaultEverythingIsText(): Promise<void> {
  await using db = await LightningDb.open('path');
  const value: string | undefined = await db.get('key');
  const values: (string | undefined)[] = await db.getMany(['a', 'b']);
  const batch: Batch = db
    .batch()
    .put('key', value ?? '')
    .delete('other');
  await db.writeBatch(batch, { sync: true });
  for await (const [key, text] of db.scan({ gte: 'a', limit: values.length })) key.concat(text);
  for (const key of db.scanSync({ values: false })) key.concat('');
  // @ts-expect-error An unknown option.
  await LightningDb.open('path', { shard: 1 });
}

export async function encodingsDecideTheTypes(): Promise<void> {
  const users = await LightningDb.open('path', {
    keyEncoding: 'buffer',
    valueEncoding: json<User>(),
  });
  await users.put(new Uint8Array(1), { name: 'Ada' });
  const user: User | undefined = users.getSync(Buffer.from('key'));
  user?.name.concat('');
  // @ts-expect-error Keys are bytes here.
  await users.put('key', { name: 'Ada' });

  const numbers: Encoding<number> = {
    encode: (value) => Buffer.of(value),
    decode: (bytes) => bytes[0] ?? 0,
  };
  const counters = await LightningDb.open('path', { valueEncoding: numbers });
  const count: number | undefined = await counters.get('key');
  count?.toFixed();
}
