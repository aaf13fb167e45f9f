import { describe, expect, it } from "vitest";
import {
  callGetRound,
  callModel,
  callVerifyProof,
  readBool,
  readFeedState,
  readModel,
  readRound,
  sameHex,
  UnexpectedAnswer,
} from "../src/chain/abi";

const word = (value: string): string => value.padStart(64, "0");

describe("callVerifyProof", () => {
  // The expected bytes are eth_abi's, of the same arguments.
  it("encodes a proof that does not fill its last word as the ABI says", () => {
    const proof = `0x${"0102030405".repeat(7)}`;
    const instances = [word("1"), "f".repeat(64), word("3")].map((one) => `0x${one}`);
    const expected = [
      word("40"),
      word("a0"),
      word("23"),
      "0102030405".repeat(6) + "0102",
      "030405".padEnd(64, "0"),
      word("3"),
      word("1"),
      "f".repeat(64),
      word("3"),
    ];
    expect(callVerifyProof(proof, instances)).toBe(`0x1e8e1e13${expected.join("")}`);
  });

  it("adds no padding to a proof of whole words", () => {
    expect(callVerifyProof(`0x${"ab".repeat(64)}`, [])).toBe(
      `0x1e8e1e13${word("40")}${word("a0")}${word("40")}${"ab".repeat(64)}${word("0")}`,
    );
  });
});

describe("calls with fixed arguments", () => {
  it("takes a model id with and without 0x", () => {
    const id = "79".repeat(32);
    expect(callModel(id)).toBe(`0xee19e84b${id}`);
    expect(callModel(`0x${id}`)).toBe(callModel(id));
  });

  it("puts the round after the feed", () => {
    expect(callGetRound(`0x${"45".repeat(32)}`, 300)).toBe(`0xcc65a3ba${"45".repeat(32)}${word("12c")}`);
  });
});

describe("answers", () => {
  it("reads a round with its 18 decimals", () => {
    const answer =
      ["7", "6734d1c8", "6734d1ca", "1", "b1a2bc2ec50000", "4fefa17b7240000"].map(word).join("") + "79".repeat(32);
    expect(readRound(`0x${answer}`)).toEqual({
      round: 7,
      windowEnd: 0x6734d1c8,
      publishedAt: 0x6734d1ca,
      regime: "high",
      probabilityHigh: 50000000000000000n,
      volatility: 360000000000000000n,
      modelId: `0x${"79".repeat(32)}`,
    });
  });

  it("reads a model's verifiers, scale and keys", () => {
    const [verifier, joint] = ["aa".repeat(20), "bb".repeat(20)];
    const answer = [verifier, joint, "a", "18", "1", "2", "3", "4"].map(word).join("");
    expect(readModel(`0x${answer}`)).toMatchObject({
      verifier: `0x${verifier}`,
      jointVerifier: `0x${joint}`,
      jointWindows: 10,
      outputScale: 24,
      vkHash: `0x${word("2")}`,
      jointVkHash: `0x${word("3")}`,
    });
  });

  it("reads the newest round of a feed without rounds as zeros", () => {
    expect(readFeedState(`0x${word("0").repeat(3)}`)).toEqual({ round: 0, windowEnd: 0 });
  });

  it("refuses an answer in another form", () => {
    expect(() => readBool("0x")).toThrow(UnexpectedAnswer);
    expect(() => readRound(`0x${word("1")}`)).toThrow(UnexpectedAnswer);
  });

  it("compares hex without regard to case and prefix", () => {
    expect(sameHex("0xABcd", "abCD")).toBe(true);
    expect(sameHex("0xabcd", "0xabce")).toBe(false);
  });
});
