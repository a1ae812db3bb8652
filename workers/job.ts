import { workerData } from 'node:worker_threads';
import type { JobThreadData, PostedJob } from '../src/coordinator/jobs.js';
import { JobThread } from '../src/coordinator/jobs.js';
import { nodeFileSystem } from '../src/file-system/node.js';
import { lowerThreadPriority } from '../src/file-system/system-thread.js';

/**
 * On few cores, what somebody waits for goes before what nobody does: a commit that wakes a thread would
 * else wait for the end of a time slice. No more than that, lest flushes fall behind on a busy machine.
 */
const NICENESS = 5;

lowerThreadPriority(NICENESS);

const thread = new JobThread(nodeFileSystem, workerData as JobThreadData);

export default (posted: PostedJob) => thread.run(posted);
