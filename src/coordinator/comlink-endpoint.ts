/** A worker, or a MessagePort, as comlink wants it. */

import type { Endpoint } from 'comlink';

/** What Worker, parentPort and MessagePort of node:worker_threads have in common. */
export interface MessageEndpoint {
  postMessage(message: unknown, transferList?: readonly never[]): void;
  on(event: 'message', listener: (message: unknown) => void): unknown;
  off(event: 'message', listener: (message: unknown) => void): unknown;
}

type Listener =
  | ((event: { data: unknown }) => void)
  | { handleEvent(event: { data: unknown }): void };

/**
 * Adapts the endpoint. Listening references it: call its `unref` afterwards if it must not. `posted` is
 * called after each message: it wakes a receiver that blocks its thread.
 */
export function comlinkEndpoint(endpoint: MessageEndpoint, posted?: () => void): Endpoint {
  const listeners = new Map<Listener, (message: unknown) => void>();
  const adapter = {
    postMessage(message: unknown, transferList?: readonly never[]): void {
      endpoint.postMessage(message, transferList);
      posted?.();
    },
    addEventListener(_type: string, listener: Listener): void {
      const forward = (data: unknown): void => {
        if (typeof listener === 'function') listener({ data });
        else listener.handleEvent({ data });
      };
      listeners.set(listener, forward);
      endpoint.on('message', forward);
    },
    removeEventListener(_type: string, listener: Listener): void {
      const forward = listeners.get(listener);
      if (forward === undefined) return;
      listeners.delete(listener);
      endpoint.off('message', forward);
    },
  };
  return adapter as unknown as Endpoint;
}
