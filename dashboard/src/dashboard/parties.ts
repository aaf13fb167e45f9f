// Those a forecast comes from and goes to: venues, attesters, the chain.

import type { Answer, Chain, Feed, Prediction, Tick, Venue, VenueState } from "../api/types";
import { byId, fill, type Kind, made, setState, setTexts } from "../page/dom";
import { clockMinute, clockSecond, count, NONE, plural, shortened, stretch, utcMinute } from "../page/format";
import { hashButton, setHash } from "../page/hash";
import type { Known } from "./state";

const VENUE_KINDS: Record<VenueState, Kind> = {
  unknown: "wait",
  loading: "wait",
  fresh: "good",
  late: "warn",
  resting: "bad",
  "off-time": "bad",
  "left-out": "bad",
};
const ANSWER_KINDS: Record<Answer, Kind> = { signed: "good", refused: "bad", unreachable: "warn", invalid: "bad" };
const NOTABLE_SKEW_S = 2;

export function showVenues(feed: Feed): void {
  const tick = feed.last_tick;
  setTexts({
    "venues-quorum": `${feed.quorum} of ${feed.venues.length} must have a minute`,
    "last-tick": tick ? `${clockSecond(Date.parse(tick.at))} ${tickWords(tick)}` : "none yet",
    clocks: clockWords(feed.clock_skew_seconds),
  });
  fill(byId("venues"), feed.venues.map(venueItem));
}

export function showAttesters(known: Known): void {
  const chain = known.feed?.chain ?? null;
  const { latest } = known;
  const needed = chain?.threshold ? `${chain.threshold} of ${chain.signers.length} must sign` : "";
  setTexts({ "attesters-needed": needed });
  const answers = [...(latest?.attestations ?? [])].sort((a, b) => a.attester.localeCompare(b.attester));
  const silent = (chain?.signers ?? []).filter((signer) => !answers.some((answer) => answer.signer === signer));
  const unnamed = answers.filter((answer) => !answer.signer).length;
  const items = answers.map((answer) => attesterItem(answer.attester, answer.signer, answer.outcome, answer.reason));
  // Who gave no answer cannot be told from who answered without a signature: those are listed once.
  const waiting = silent.slice(unnamed).map((signer) => attesterItem("", signer, null, null));
  const none = made(
    "li",
    "",
    made("span", "quiet", chain ? "No signature yet" : "Forecasts are not published: no chain"),
  );
  fill(byId("attesters"), items.length || waiting.length ? [...items, ...waiting] : [none]);
}

export function showChain(known: Known): void {
  const chain = known.feed?.chain ?? null;
  const round = known.newest().find((one) => one.onchain && ["included", "confirmed"].includes(one.onchain.state));
  setHash(byId<HTMLButtonElement>("oracle"), chain?.oracle);
  setHash(byId<HTMLButtonElement>("last-tx"), round?.onchain?.tx_hash);
  setTexts({
    chain: chain ? chainWords(chain) : "none, forecasts are not published",
    "last-round": round ? roundWords(round) : NONE,
    publishing: chain?.publishing ? publishingWords(chain) : NONE,
  });
}

function tickWords({ outcome, reason, detail }: Tick): string {
  return `${[outcome.replace("-", " "), reason].filter(Boolean).join(", ")}. ${detail}`;
}

function clockWords(skew: number | null): string {
  if (skew === null) return NONE;
  const off = `${Math.abs(skew).toFixed(1)} s`;
  if (Math.abs(skew) < NOTABLE_SKEW_S) return `the server's is within ${NOTABLE_SKEW_S} s of the venues' median`;
  return `the venues' median is ${off} ${skew > 0 ? "ahead of" : "behind"} the server's`;
}

function chainWords(chain: Chain): string {
  const who = chain.sender ? `paid by ${shortened(chain.sender)}` : "sent by others";
  return `${chain.chain_id}, updates ${who}`;
}

function roundWords({ window_end: end, onchain }: Prediction): string {
  const gas = onchain?.gas_used ? `, ${count(onchain.gas_used)} gas` : "";
  const block = onchain?.block_number ? `, block ${count(onchain.block_number)}` : "";
  return `window of ${clockMinute(Date.parse(end))}${block}${gas}${onchain?.ours ? "" : ", relayed by somebody else"}`;
}

function publishingWords(chain: Chain): string {
  const { publishing } = chain;
  return publishing ? `${clockSecond(Date.parse(publishing.at))} ${publishing.outcome.replaceAll("-", " ")}` : NONE;
}

function venueItem(venue: Venue): HTMLLIElement {
  const state = made("span", "state");
  setState(state, venue.state.replace("-", " "), VENUE_KINDS[venue.state] ?? "warn");
  const head = made("p", "head", made("strong", "", venue.venue), made("span", "quiet", venue.symbol), state);
  return made("li", "", head, made("p", "quiet details", venueWords(venue)));
}

/** All that is known of a venue beyond its state. */
export function venueWords(venue: Venue): string {
  const parts = [venue.last_candle ? `last candle ${clockMinute(Date.parse(venue.last_candle))}` : "no candle yet"];
  if (venue.reason) parts.push(venue.reason);
  if (venue.rests_until) parts.push(`asked again at ${clockSecond(Date.parse(venue.rests_until))}`);
  const skew = venue.clock_skew_seconds;
  if (skew !== null && Math.abs(skew) >= NOTABLE_SKEW_S && venue.state !== "off-time") {
    parts.push(`its clock is ${Math.abs(skew).toFixed(1)} s ${skew > 0 ? "ahead" : "behind"}`);
  }
  if (venue.missing_minutes) parts.push(`${stretch(venue.missing_minutes)} of the week missing${gapWords(venue)}`);
  if (venue.revisions) parts.push(`${plural(venue.revisions, "candle")} changed afterwards`);
  return parts.join(" · ");
}

function gapWords({ gaps }: Venue): string {
  const newest = gaps.at(-1);
  if (!newest) return "";
  const [from, to] = newest.map((time) => utcMinute(Date.parse(time)));
  return ` (${plural(gaps.length, "gap")}, the newest ${from} to ${to})`;
}

function attesterItem(
  name: string,
  signer: string | null,
  outcome: Answer | null,
  reason: string | null,
): HTMLLIElement {
  const state = made("span", "state");
  setState(state, outcome ?? "not heard", outcome ? ANSWER_KINDS[outcome] : "none");
  const who = signer ? hashButton("attester's address", signer) : made("span", "", "no signature");
  const details = made("p", "quiet details", who);
  if (reason) details.append(made("span", "", reason));
  return made("li", "", made("p", "head", made("strong", "", name || "attester"), state), details);
}
