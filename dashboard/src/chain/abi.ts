// The few calls of our contracts that a reader needs, encoded and decoded by hand: a library for all of Ethereum would
// weigh more than the page. The selectors are the first four bytes of keccak256 of the signature beside them.

import type { Regime } from "../api/types";

export const SELECTORS = {
  registry: "7b103999", // registry()
  model: "ee19e84b", // model(bytes32)
  stateOf: "64482ac4", // stateOf(bytes32)
  verifyProof: "1e8e1e13", // verifyProof(bytes,uint256[])
  feedState: "54240681", // feedState(bytes32)
  getRound: "cc65a3ba", // getRound(bytes32,uint64)
} as const;

const WORD = 64;
const MODEL_STATES = ["unknown", "proposed", "active", "frozen"] as const;

export type ModelState = (typeof MODEL_STATES)[number];

/** A model as the registry pins it; addresses and hashes are lower-case 0x hex. */
export interface RegisteredModel {
  verifier: string;
  jointVerifier: string;
  jointWindows: number;
  outputScale: number;
  srsHash: string;
  vkHash: string;
  jointVkHash: string;
}

/** A round of the oracle. Times are Unix seconds, probability and volatility have 18 decimals. */
export interface Round {
  round: number;
  windowEnd: number;
  publishedAt: number;
  regime: Regime;
  probabilityHigh: bigint;
  volatility: bigint;
  modelId: string;
}

/** The answer is not in the form of the function that was called: another contract, or none, is at the address. */
export class UnexpectedAnswer extends Error {}

export const callRegistry = (): string => `0x${SELECTORS.registry}`;
export const callModel = (modelId: string): string => `0x${SELECTORS.model}${bytes32(modelId)}`;
export const callStateOf = (modelId: string): string => `0x${SELECTORS.stateOf}${bytes32(modelId)}`;
export const callFeedState = (feedId: string): string => `0x${SELECTORS.feedState}${bytes32(feedId)}`;
export const callGetRound = (feedId: string, round: number): string =>
  `0x${SELECTORS.getRound}${bytes32(feedId)}${word(BigInt(round))}`;

/** `instances` are 32-byte words in 0x hex. */
export function callVerifyProof(proof: string, instances: string[]): string {
  const bytes = digits(proof);
  const padded = bytes.padEnd(Math.ceil(bytes.length / WORD) * WORD, "0");
  const length = BigInt(bytes.length / 2);
  const instancesAt = BigInt(64 + 32 + padded.length / 2);
  const head = word(64n) + word(instancesAt);
  const list = word(BigInt(instances.length)) + instances.map(bytes32).join("");
  return `0x${SELECTORS.verifyProof}${head}${word(length)}${padded}${list}`;
}

export function readAddress(answer: string): string {
  return address(words(answer, 1)[0]);
}

export function readBool(answer: string): boolean {
  return number(words(answer, 1)[0]) === 1n;
}

export function readModelState(answer: string): ModelState {
  return MODEL_STATES[Number(number(words(answer, 1)[0]))] ?? "unknown";
}

export function readModel(answer: string): RegisteredModel {
  const [verifier, jointVerifier, jointWindows, outputScale, srsHash, vkHash, jointVkHash] = words(answer, 8);
  return {
    verifier: address(verifier),
    jointVerifier: address(jointVerifier),
    jointWindows: Number(number(jointWindows)),
    outputScale: Number(number(outputScale)),
    srsHash: `0x${srsHash}`,
    vkHash: `0x${vkHash}`,
    jointVkHash: `0x${jointVkHash}`,
  };
}

/** Number of the newest round and the end of its window in Unix seconds; zeros where nothing was published. */
export function readFeedState(answer: string): { round: number; windowEnd: number } {
  const [round, windowEnd] = words(answer, 3);
  return { round: Number(number(round)), windowEnd: Number(number(windowEnd)) };
}

export function readRound(answer: string): Round {
  const [round, windowEnd, publishedAt, regime, probabilityHigh, volatility, modelId] = words(answer, 7);
  return {
    round: Number(number(round)),
    windowEnd: Number(number(windowEnd)),
    publishedAt: Number(number(publishedAt)),
    regime: number(regime) === 1n ? "high" : "low",
    probabilityHigh: number(probabilityHigh),
    volatility: number(volatility),
    modelId: `0x${modelId}`,
  };
}

/** Whether two hex strings are the same bytes, with or without 0x and in any case. */
export function sameHex(one: string, other: string): boolean {
  return digits(one) === digits(other);
}

function digits(hex: string): string {
  return hex.replace(/^0x/, "").toLowerCase();
}

function bytes32(hex: string): string {
  return digits(hex).padStart(WORD, "0");
}

function word(value: bigint): string {
  return value.toString(16).padStart(WORD, "0");
}

function words(answer: string, count: number): string[] {
  const found = digits(answer);
  if (found.length !== count * WORD) throw new UnexpectedAnswer(`an answer of ${found.length / 2} bytes`);
  return Array.from({ length: count }, (_, i) => found.slice(i * WORD, (i + 1) * WORD));
}

function number(found: string | undefined): bigint {
  return BigInt(`0x${found ?? "0"}`);
}

function address(found: string | undefined): string {
  return `0x${(found ?? "").slice(24)}`;
}
