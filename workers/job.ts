import { workerData } from 'piscina';
import type { JobThreadData, PostedJob } from '../src/coordinator/jobs.js';
import { JobThread } from '../src/coordinator/jobs.js';
import { nodeFileSystem } from '../src/file-system/node.js';

const thread = new JobThread(nodeFileSystem, workerData as JobThreadData);

export default (posted: PostedJob) => thread.run(posted);
