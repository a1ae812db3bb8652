/**
 * A process that writes until it is killed. It reports every acknowledged write on its standard
 * output *after* the acknowledgement; the parent keeps the account.
 *
 * Each value names its key and version, so that a torn or misplaced value shows by itself.
 */

import { writeSync } from 'node:fs';
import { LightningDb } from 'lightning-db';

const [path, optionsJson, firstVersion] = process.argv.slice(2);
const options = JSON.parse(optionsJson);
const db = await LightningDb.open(path, options);

/** A full pipe is no reason to stop: the parent reads as fast as it can. */
function report(line) {
  for (;;) {
    try {
      writeSync(1, line);
      return;
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

report('ready\n');

const KEYS = 400;
let version = Number(firstVersion);

const value = (key, v) => `${key}=${v}:${'z'.repeat((v * 7) % 900)}`;

async function single(lane) {
  for (;;) {
    const key = `s-${lane}-${version % KEYS}`;
    const v = version++;
    await db.put(key, value(key, v));
    report(`a ${key} ${v}\n`);
  }
}

/** A batch writes one version to ten keys: all of them or none. */
async function batches(lane) {
  for (;;) {
    const group = `${lane}-${version % 40}`;
    const v = version++;
    const batch = db.batch();
    for (let i = 0; i < 10; i++) {
      const key = `b-${group}-${i}`;
      batch.put(key, value(key, v));
    }
    await batch.write();
    report(`b ${group} ${v}\n`);
  }
}

async function deletes() {
  for (;;) {
    const key = `d-${version % 50}`;
    const v = version++;
    await db.put(key, value(key, v));
    await db.delete(key);
    report(`d ${key} ${v}\n`);
  }
}

async function upkeep() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 60));
    await db.flush();
    await db.compact();
  }
}

await Promise.all([single(0), single(1), single(2), batches(0), deletes(), upkeep()]);
