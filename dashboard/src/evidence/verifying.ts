// The verify button: the server checks the bundle, and this browser asks the chain.

import { apiPath, ask, askText, words } from "../api/client";
import type { Feed, Prediction, Proof, Verdict } from "../api/types";
import { checkOnChain, type Check } from "../chain/checks";
import { readerOf } from "../chain/rpc";
import { byId, type Kind, made, setState } from "../page/dom";

const WITHIN_MS = 120_000;

/** What the checks of a verdict say when they hold, by their names. */
const MEANINGS: Record<string, string> = {
  model_id: "The model's files have the hashes of its manifest",
  markets: "The markets are the feed's",
  candles: "The candles have the hash that was stored",
  window_end: "The window ends where its candles end",
  observation: "The inputs follow from the candles",
  outputs: "The network gives these outputs on them",
  forecast: "The forecast follows from the outputs",
  keys: "The verifying key follows from circuit and SRS",
  commitment: "The proof commits to these inputs",
  proof: "The proof holds",
  signatures: "The attesters signed this very window and commitment",
  id: "The id is of this feed, window and model",
  times: "The times are in order",
  sha256: "The bundle is unaltered",
};

export async function verify(prediction: Prediction, feed: Feed | null): Promise<void> {
  await Promise.all([verifyOnServer(prediction), verifyOnChain(prediction, feed)]);
}

async function verifyOnServer({ id }: Prediction): Promise<void> {
  const verdict = byId("server-verdict");
  setState(verdict, "The server recomputes everything from the candles up…", "wait");
  byId("server-checks").replaceChildren();
  try {
    const body = await askText(apiPath(["predictions", id, "bundle"]), {}, WITHIN_MS);
    const posting = { method: "POST", headers: { "Content-Type": "application/json" }, body };
    showVerdict(verdict, await ask<Verdict>(apiPath(["verify"]), posting, WITHIN_MS));
  } catch (error) {
    setState(verdict, `Could not be checked: ${words(error)}.`, "warn");
  }
}

function showVerdict(verdict: HTMLElement, { holds, failed, reason, checks, signers, venues }: Verdict): void {
  const list = byId("server-checks");
  for (const name of checks) list.append(checkItem({ name: MEANINGS[name] ?? name, holds: true, words: name }));
  if (failed) list.append(checkItem({ name: MEANINGS[failed] ?? failed, holds: false, words: reason ?? failed }));
  const found = `${checks.length} checks passed, candles of ${venues.join(", ")}, ${signers.length} signatures`;
  setState(
    verdict,
    holds ? `✓ It holds: ${found}.` : `✗ It does not hold. This fails: ${failed}, ${reason ?? "no reason given"}`,
    holds ? "good" : "bad",
  );
}

async function verifyOnChain(prediction: Prediction, feed: Feed | null): Promise<void> {
  const verdict = byId("chain-verdict");
  const list = byId("chain-checks");
  list.replaceChildren();
  if (!feed?.chain) return setState(verdict, "There is no chain: this service does not publish.", "none");
  setState(verdict, "Asking the chain…", "wait");
  try {
    const reader = await readerOf(feed.chain);
    const proof = await ask<Proof>(apiPath(["predictions", prediction.id, "proof"]));
    const found: Check[] = [];
    for await (const check of checkOnChain({ prediction, proof, chain: feed.chain, reader })) {
      found.push(check);
      list.append(checkItem(check));
    }
    const [text, kind] = chainVerdict(found, reader.through);
    setState(verdict, text, kind);
  } catch (error) {
    setState(verdict, `Could not be checked: ${words(error)}`, "warn");
  }
}

/** One sentence for all that the chain said. */
export function chainVerdict(checks: Check[], through: string): [string, Kind] {
  const failed = checks.find(({ holds }) => holds === false);
  if (failed) {
    return [`✗ It does not hold. This fails: “${failed.name}”: ${failed.words} (asked through ${through}).`, "bad"];
  }
  const open = checks.filter(({ holds }) => holds === null).map(({ words: why }) => `; ${why}`);
  return [`✓ The chain agrees: the verifier accepts the proof${open.join("")} (asked through ${through}).`, "good"];
}

function checkItem({ name, holds, words: said }: Check): HTMLLIElement {
  const mark = made("span", "mark");
  if (holds === null) setState(mark, "– open", "none");
  else setState(mark, holds ? "✓ holds" : "✗ fails", holds ? "good" : "bad");
  return made("li", "", mark, made("span", "", `${name} `, made("span", "quiet", said)));
}
