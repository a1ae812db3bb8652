import { parentPort, workerData } from 'node:worker_threads';
import type { CoordinatorInit } from '../src/coordinator/control-plane.js';
import { startCoordinator } from '../src/coordinator/coordinator.js';

if (parentPort === null) throw new Error('This file is the entry of a worker thread');
startCoordinator(workerData as CoordinatorInit, parentPort);
