// The forecast that holds now, and the one line that says whether it can be relied on.

import type { Chain, Feed, Prediction } from "../api/types";
import { byId, type Kind, made, setState, setText, setTexts, fill } from "../page/dom";
import { duration, kindOf, NONE, percent, stretch, THRESHOLD, utc, utcMinute } from "../page/format";
import type { Known } from "./state";

const STALE_AFTER_MS = 180_000;
const MARKETS = { live: "Live market", simulated: "Simulated market", recorded: "Replayed market" };
const ONCHAIN_TROUBLE: readonly string[] = [
  "would-revert",
  "reverted",
  "fees-too-high",
  "balance-too-low",
  "chain-unavailable",
  "wrong-chain",
];

let announced: string | null = null;

export function showForecast(known: Known): void {
  const { latest, feed } = known;
  if (!latest || !feed) return;
  const { regime, vol_annualised: vol, p_high: pHigh } = latest;
  byId("now").dataset.regime = regime;
  setTexts({
    regime,
    "regime-words": regimeWords(latest, feed),
    vol: percent(vol),
    "p-high": percent(pHigh),
    "window-end": `${utcMinute(Date.parse(latest.window_end))} UTC`,
  });
  setState(byId("status"), latest.status, kindOf(latest.status));
  byId("p-high-bar").style.width = `${100 * pHigh}%`;
  byId("vol-bar").style.width = `${Math.min(100, (50 * vol) / THRESHOLD)}%`;
  byId<HTMLAnchorElement>("open-latest").href = `/predictions/${encodeURIComponent(latest.id)}`;
  document.title = `${regime} ${percent(vol)} · VeriRegime`;
  if (announced && announced !== regime) setTexts({ announcement: `The regime changed to ${regime}.` });
  announced = regime;
}

function regimeWords({ regime }: Prediction, feed: Feed): string {
  const side = regime === "high" ? "above" : "below";
  return `volatility ${side} ${percent(THRESHOLD, 2)} a year expected over the next ${stretch(feed.horizon_minutes)}`;
}

export function showFeed(known: Known): void {
  const { feed } = known;
  if (!feed) return;
  setTexts({
    "feed-name": `${feed.symbol}, next ${stretch(feed.horizon_minutes)}`,
    "model-name": feed.model_name,
  });
  const marks = [made("li", feed.market === "live" ? "" : "caution", MARKETS[feed.market])];
  if (feed.srs.development) marks.push(made("li", "caution", "Development SRS: proofs can be forged"));
  const [alarm] = feed.alarms;
  if (alarm) {
    const link = made("a", "", `Alarm: network and circuit disagreed (${feed.alarms.length})`);
    link.href = `/predictions/${encodeURIComponent(alarm.prediction_id)}`;
    marks.push(made("li", "alarm", link));
  }
  fill(byId("marks"), marks);
}

export function showFeedChoice(known: Known): void {
  const select = byId<HTMLSelectElement>("feed");
  // Made anew, it would close while somebody chooses.
  if (!known.feed || select.length === known.feeds.length) return;
  const own = known.feed.feed;
  select.replaceChildren(...known.feeds.map((name) => new Option(name, name, name === own, name === own)));
}

export function showTime(known: Known): void {
  const now = known.clock.now();
  const age = known.latest && now !== null ? now - Date.parse(known.latest.window_end) : null;
  const old = age !== null && (age > STALE_AFTER_MS || Boolean(known.silence ?? known.nothingYet));
  byId("now").classList.toggle("old", old);
  const [kind, words] = notice(known, age);
  byId("notice").dataset.kind = kind;
  setText(byId("notice"), words);
  setTexts({
    "now-title": old ? "Last known regime" : "Current regime",
    age: age === null ? NONE : duration(age),
    "market-time": now === null ? NONE : utc(now),
  });
}

/** What a reader must know before relying on what is shown. */
export function notice(known: Known, age: number | null): [Kind, string] {
  const { silence, nothingYet, latest, feed } = known;
  const shown = latest ? "The last known values are shown." : "";
  if (silence) return ["bad", `The server does not answer since ${silence.since} UTC (${silence.why}). ${shown}`];
  if (nothingYet) return ["warn", `The server has no proved forecast: ${nothingYet} ${shown}`];
  if (!latest || age === null) return ["wait", feed ? "Waiting for the first forecast…" : "Waiting for a feed…"];
  if (age > STALE_AFTER_MS) {
    const dead = feed?.pipeline && !feed.pipeline.alive ? " The process that makes them has not reported lately." : "";
    return ["warn", `Stale: this forecast is older than 3 minutes, and no newer one is proved.${dead}`];
  }
  const trouble = onchainTrouble(feed?.chain ?? null);
  return trouble
    ? ["warn", `Up to date, and proved, but not on chain: ${trouble}`]
    : ["good", "Up to date, and proved."];
}

function onchainTrouble(chain: Chain | null): string {
  const { attesting, publishing } = chain ?? {};
  if (attesting?.outcome === "short" || attesting?.outcome === "chain-unavailable") {
    return `${attesting.outcome}: ${attesting.detail}`;
  }
  const trouble = publishing && ONCHAIN_TROUBLE.includes(publishing.outcome);
  return trouble ? `${publishing.outcome}: ${publishing.detail}` : "";
}
