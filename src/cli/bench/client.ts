/** Entry of a client thread that the bench command starts. */

import { parentPort, workerData } from 'node:worker_threads';
import { type ClientThreadData, runClientThread } from './client-thread.js';
import { attachLightning } from './lightning-store.js';

if (parentPort === null) throw new Error('This file is the entry of a worker thread');
await runClientThread(workerData as ClientThreadData, parentPort, attachLightning);
