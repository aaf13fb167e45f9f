// What the chain itself says of a prediction, one check after the other. Only the numbers shown and the oracle's
// address are taken from the server; verifier, scales and round come from the contracts.

import type { Chain, Prediction, Proof } from "../api/types";
import {
  callFeedState,
  callGetRound,
  callModel,
  callRegistry,
  callStateOf,
  callVerifyProof,
  readAddress,
  readBool,
  readFeedState,
  readModel,
  readModelState,
  readRound,
  sameHex,
  UnexpectedAnswer,
  type RegisteredModel,
  type Round,
} from "./abi";
import { agree, fromWad, statedBy } from "./outputs";
import { CallReverted, type ChainReader } from "./rpc";

/** The oracle keeps this many rounds of a feed. */
const ROUNDS_KEPT = 256;

/** `holds` is null where there was nothing to check. */
export interface Check {
  name: string;
  holds: boolean | null;
  words: string;
}

interface Subject {
  prediction: Prediction;
  proof: Proof;
  chain: Chain;
  reader: ChainReader;
}

/** All checks, in order; it stops after the first that the later ones rest on. */
export async function* checkOnChain(subject: Subject): AsyncGenerator<Check> {
  const { prediction, proof, chain, reader } = subject;
  const registry = readAddress(await ask(reader, "oracle", chain.oracle, callRegistry()));
  const state = readModelState(await ask(reader, "registry", registry, callStateOf(prediction.model_id)));
  yield modelCheck(registry, state);
  if (state === "unknown") return;
  const model = readModel(await ask(reader, "registry", registry, callModel(prediction.model_id)));
  yield keyCheck(proof, model);
  yield await proofCheck(reader, proof, verifierOf(proof, model));
  yield numbersCheck(prediction, proof, model);
  yield await roundCheck(subject);
}

function modelCheck(registry: string, state: string): Check {
  const words = `registry ${short(registry)} says of this model: ${state}`;
  return { name: "The oracle's registry knows the model", holds: state === "active", words };
}

function keyCheck(proof: Proof, model: RegisteredModel): Check {
  const pinned = isJoint(proof) ? model.jointVkHash : model.vkHash;
  const holds = sameHex(pinned, proof.vk_hash);
  const words = holds ? `verifying key ${short(pinned)}` : `pinned is ${short(pinned)}, the proof was made for another`;
  return { name: "The proof is for the key that the registry pins", holds, words };
}

async function proofCheck(reader: ChainReader, proof: Proof, verifier: string): Promise<Check> {
  const name = "The chain's verifier accepts the proof";
  const where = `${isJoint(proof) ? "joint verifier" : "verifier"} ${short(verifier)}`;
  try {
    const holds = readBool(await reader.call(verifier, callVerifyProof(proof.proof, proof.instances)));
    return { name, holds, words: `${where} answers ${holds}` };
  } catch (error) {
    if (error instanceof CallReverted) return { name, holds: false, words: `${where} rejects it` };
    if (error instanceof UnexpectedAnswer) return { name, holds: false, words: `no verifier is at ${short(verifier)}` };
    throw error;
  }
}

function numbersCheck(prediction: Prediction, proof: Proof, model: RegisteredModel): Check {
  const name = "The proof's outputs are the numbers shown";
  const stated = statedBy(proof.instances, proof.slot, model.outputScale);
  if (!stated) return { name, holds: false, words: `the proof has no place ${proof.slot}` };
  return { name, ...compared(prediction, stated.regime, stated.pHigh, stated.volAnnualised) };
}

async function roundCheck({ prediction, chain, reader }: Subject): Promise<Check> {
  const name = "The oracle's round says the same";
  const windowEnd = Date.parse(prediction.window_end) / 1000;
  const round = await findRound(reader, chain, windowEnd);
  if (!round) {
    const stands = ["included", "confirmed"].includes(prediction.onchain?.state ?? "");
    const older = stands ? "the oracle no longer keeps a round of this window" : "this window is not on chain";
    return { name, holds: null, words: older };
  }
  if (!sameHex(round.modelId, prediction.model_id)) {
    return { name, holds: false, words: `round ${round.round} is of another model, ${short(round.modelId)}` };
  }
  const { holds, words } = compared(
    prediction,
    round.regime,
    fromWad(round.probabilityHigh),
    fromWad(round.volatility),
  );
  return { name, holds, words: `round ${round.round}: ${words}` };
}

// Windows of rounds increase strictly, so the round of a window is found by halving.
async function findRound(reader: ChainReader, chain: Chain, windowEnd: number): Promise<Round | null> {
  const newest = readFeedState(await ask(reader, "oracle", chain.oracle, callFeedState(chain.feed_id)));
  let [low, high] = [Math.max(1, newest.round - ROUNDS_KEPT + 1), newest.round];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const round = readRound(await ask(reader, "oracle", chain.oracle, callGetRound(chain.feed_id, middle)));
    if (round.windowEnd === windowEnd) return round;
    if (round.windowEnd < windowEnd) low = middle + 1;
    else high = middle - 1;
  }
  return null;
}

function compared(shown: Prediction, regime: string, pHigh: number, vol: number): Pick<Check, "holds" | "words"> {
  const holds = regime === shown.regime && agree(pHigh, shown.p_high) && agree(vol, shown.vol_annualised);
  return { holds, words: `${regime}, probability ${pHigh.toFixed(9)}, volatility ${vol.toFixed(9)}` };
}

async function ask(reader: ChainReader, what: string, at: string, data: string): Promise<string> {
  const answer = await reader.call(at, data);
  if (answer === "0x") throw new UnexpectedAnswer(`no ${what} is at ${at}`);
  return answer;
}

const isJoint = (proof: Proof): boolean => proof.members.length > 0;
const verifierOf = (proof: Proof, model: RegisteredModel): string =>
  isJoint(proof) ? model.jointVerifier : model.verifier;
const short = (hex: string): string => `${hex.slice(0, 10)}…${hex.slice(-6)}`;
