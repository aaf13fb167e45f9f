// The life of one window as the page knows it: read from the API, moved on by the stream's events, and shown as steps.

import type {
  Answer,
  Attempt,
  Chain,
  Onchain,
  Prediction,
  Regime,
  Status,
  StreamEvents,
  StreamKind,
} from "../api/types";
import { NONE, seconds } from "../page/format";

export interface Life {
  id: string;
  windowEnd: string;
  regime: Regime | null;
  pHigh: number | null;
  volAnnualised: number | null;
  status: Status;
  failure: string | null;
  queue: number | null;
  witness: number | null;
  prove: number | null;
  verify: number | null;
  /** What each attester answered last. */
  answers: Record<string, Answer>;
  onchain: Onchain | null;
}

export type StepState = "waiting" | "running" | "done" | "failed" | "skipped";

export interface Step {
  name: string;
  state: StepState;
  words: string;
}

const PROVED: readonly Status[] = ["proved", "submitted", "confirmed"];
const ORDER: readonly Status[] = ["predicted", "proving", "proved", "submitted", "confirmed"];

export const isProved = (life: Life): boolean => PROVED.includes(life.status);

export function lifeOf(prediction: Prediction): Life {
  const attempt: Attempt | undefined = prediction.attempts?.at(-1);
  const { proof } = prediction;
  return {
    id: prediction.id,
    windowEnd: prediction.window_end,
    regime: prediction.regime,
    pHigh: prediction.p_high,
    volAnnualised: prediction.vol_annualised,
    status: prediction.status,
    failure: prediction.failure ?? attempt?.reason ?? null,
    queue: attempt?.queue_seconds ?? null,
    witness: proof?.witness_seconds ?? attempt?.witness_seconds ?? null,
    prove: proof?.prove_seconds ?? attempt?.prove_seconds ?? prediction.prove_seconds ?? null,
    verify: proof?.verify_seconds ?? attempt?.verify_seconds ?? null,
    answers: Object.fromEntries((prediction.attestations ?? []).map((one) => [one.attester, one.outcome])),
    onchain: prediction.onchain ?? null,
  };
}

/** A window of which nothing is known yet but that there is one. */
function unknownLife(id: string, windowEnd: string): Life {
  return {
    id,
    windowEnd,
    regime: null,
    pHigh: null,
    volAnnualised: null,
    status: "predicted",
    failure: null,
    queue: null,
    witness: null,
    prove: null,
    verify: null,
    answers: {},
    onchain: null,
  };
}

/** The life after an event of the stream; events that come again, or late, change nothing that is further on. */
export function moved<K extends StreamKind>(before: Life | undefined, kind: K, event: StreamEvents[K]): Life {
  const life = before ?? unknownLife(event.id, event.window_end);
  return CHANGES[kind](life, event);
}

const CHANGES: { [K in StreamKind]: (life: Life, event: StreamEvents[K]) => Life } = {
  prediction: (life, event) => ({ ...life, ...forecast(event), status: further(life.status, event.status) }),
  proof: (life, event) => ({
    ...life,
    ...forecast(event),
    status: further(life.status, "proved"),
    failure: null,
    witness: event.witness_seconds,
    prove: event.prove_seconds,
    verify: event.verify_seconds,
  }),
  failure: (life, event) => ({ ...life, status: "failed", failure: event.reason }),
  attestation: (life, event) => ({ ...life, answers: { ...life.answers, [event.attester]: event.outcome } }),
  transaction: (life, event) => ({ ...life, status: further(life.status, "submitted"), onchain: onchain(event) }),
  round: (life, event) => ({ ...life, status: further(life.status, "confirmed"), onchain: onchain(event) }),
  outcome: (life) => life,
};

/** The six steps of a window. `newest`: no later window is proved, so that this one may yet be signed and sent. */
export function stepsOf(life: Life, chain: Chain | null, newest: boolean): Step[] {
  return [...provingSteps(life), attestStep(life, chain, newest), submitStep(life, chain, newest)];
}

function provingSteps(life: Life): Step[] {
  const taken: [string, number | null][] = [
    ["Queue", life.queue],
    ["Witness", life.witness],
    ["Prove", life.prove],
    ["Verify", life.verify],
  ];
  const stuck = taken.findIndex(([, took]) => took === null);
  return taken.map(([name, took], i) => {
    if (took !== null) return { name, state: "done", words: seconds(took) };
    if (isProved(life)) return { name, state: "done", words: "done" };
    return { name, ...openStep(life.status, i, i === stuck) };
  });
}

// Which of the later steps a prover is at is not told while it works: they count as one.
function openStep(status: Status, place: number, first: boolean): Omit<Step, "name"> {
  if (status === "failed") return first ? { state: "failed", words: "given up" } : { state: "skipped", words: NONE };
  if (status === "proving") return place ? { state: "running", words: "running" } : { state: "done", words: "done" };
  return place ? { state: "waiting", words: "to come" } : { state: "running", words: "waiting" };
}

function attestStep(life: Life, chain: Chain | null, newest: boolean): Step {
  const name = "Attest";
  if (!chain) return { name, state: "skipped", words: "no chain" };
  const answers = Object.values(life.answers);
  const signed = answers.filter((answer) => answer === "signed").length;
  if (signed && signed >= (chain.threshold ?? 1)) return { name, state: "done", words: `${signed} signed` };
  if (life.status === "confirmed") return { name, state: "done", words: "done" };
  if (life.status === "failed") return { name, state: "skipped", words: "no proof" };
  if (!isProved(life)) return { name, state: "waiting", words: "to come" };
  if (newest) return { name, state: "running", words: answers.length ? `${signed} signed` : "asking" };
  return answers.length
    ? { name, state: "failed", words: `only ${signed} of ${chain.threshold ?? "?"}` }
    : { name, state: "skipped", words: "not asked" };
}

function submitStep(life: Life, chain: Chain | null, newest: boolean): Step {
  const name = "Submit";
  if (!chain) return { name, state: "skipped", words: "no chain" };
  const { onchain } = life;
  if (onchain) return { name, ...transactionStep(onchain) };
  if (life.status === "failed") return { name, state: "skipped", words: "no proof" };
  if (!newest) return { name, state: "skipped", words: "not sent" };
  if (isProved(life) && chain.publishing?.outcome === "not-due") {
    return { name, state: "skipped", words: "not due" };
  }
  return { name, state: "waiting", words: "to come" };
}

function transactionStep({ state, gas_used: gas }: Onchain): Omit<Step, "name"> {
  const words = gas === null ? state : `${Math.round(gas / 1000)} k gas`;
  if (state === "confirmed") return { state: "done", words };
  if (state === "sent" || state === "included") return { state: "running", words };
  return state === "reverted" ? { state: "failed", words: "reverted" } : { state: "skipped", words: state };
}

function forecast(event: StreamEvents["prediction"]): Pick<Life, "regime" | "pHigh" | "volAnnualised"> {
  return { regime: event.regime, pHigh: event.p_high, volAnnualised: event.vol_annualised };
}

function onchain(event: StreamEvents["transaction"]): Onchain {
  const { chain_id, contract, tx_hash, state, block_number, gas_used, ours } = event;
  return { chain_id, contract, tx_hash, state, block_number, gas_used, ours };
}

function further(one: Status, other: Status): Status {
  return ORDER.indexOf(other) > ORDER.indexOf(one) ? other : one;
}
