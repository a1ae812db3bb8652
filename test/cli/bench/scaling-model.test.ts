import { describe, expect, it } from 'vitest';
import {
  coresUntilBound,
  DEVICE_BYTES_PER_SECOND,
  type Demand,
  demandOf,
  measuredContention,
  predict,
} from '../../../src/cli/bench/scaling-model.js';
import { measurement, store } from './result-fixture.js';

const READ: Demand = {
  client: 1000,
  shard: 0,
  coordinator: 0,
  background: 0,
  runtime: 0,
  deviceBytes: 0,
};
const WRITE: Demand = { ...READ, client: 500, shard: 1000, background: 500 };

describe('the model of scaling', () => {
  it('takes the CPU time of an operation by kind of thread', () => {
    const demand = demandOf(
      measurement('fillrandom batch 1000', 1000, {
        threads: { client: 1e-3, shard: 2e-3 },
        figures: { writeAmplification: 2 },
        io: { deviceRead: 0, deviceWritten: 500_000, callRead: 0, callWritten: 0 },
      }),
    );
    expect(demand).toMatchObject({ client: 1000, shard: 2000, background: 0, deviceBytes: 500 });
  });

  it('lets reads grow with the cores until there are no more client threads', () => {
    expect(predict(READ, 8)).toMatchObject({
      perSecond: 8e6,
      bound: 'cores',
      clients: 8,
      shards: 0,
    });
    expect(predict(READ, 64)).toMatchObject({ perSecond: 63e6, bound: 'clients', clients: 63 });
    expect(coresUntilBound(READ, 0)).toMatchObject({ cores: 64, bound: 'clients' });
  });

  it('divides cores among threads as an operation needs them', () => {
    expect(predict(WRITE, 16)).toMatchObject({ perSecond: 8e6, clients: 4, shards: 8 });
  });

  it('finds the bound of the one coordinator, and of the device', () => {
    expect(predict({ ...WRITE, coordinator: 1000 }, 64)).toMatchObject({
      perSecond: 1e6,
      bound: 'coordinator',
    });
    expect(predict({ ...WRITE, deviceBytes: 1000 }, 64)).toMatchObject({
      perSecond: DEVICE_BYTES_PER_SECOND / 1000,
      bound: 'device',
    });
  });

  it('slows down by contention', () => {
    expect(predict(READ, 11, 0.1).perSecond).toBeCloseTo(5.5e6, 0);
  });

  it('measures contention from one client thread to two', () => {
    const rows = (two: number) =>
      store('own', [
        measurement('readrandom sync 1 thread', 100, { threads: { client: 1 } }),
        measurement('readrandom sync 2 threads', 100, { threads: { client: two } }),
      ]);
    expect(measuredContention(rows(1.25))).toBeCloseTo(0.25, 9);
    expect(measuredContention(rows(0.9))).toBe(0);
    expect(measuredContention(store('own', []))).toBeUndefined();
  });
});
