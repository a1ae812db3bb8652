/** Where a client waits: `doorbell` counts rings, `waiting` is 1 while a notify is wanted. */
export interface ClientDoorbell {
  readonly words: Int32Array;
  readonly doorbell: number;
  readonly waiting: number;
}
