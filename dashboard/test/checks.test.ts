import { describe, expect, it } from "vitest";
import type { Chain, Prediction, Proof } from "../src/api/types";
import { SELECTORS } from "../src/chain/abi";
import { checkOnChain, type Check } from "../src/chain/checks";
import { CallReverted, type ChainReader } from "../src/chain/rpc";

const word = (value: number | bigint | string): string =>
  (typeof value === "string" ? value : value.toString(16)).padStart(64, "0");
const WINDOW_END = Date.parse("2026-11-21T15:37:00Z") / 1000;
const MODEL = "79".repeat(32);
const KEY = "96".repeat(32);
const PROOF = {
  proof: `0x${"14".repeat(64)}`,
  instances: ["0x00", "0x00", "0x00"],
  vk_hash: KEY,
  slot: 0,
  members: [] as string[],
} as Proof;
const PREDICTION = {
  window_end: "2026-11-21T15:37:00Z",
  model_id: MODEL,
  regime: "low",
  p_high: 0.5,
  vol_annualised: 1,
  onchain: { state: "confirmed" },
} as Prediction;
const CHAIN = { oracle: "0xorac1e", feed_id: `0x${"45".repeat(32)}` } as Chain;

/** A chain whose feed has these rounds: window ends, the oldest first, from round `first` on. */
function chainWith(answers: Partial<Record<keyof typeof SELECTORS, string>>, ends: number[], first = 1): ChainReader {
  const round = (number: number): string =>
    `0x${[number, ends[number - first] ?? 0, 0, 0, 5n * 10n ** 17n, 10n ** 18n].map(word).join("")}${MODEL}`;
  const standing: Record<string, string> = {
    registry: `0x${word("aa".repeat(20))}`,
    stateOf: `0x${word(2)}`,
    model: `0x${["bb".repeat(20), "cc".repeat(20), 10, 24, 1, KEY, "77".repeat(32), 4].map(word).join("")}`,
    verifyProof: `0x${word(1)}`,
    feedState: `0x${[first + ends.length - 1, ends.at(-1) ?? 0, 0].map(word).join("")}`,
    ...answers,
  };
  return {
    through: "a test",
    call: async (_, data) => {
      const name = Object.entries(SELECTORS).find(([, selector]) => data.startsWith(`0x${selector}`))?.[0] ?? "";
      if (name === "getRound") return round(Number(BigInt(`0x${data.slice(-64)}`)));
      if (standing[name] === "reverts") throw new CallReverted("reverted");
      return standing[name] ?? "0x";
    },
  };
}

async function checked(reader: ChainReader, proof = PROOF, prediction = PREDICTION): Promise<Check[]> {
  const found: Check[] = [];
  for await (const check of checkOnChain({ prediction, proof, chain: CHAIN, reader })) found.push(check);
  return found;
}

const minutes = (count: number): number[] => Array.from({ length: count }, (_, i) => WINDOW_END - (count - 1 - i) * 60);

describe("checkOnChain", () => {
  it("holds where contracts and server say the same", async () => {
    expect((await checked(chainWith({}, minutes(300)))).map(({ holds }) => holds)).toEqual([
      true,
      true,
      true,
      true,
      true,
    ]);
  });

  it("finds the round of an older window among those that are kept", async () => {
    const ends = minutes(400).map((end) => end + 200 * 60);
    expect((await checked(chainWith({}, ends))).at(-1)).toMatchObject({
      holds: true,
      words: expect.stringContaining("round 200:"),
    });
  });

  it("leaves the round open where the oracle keeps it no longer", async () => {
    const ends = minutes(400).map((end) => end + 300 * 60);
    expect((await checked(chainWith({}, ends))).at(-1)).toMatchObject({ holds: null });
  });

  it("fails where the verifier reverts", async () => {
    const [, , proof] = await checked(chainWith({ verifyProof: "reverts" }, minutes(3)));
    expect(proof).toMatchObject({ holds: false, words: expect.stringContaining("rejects") });
  });

  it("fails where the server shows another probability than the proof and the round", async () => {
    const found = await checked(chainWith({}, minutes(3)), PROOF, { ...PREDICTION, p_high: 0.51 });
    expect(found.map(({ holds }) => holds)).toEqual([true, true, true, false, false]);
  });

  it("asks the joint verifier's key for a joint proof", async () => {
    const joint = { ...PROOF, members: ["one", "two"], vk_hash: "77".repeat(32) };
    expect((await checked(chainWith({}, minutes(3)), joint)).map(({ holds }) => holds)).toEqual([
      true,
      true,
      true,
      true,
      true,
    ]);
  });

  it("ends where the registry does not know the model", async () => {
    expect(await checked(chainWith({ stateOf: `0x${word(0)}` }, minutes(3)))).toMatchObject([{ holds: false }]);
  });

  it("throws where no oracle is", async () => {
    await expect(checked(chainWith({ registry: "0x" }, minutes(3)))).rejects.toThrow("no oracle is at 0xorac1e");
  });
});
