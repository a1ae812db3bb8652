/** The load that a torture puts on an open database: lanes, upkeep, and readers that look on. */

import { operationOf, storedValue, versionOf } from './operations.mjs';

export const ACCOUNTS = 20;
export const BALANCE = 1000;
const account = (n) => `account-${n}`;

/** Does operation `i` of a lane. */
export async function perform(db, { kind, changes, sync }) {
  const options = sync ? { sync: true } : undefined;
  if (kind === 'put' || kind === 'large') {
    const [[key, version]] = changes;
    return db.put(key, storedValue(key, version, kind === 'large'), options);
  }
  if (kind === 'delete') return db.delete(changes[0][0], options);
  if (kind === 'transaction') {
    return db.transaction(async (tx) => {
      await tx.get(changes[0][0]);
      for (const [key, version] of changes) {
        if (version === null) tx.delete(key);
        else tx.put(key, storedValue(key, version));
      }
    });
  }
  const batch = db.batch();
  for (const [key, version] of changes) {
    if (version === null) batch.delete(key);
    else batch.put(key, storedValue(key, version));
  }
  return batch.write(options);
}

/** Versions of all of a lane's keys. */
export async function readLane(db, state) {
  const keys = state.keys();
  const values = await db.getMany(keys);
  return new Map(keys.map((key, n) => [key, versionOf(key, values[n])]));
}

/**
 * Compares every lane with what is in the database, and the number of keys. Throws what differs.
 * Brings the states up to date; returns how many operations that were under way had been applied.
 */
export async function verify(db, states, { seed, isAtomic }) {
  let applied = 0;
  for (const state of states) {
    const found = await readLane(db, state);
    const operation = operationOf(seed, state.lane, state.next);
    const outcome = state.compare(found, operation, isAtomic);
    if (outcome === 'applied') applied++;
    state.take(found);
  }
  let scanned = 0;
  for await (const [key, value] of db.scan({ prefix: 'lane-' })) {
    versionOf(key, value);
    scanned++;
  }
  let present = 0;
  for (const state of states) {
    for (const version of (await readLane(db, state)).values()) if (version !== null) present++;
  }
  if (scanned !== present) throw new Error(`A scan finds ${scanned} keys, reads find ${present}`);
  await checkBank(db);
  return applied;
}

// ---- money that must not get lost -------------------------------------------------------

export async function openBank(db) {
  if ((await db.get(account(0))) !== undefined) return;
  const batch = db.batch();
  for (let n = 0; n < ACCOUNTS; n++) batch.put(account(n), String(BALANCE));
  await batch.write();
}

export async function transfer(db, next) {
  const from = account(Math.floor(next() * ACCOUNTS));
  const to = account(Math.floor(next() * ACCOUNTS));
  if (from === to) return;
  const amount = Math.floor(next() * 50);
  await db.transaction(async (tx) => {
    const [left, right] = [Number(await tx.get(from)), Number(await tx.get(to))];
    tx.put(from, String(left - amount));
    tx.put(to, String(right + amount));
  });
}

export async function checkBank(db) {
  let total = 0;
  let accounts = 0;
  for await (const [, value] of db.scan({ prefix: 'account-' })) {
    total += Number(value);
    accounts++;
  }
  const isRight = accounts === 0 || (accounts === ACCOUNTS && total === ACCOUNTS * BALANCE);
  if (!isRight) throw new Error(`${accounts} accounts hold ${total}, not ${ACCOUNTS * BALANCE}`);
}
