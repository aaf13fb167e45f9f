// The newest windows on their way from the queue to the chain, and the table of the latest predictions.

import type { Outcome, Prediction } from "../api/types";
import { byId, cell, fill, made, setState, setText } from "../page/dom";
import { clockMinute, count, kindOf, NONE, orNone, percent, seconds, utcMinute } from "../page/format";
import { isProved, type Life, type Step, stepsOf } from "./life";
import type { Known } from "./state";
import { stepItem } from "./steps";

const [ROWS, COLUMNS] = [10, 8];
const WINDOWS = 4;
const STEPS = ["Queue", "Witness", "Prove", "Verify", "Attest", "Submit"];

export function showPipeline(known: Known): void {
  const lives = known.newestLives();
  const rows = Array.from({ length: WINDOWS }, (_, i) => {
    const life = lives[i];
    const newest = !lives.slice(0, i).some(isProved);
    return life ? windowItem(life, stepsOf(life, known.feed?.chain ?? null, newest)) : emptyItem();
  });
  fill(byId("pipeline"), rows);
}

export function showStream(connected: boolean): void {
  setText(byId("stream-state"), connected ? "live" : "asking every few seconds");
}

export function showPredictions(known: Known): void {
  const horizonMs = 60_000 * (known.feed?.horizon_minutes ?? 0);
  const rows = known
    .newest()
    .slice(0, ROWS)
    .map((one) => predictionRow(one, horizonMs));
  const missing = Array.from({ length: ROWS - rows.length }, (_, i) => emptyRow(i ? "" : "One more every minute."));
  fill(byId("predictions"), [...rows, ...missing]);
}

export function predictionLink(id: string, words: string): HTMLAnchorElement {
  const link = made("a", "", words);
  link.href = `/predictions/${encodeURIComponent(id)}`;
  link.dataset.testid = "prediction-link";
  return link;
}

function windowItem(life: Life, steps: Step[]): HTMLLIElement {
  const heading = made("p", "window-head", predictionLink(life.id, clockMinute(Date.parse(life.windowEnd))));
  if (life.regime) heading.append(made("span", `regime-word ${life.regime}`, life.regime));
  const status = made("span", "state");
  setState(
    status,
    life.failure && life.status === "failed" ? `failed: ${life.failure}` : life.status,
    kindOf(life.status),
  );
  status.title = life.failure ?? "";
  heading.append(status);
  return made("li", "", heading, made("ol", "steps", ...steps.map(stepItem)));
}

function emptyItem(): HTMLLIElement {
  const steps = STEPS.map((name) => stepItem({ name, state: "waiting", words: NONE }));
  return made("li", "empty", made("p", "window-head", made("span", "quiet", NONE)), made("ol", "steps", ...steps));
}

function predictionRow(prediction: Prediction, horizonMs: number): HTMLTableRowElement {
  const { regime, p_high: pHigh, vol_annualised: vol, onchain, outcome } = prediction;
  const status = cell("", "state status");
  setState(status, prediction.status, kindOf(prediction.status));
  status.title = prediction.failure ?? "";
  return made(
    "tr",
    "",
    cell(predictionLink(prediction.id, utcMinute(Date.parse(prediction.window_end)))),
    cell(made("span", `regime-word ${regime}`, regime)),
    cell(percent(pHigh), "number"),
    cell(percent(vol), "number"),
    status,
    cell(orNone(prediction.prove_seconds ?? prediction.proof?.prove_seconds, seconds), "number"),
    cell(orNone(onchain?.gas_used, count), "number"),
    outcomeCell(outcome ?? null, Date.parse(prediction.window_end) + horizonMs),
  );
}

function emptyRow(words: string): HTMLTableRowElement {
  const only = cell(words, "quiet");
  only.colSpan = COLUMNS;
  return made("tr", "empty", only);
}

function outcomeCell(outcome: Outcome | null, dueMs: number): HTMLTableCellElement {
  const found = cell("", "state");
  if (!outcome) setState(found, `due ${clockMinute(dueMs)}`, "none");
  else if (outcome.right === null) setState(found, outcome.missing ?? "cannot be told", "none");
  else setState(found, outcome.right ? "✓ right" : "✗ wrong", outcome.right ? "good" : "bad");
  return found;
}
