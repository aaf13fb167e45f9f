// The page of one prediction: everything about it, and whether it holds.

import "./styles/base.css";
import "./styles/prediction.css";
import { apiPath, ApiError, ask, words } from "./api/client";
import { follow } from "./api/stream";
import type { Feed, Prediction } from "./api/types";
import { showPrediction } from "./evidence/facts";
import { verify } from "./evidence/verifying";
import { byId, fill, made, setText } from "./page/dom";
import { copyOnClick } from "./page/hash";
import { themeToggle } from "./page/theme";

const GATHER_MS = 200;

const id = decodeURIComponent(location.pathname.split("/").filter(Boolean).at(-1) ?? "");
let prediction: Prediction | null = null;
let feed: Feed | null = null;

async function refresh(): Promise<void> {
  try {
    prediction = await ask<Prediction>(apiPath(["predictions", id]));
    feed = await ask<Feed>(apiPath(["feeds", prediction.feed])).catch(() => feed);
  } catch (error) {
    const unknown = error instanceof ApiError && error.status === 404;
    return say(
      "bad",
      unknown ? `There is no such prediction here: ${words(error)}` : `It cannot be read: ${words(error)}`,
    );
  }
  showPrediction(prediction, feed);
  showMarks();
  byId<HTMLButtonElement>("verify").disabled = !prediction.proof;
  if (prediction.proof) byId<HTMLAnchorElement>("bundle").href = apiPath(["predictions", id, "bundle"]);
  say(prediction.proof ? "good" : "wait", headline(prediction));
}

function headline({ status, failure, regime }: Prediction): string {
  if (status === "failed") return `Failed: ${failure ?? "no reason is known"}.`;
  const words = {
    predicted: "waits for its proof",
    proving: "is being proved",
    proved: "is proved",
    submitted: "is proved and sent to the chain",
    confirmed: "is proved and on chain",
  };
  return `This ${regime} forecast ${words[status]}.`;
}

function showMarks(): void {
  const marks = [];
  if (feed && feed.market !== "live") marks.push(feed.market === "simulated" ? "Simulated market" : "Replayed market");
  if (prediction?.proof?.srs_development) marks.push("Development SRS: proofs can be forged");
  fill(
    byId("marks"),
    marks.map((text) => made("li", "caution", text)),
  );
}

function say(kind: string, text: string): void {
  byId("notice").dataset.kind = kind;
  setText(byId("notice"), text);
}

function followIt(found: Prediction): void {
  let timer = 0;
  const soon = (): void => {
    clearTimeout(timer);
    timer = window.setTimeout(() => void refresh(), GATHER_MS);
  };
  follow(found.feed, {
    heard: (_, event) => {
      if (event.id === id) soon();
    },
    reset: soon,
    connected: () => undefined,
  });
}

async function start(): Promise<void> {
  await refresh();
  if (!prediction) return;
  byId<HTMLAnchorElement>("back").href = `/?${new URLSearchParams({ feed: prediction.feed })}`;
  byId<HTMLAnchorElement>("json-link").href = apiPath(["predictions", id]);
  byId<HTMLAnchorElement>("proof-link").href = apiPath(["predictions", id, "proof"]);
  byId<HTMLAnchorElement>("model-link").href = apiPath(["models", prediction.model_id]);
  followIt(prediction);
}

byId("verify").addEventListener("click", async (event) => {
  const button = event.currentTarget as HTMLButtonElement;
  if (!prediction || button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  setText(button, "Verifying…");
  await verify(prediction, feed);
  setText(button, "Verify this forecast");
  button.removeAttribute("aria-busy");
});
themeToggle();
copyOnClick();
void start();
