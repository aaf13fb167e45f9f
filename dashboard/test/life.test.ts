import { describe, expect, it } from "vitest";
import type { Chain, Prediction, StreamEvents } from "../src/api/types";
import { lifeOf, moved, stepsOf, type Life } from "../src/dashboard/life";

const CHAIN = { threshold: 2, publishing: null } as Chain;
const WINDOW = { feed: "btc-usdt-4h", id: "abc", window_end: "2026-11-21T15:41:00Z" };
const FORECAST = {
  ...WINDOW,
  regime: "high",
  p_high: 0.85,
  vol_annualised: 0.47,
  model_id: "m",
  status: "predicted",
} as const;
const PROVED = {
  ...FORECAST,
  status: "proved",
  witness_seconds: 0.01,
  prove_seconds: 1.02,
  verify_seconds: 0.03,
  vk_hash: "",
  commitment: "",
} as const;
const transaction = (state: "sent" | "included" | "confirmed"): StreamEvents["transaction"] => ({
  ...WINDOW,
  chain_id: 31337,
  contract: "0x",
  tx_hash: "0x",
  state,
  block_number: 15,
  gas_used: state === "sent" ? null : 474_900,
  ours: true,
});
const attestation = (attester: string, outcome: "signed" | "refused"): StreamEvents["attestation"] => ({
  ...WINDOW,
  attester,
  outcome,
  signer: null,
});
const states = (life: Life, newest = true): string =>
  stepsOf(life, CHAIN, newest)
    .map(({ state }) => state)
    .join(" ");

describe("a window's steps", () => {
  it("move with the stream's events from the queue to the chain", () => {
    let life = moved(undefined, "prediction", FORECAST);
    expect(states(life)).toBe("running waiting waiting waiting waiting waiting");
    life = moved(life, "proof", PROVED);
    expect(states(life)).toBe("done done done done running waiting");
    life = moved(
      moved(life, "attestation", attestation("own", "signed")),
      "attestation",
      attestation("other", "signed"),
    );
    expect(states(life)).toBe("done done done done done waiting");
    life = moved(life, "transaction", transaction("sent"));
    expect(states(life)).toBe("done done done done done running");
    life = moved(life, "round", transaction("confirmed"));
    expect(states(life)).toBe("done done done done done done");
    expect(stepsOf(life, CHAIN, true).map(({ words }) => words)).toEqual([
      "done",
      "0.01 s",
      "1.02 s",
      "0.03 s",
      "2 signed",
      "475 k gas",
    ]);
  });

  it("do not go back when an event comes again", () => {
    const life = moved(moved(moved(undefined, "prediction", FORECAST), "proof", PROVED), "prediction", FORECAST);
    expect(life.status).toBe("proved");
  });

  it("say how many signatures are missing once a later window is proved", () => {
    const life = moved(moved(undefined, "proof", PROVED), "attestation", attestation("own", "signed"));
    expect(stepsOf(life, CHAIN, false)[4]).toMatchObject({ state: "failed", words: "only 1 of 2" });
  });

  it("fail at the first that was not made", () => {
    const life = moved(moved(undefined, "prediction", FORECAST), "failure", {
      ...WINDOW,
      model_id: "m",
      status: "failed",
      reason: "shed",
    });
    expect(states(life)).toBe("failed skipped skipped skipped skipped skipped");
  });

  it("end at the proof where there is no chain", () => {
    const life = moved(undefined, "proof", PROVED);
    expect(stepsOf(life, null, true).map(({ state }) => state)).toEqual([
      "done",
      "done",
      "done",
      "done",
      "skipped",
      "skipped",
    ]);
  });

  it("are read from the last try of a prediction", () => {
    const attempt = {
      queue_seconds: 0.4,
      witness_seconds: 0.01,
      prove_seconds: 0.5,
      verify_seconds: 0.02,
      reason: null,
    };
    const prediction = {
      ...FORECAST,
      status: "proving",
      attempts: [{ ...attempt, queue_seconds: 9 }, attempt],
    } as unknown as Prediction;
    expect(lifeOf(prediction)).toMatchObject({ queue: 0.4, prove: 0.5 });
  });
});
