/** How a worker dies: by an error, by `process.exit`, or out of heap. */
export type Death = 'throw' | 'exit' | 'heap';

export class EngineWorkers {
  readonly directory: string;
  readonly isJobToDie: boolean;
  has(name: string): boolean;
  kill(name: string, how: Death | 'terminate'): Promise<void>;
  killNextJob(how: 'before' | 'after' | 'throw' | 'heap'): void;
  killJobs(how: 'before' | 'heap' | undefined): void;
  close(): void;
}
