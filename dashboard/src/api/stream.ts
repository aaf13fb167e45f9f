// The server's stream of events. The browser reconnects by itself and says where it was (Last-Event-ID); only where a
// server refuses the connection does it give up, and then we take over with the same place in the query.

import { apiPath } from "./client";
import type { StreamEvents, StreamKind } from "./types";

const KINDS: readonly StreamKind[] = [
  "prediction",
  "proof",
  "failure",
  "attestation",
  "transaction",
  "round",
  "outcome",
];
const TRY_AGAIN_MS = 5_000;

export interface StreamListener {
  heard<K extends StreamKind>(kind: K, event: StreamEvents[K]): void;
  /** The place that we were at is no longer kept: what is shown must be read anew. */
  reset(): void;
  connected(yes: boolean): void;
}

export function follow(feed: string, listener: StreamListener): void {
  let place = "";
  let current: EventSource | undefined;

  const remember = (message: MessageEvent<string>): void => {
    if (message.lastEventId) place = message.lastEventId;
  };

  const open = (): void => {
    const source = new EventSource(apiPath(["stream"], { feed, last_event_id: place || null }));
    current = source;
    source.addEventListener("open", () => listener.connected(true));
    source.addEventListener("error", () => {
      listener.connected(false);
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(() => {
        if (current === source) open();
      }, TRY_AGAIN_MS);
    });
    source.addEventListener("reset", (message) => {
      remember(message);
      listener.reset();
    });
    for (const kind of KINDS) {
      source.addEventListener(kind, (message) => {
        remember(message);
        listener.heard(kind, JSON.parse(message.data));
      });
    }
  };

  // A connection may outlive its network for minutes without a word. A server on this machine is reached all the same.
  addEventListener("offline", () => {
    current?.close();
    listener.connected(false);
    open();
  });
  open();
}
