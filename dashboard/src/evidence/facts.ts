// Everything that is known of one prediction, as names and values.

import type { Attempt, Attestation, Feed, Onchain, Outcome, Prediction, Proof } from "../api/types";
import { byId, cell, fill, made, setState, setText, type Kind } from "../page/dom";
import { count, kindOf, NONE, orNone, percent, plural, seconds, stretch, utc, utcMinute } from "../page/format";
import { hashButton } from "../page/hash";
import { lifeOf, stepsOf } from "../dashboard/life";
import { stepItem } from "../dashboard/steps";

type Fact = [name: string, value: string | Node];

const ANSWERS: Record<string, Kind> = { signed: "good", refused: "bad", unreachable: "warn", invalid: "bad" };

export function showPrediction(prediction: Prediction, feed: Feed | null): void {
  const { regime, status, proof } = prediction;
  const ended = utcMinute(Date.parse(prediction.window_end));
  document.title = `${prediction.feed} ${ended} · VeriRegime`;
  const date = made("span", "unbroken", `${ended} UTC`);
  fill(byId("title"), [document.createTextNode(`${prediction.feed}, window to `), date]);
  byId("forecast").dataset.regime = regime;
  setText(byId("regime"), regime);
  byId("regime").className = `figure regime-word ${regime}`;
  setText(byId("vol"), percent(prediction.vol_annualised, 2));
  setText(byId("p-high"), percent(prediction.p_high, 2));
  setState(byId("status"), status, kindOf(status));
  fill(byId("steps"), stepsOf(lifeOf(prediction), feed?.chain ?? null, isNewest(prediction, feed)).map(stepItem));
  showOutcome(prediction.outcome ?? null, feed?.horizon_minutes ?? 240, prediction.window_end);
  facts("window-facts", windowFacts(prediction));
  facts("proof-facts", proof ? proofFacts(proof, prediction.id) : [["Proof", whyNoProof(prediction)]]);
  facts("transaction-facts", transactionFacts(prediction.onchain ?? null, feed));
  fill(byId("attestations"), attestationItems(prediction.attestations ?? []));
  fill(byId("attempts"), attemptRows(prediction.attempts ?? []));
  setText(byId("observation"), prediction.observation?.join(", ") ?? NONE);
  setText(byId("proof-raw"), proof ? `${proof.proof}\n\n${proof.instances.join("\n")}` : NONE);
  setText(byId("calldata"), prediction.calldata ?? "There is none until enough attesters have signed.");
}

// Until the next tick a prediction may still be signed and sent.
function isNewest(prediction: Prediction, feed: Feed | null): boolean {
  return feed?.last_tick?.window_end === prediction.window_end;
}

function whyNoProof({ status, failure }: Prediction): string {
  return status === "failed"
    ? `none: ${failure ?? "it was given up"}`
    : "being made; this page shows it when it is there";
}

function showOutcome(outcome: Outcome | null, horizon: number, windowEnd: string): void {
  const element = byId("outcome");
  if (!outcome) {
    const due = utcMinute(Date.parse(windowEnd) + horizon * 60_000);
    return setState(
      element,
      `What came of it is known ${stretch(horizon)} after the window's end, at ${due} UTC.`,
      "none",
    );
  }
  const { right, realised_regime: regime, realised_vol_annualised: vol, missing } = outcome;
  if (right === null) return setState(element, `Outcome: cannot be told, ${missing ?? "minutes are missing"}.`, "warn");
  const came = `realised volatility ${orNone(vol, (value) => percent(value, 2))}, regime ${regime ?? NONE}`;
  return setState(element, `${right ? "✓ Right" : "✗ Wrong"}: ${came}.`, right ? "good" : "bad");
}

function windowFacts(prediction: Prediction): Fact[] {
  const venues = Object.entries(prediction.venues)
    .map(([venue, market]) => `${venue} ${market}`)
    .join(", ");
  const left = Object.entries(prediction.left_out)
    .map(([venue, why]) => `${venue}: ${why}`)
    .join("; ");
  const made = prediction.predicted_at ? `${utc(Date.parse(prediction.predicted_at))} UTC` : NONE;
  return [
    ["Prediction", hashButton("prediction id", prediction.id)],
    ["Window ended", `${utc(Date.parse(prediction.window_end))} UTC`],
    ["Forecast made", made],
    ["Venues", venues || NONE],
    ["Left out", left || "none"],
    ["Quorum", `${prediction.quorum} venues must have a minute`],
    ["Model", hashButton("model id", prediction.model_id)],
  ];
}

function proofFacts(proof: Proof, own: string): Fact[] {
  const times = [
    ["witness", proof.witness_seconds],
    ["prove", proof.prove_seconds],
    ["verify", proof.verify_seconds],
  ] as const;
  const all: Fact[] = [
    ["Seconds", times.map(([name, took]) => `${name} ${seconds(took)}`).join(", ")],
    ["Proved", `${utc(Date.parse(proof.proved_at))} UTC`],
    ["Size", `${count((proof.proof.length - 2) / 2)} bytes, ${plural(proof.instances.length, "public output")}`],
    ["Proof", hashButton("proof", proof.proof)],
    ["Commitment", hashButton("commitment to the inputs", proof.commitment)],
    ["Verifying key", hashButton("verifying key hash", proof.vk_hash)],
    ["SRS", hashButton("SRS hash", proof.srs_hash)],
  ];
  if (proof.srs_development)
    all.push(["Caution", made("span", "regime-word high", "development SRS: whoever made it can forge proofs")]);
  const others = proof.members.filter((member) => member && member !== own);
  if (proof.members.length) all.push(["Joint proof", jointWords(proof, others as string[])]);
  return all;
}

function jointWords(proof: Proof, others: string[]): Node {
  const words = made("span", "", `place ${proof.slot + 1} of ${proof.members.length}`);
  others.forEach((id, i) => {
    const link = made("a", "", `${id.slice(0, 8)}…`);
    link.href = `/predictions/${id}`;
    words.append(i ? ", " : ", together with ", link);
  });
  return words;
}

function transactionFacts(onchain: Onchain | null, feed: Feed | null): Fact[] {
  if (!onchain) return [["Transaction", feed?.chain ? "none: this window was not sent" : "none: no chain"]];
  const state = made("span", "state");
  setState(state, onchain.state, kindOf(onchain.state));
  const all: Fact[] = [
    ["State", state],
    ["Transaction", hashButton("transaction hash", onchain.tx_hash)],
    ["Block", orNone(onchain.block_number, count)],
    ["Gas", orNone(onchain.gas_used, (gas) => `${count(gas)}, of the whole transaction`)],
    ["Chain", String(onchain.chain_id)],
    ["Oracle", hashButton("oracle address", onchain.contract)],
    ["Sent by", onchain.ours ? "this service" : "somebody else"],
  ];
  const explorer = feed?.chain?.explorer_url;
  if (explorer) {
    const link = made("a", "", "in the block explorer");
    link.href = `${explorer.replace(/\/$/, "")}/tx/${onchain.tx_hash}`;
    all.push(["Look it up", link]);
  }
  return all;
}

function attestationItems(answers: Attestation[]): HTMLLIElement[] {
  if (!answers.length) return [made("li", "", made("span", "quiet", "Nobody was asked, or nobody has answered yet"))];
  return answers.map((answer) => {
    const state = made("span", "state");
    setState(state, answer.outcome, ANSWERS[answer.outcome] ?? "none");
    const who = answer.signer ? hashButton("attester's address", answer.signer) : made("span", "", "no signature");
    const when = made("span", "", `${utc(Date.parse(answer.at))} UTC`);
    const details = made("p", "quiet details", who, when);
    if (answer.reason) details.append(made("span", "", answer.reason));
    return made("li", "", made("p", "head", made("strong", "", answer.attester), state), details);
  });
}

function attemptRows(attempts: Attempt[]): HTMLTableRowElement[] {
  if (!attempts.length) return [made("tr", "", cell("none yet", "quiet"))];
  return attempts.map((one) => {
    const outcome = cell("", "state");
    setState(outcome, [one.outcome, one.reason].filter(Boolean).join(": "), one.outcome === "proved" ? "good" : "bad");
    const times = [one.queue_seconds, one.witness_seconds, one.prove_seconds, one.verify_seconds];
    return made(
      "tr",
      "",
      cell(String(one.attempt)),
      outcome,
      ...times.map((took) =>
        cell(
          orNone(took, (value) => `${value.toFixed(3)} s`),
          "number",
        ),
      ),
      cell(String(one.windows), "number"),
      cell(one.prover),
      cell(utc(Date.parse(one.at))),
    );
  });
}

function facts(id: string, all: Fact[]): void {
  fill(
    byId(id),
    all.flatMap(([name, value]) => [made("dt", "", name), made("dd", "", value)]),
  );
}
