/**
 * A long run of everything at once: lanes of writes, transactions between accounts, scans of
 * snapshots, compactions, threads that come and go. Memory, files and open descriptors must be flat
 * once warm, and all totals right at the end.
 */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { LightningDb } from 'lightning-db';
import { checkBank, openBank, perform, transfer, verify } from './load.mjs';
import { LANES, LaneState, operationOf, random, versionOf } from './operations.mjs';

const SAMPLES = 40;
/** Of the run, before what is measured counts. */
const WARM_SHARE = 0.3;
const MEMORY_GROWTH_MAX = 1.2;
const MEMORY_SLACK_BYTES = 64 << 20;
const FILES_GROWTH_MAX = 1.5;
const FILES_SLACK = 24;
const DESCRIPTORS_SLACK = 12;
/** Longer than anything takes that is still under way at the end. */
const HANG_MS = 60_000;
/** Data that is written once and stays: something to scan and to merge into. */
const STANDING = 40_000;

export async function runSoak({ minutes, seed, log, hasBank }) {
  const path = mkdtempSync(join(tmpdir(), 'lightning-db-soak-'));
  const options = { shards: 2, memtableSize: 4 << 20, cacheSize: 32 << 20 };
  let db = await LightningDb.open(path, options);
  const next = random(seed);
  const end = { atMs: performance.now() + minutes * 60_000 };
  const isOver = () => performance.now() >= end.atMs;
  const counts = { operations: 0, transfers: 0, conflicts: 0, scans: 0, threads: 0 };
  const states = Array.from({ length: LANES }, (_, lane) => new LaneState(lane));
  await fill(db);
  if (hasBank) await openBank(db);

  const lane = async (state) => {
    while (!isOver()) {
      const operation = operationOf(seed, state.lane, state.next);
      await perform(db, operation);
      state.apply(operation);
      state.next++;
      counts.operations++;
      if (counts.operations % 50 === 0) await pause(1);
    }
  };
  const bank = async () => {
    while (hasBank && !isOver()) {
      try {
        await transfer(db, next);
        counts.transfers++;
      } catch (error) {
        if (error.code !== 'LIGHTNING_CONFLICT') throw error;
        counts.conflicts++;
      }
      await pause(1);
    }
  };
  const scans = async () => {
    while (!isOver()) {
      const snapshot = db.snapshot();
      try {
        let standing = 0;
        for await (const entries of snapshot
          .scan({ prefix: 'standing-', values: false })
          .batches()) {
          standing += entries.length;
        }
        if (standing !== STANDING)
          throw new Error(`A snapshot has ${standing} of ${STANDING} keys`);
        for await (const [key, value] of snapshot.scan({ prefix: 'lane-', limit: 100 }))
          versionOf(key, value);
        counts.scans++;
      } finally {
        snapshot.close();
      }
      if (hasBank) await checkBank(db);
      await pause(50 + next() * 200);
    }
  };
  const upkeep = async () => {
    while (!isOver()) {
      await pause(200 + next() * 800);
      if (next() < 0.8) await db.flush();
      else await db.compact();
    }
  };
  const threads = async () => {
    while (!isOver()) {
      const worker = new Worker(new URL('./attached-reader.mjs', import.meta.url), {
        workerData: { handle: db.share(), name: 'soak' },
      });
      const gone = new Promise((resolve, reject) =>
        worker.once('exit', resolve).once('error', reject),
      );
      await Promise.race([new Promise((resolve) => worker.once('message', resolve)), gone]);
      await pause(500);
      // Some leave, some are ended in the middle of something.
      if (next() < 0.5) worker.postMessage({ what: 'leave' });
      else worker.terminate();
      await gone;
      counts.threads++;
      await pause(500);
    }
  };
  const samples = [];
  const watch = async () => {
    const everyMs = (minutes * 60_000) / SAMPLES;
    while (!isOver()) {
      await pause(Math.min(everyMs, Math.max(0, end.atMs - performance.now())));
      globalThis.gc?.();
      samples.push(sample(path));
      if (samples.length % 8 === 0) log(line(samples.at(-1), counts));
    }
  };
  try {
    const work = [bank(), bank(), scans(), upkeep(), threads(), watch()];
    const names = ['bank', 'bank', 'scans', 'upkeep', 'threads', 'watch'];
    await allEnd(
      [...states.map(lane), ...work],
      [...states.map((_, i) => `lane ${i}`), ...names],
      end,
    );
    await verifyAll(db, states, seed);
    const { problems } = await db.check();
    if (problems.length > 0) throw new Error(`check: ${JSON.stringify(problems)}`);
    await db.close();
    db = await LightningDb.open(path, options);
    await verifyAll(db, states, seed);
    await db.close();
    expectFlat(samples);
    log(`flat: ${line(samples.at(-1), counts)}`);
    rmSync(path, { recursive: true });
  } catch (error) {
    error.message += `; files are in ${path}`;
    end.atMs = 0;
    throw error;
  }
}

/** Everything ends soon after the time is up, or hangs: then the error says what. */
async function allEnd(work, names, end) {
  const running = new Set(names.keys());
  let timer;
  const hang = new Promise((_, reject) => {
    const hangMs = end.atMs - performance.now() + HANG_MS;
    timer = setTimeout(() => {
      reject(new Error(`It hangs: ${[...running].map((i) => names[i]).join(', ')}`));
    }, hangMs);
  });
  const ended = work.map((part, i) => part.then(() => running.delete(i)));
  await Promise.race([Promise.all(ended), hang]);
  clearTimeout(timer);
}

async function fill(db) {
  for (let from = 0; from < STANDING; from += 1000) {
    const batch = db.batch();
    for (let i = from; i < from + 1000; i++) {
      batch.put(`standing-${String(i).padStart(6, '0')}`, `${i}`.repeat(20));
    }
    await batch.write();
  }
}

async function verifyAll(db, states, seed) {
  const copies = states.map((state) => LaneState.parse(JSON.parse(JSON.stringify(state))));
  await verify(db, copies, { seed, isAtomic: true });
}

function sample(path) {
  return {
    rssBytes: process.memoryUsage.rss(),
    files: readdirSync(path, { recursive: true }).length,
    descriptors: process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0,
  };
}

function line({ rssBytes, files, descriptors }, { operations, transfers, scans, threads }) {
  return (
    `${operations} operations, ${transfers} transfers, ${scans} scans, ${threads} threads; ` +
    `${Math.round(rssBytes / 2 ** 20)} MiB, ${files} files, ${descriptors} descriptors`
  );
}

/** Compares the time after the warm-up with the end, by medians. */
function expectFlat(samples) {
  const warm = samples.slice(Math.floor(samples.length * WARM_SHARE));
  const third = Math.max(1, Math.floor(warm.length / 3));
  const [early, late] = [warm.slice(0, third), warm.slice(-third)];
  const of = (list, field) =>
    list.map((item) => item[field]).sort((a, b) => a - b)[list.length >> 1];
  const expect = (field, max) => {
    const [before, after] = [of(early, field), of(late, field)];
    if (after > max(before)) throw new Error(`${field} grew from ${before} to ${after}`);
  };
  expect('rssBytes', (before) => before * MEMORY_GROWTH_MAX + MEMORY_SLACK_BYTES);
  expect('files', (before) => before * FILES_GROWTH_MAX + FILES_SLACK);
  expect('descriptors', (before) => before + DESCRIPTORS_SLACK);
}

async function pause(milliseconds) {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}
