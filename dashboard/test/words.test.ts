import { describe, expect, it } from "vitest";
import type { Feed, Prediction, TrackRecord, Venue } from "../src/api/types";
import { calibrationWords } from "../src/dashboard/calibration";
import { MarketClock } from "../src/dashboard/clock";
import { notice } from "../src/dashboard/now";
import { venueWords } from "../src/dashboard/parties";
import { recordWords } from "../src/dashboard/record";
import { Known } from "../src/dashboard/state";
import { chainVerdict } from "../src/evidence/verifying";
import { duration } from "../src/page/format";

const known = (parts: Partial<Known>): Known => Object.assign(new Known(), { feed: { chain: null } as Feed }, parts);
const LATEST = { window_end: "2026-11-21T15:41:00Z" } as Prediction;

describe("the notice", () => {
  it("is good while the newest forecast is young", () => {
    expect(notice(known({ latest: LATEST }), 20_000)).toEqual(["good", "Up to date, and proved."]);
  });

  it("calls a forecast stale after three minutes", () => {
    expect(notice(known({ latest: LATEST }), 180_001)[1]).toContain("Stale");
  });

  it("says since when the server is silent, before anything else", () => {
    const silent = known({ latest: LATEST, silence: { since: "15:45:00", why: "no connection" }, nothingYet: "none" });
    expect(notice(silent, 500_000)).toEqual([
      "bad",
      "The server does not answer since 15:45:00 UTC (no connection). The last known values are shown.",
    ]);
  });

  it("says why updates do not reach the chain", () => {
    const publishing = { outcome: "balance-too-low", detail: "0.01 ETH are left", at: "" };
    const feed = { chain: { attesting: null, publishing } } as Feed;
    expect(notice(known({ latest: LATEST, feed }), 0)[1]).toContain("balance-too-low: 0.01 ETH are left");
  });
});

describe("words for others", () => {
  it("say everything that is wrong with a venue", () => {
    const venue: Venue = {
      venue: "kraken",
      symbol: "BTC/USDT",
      state: "resting",
      reason: "rate limit",
      rests_until: "2026-11-21T15:50:00Z",
      clock_skew_seconds: -12.34,
      last_candle: "2026-11-21T15:26:00Z",
      gaps: [["2026-11-20T10:00:00Z", "2026-11-20T12:00:00Z"]],
      missing_minutes: 120,
      revisions: 1,
    };
    expect(venueWords(venue)).toBe(
      "last candle 15:26 · rate limit · asked again at 15:50:00 · its clock is 12.3 s behind · 2 h of the week missing " +
        "(1 gap, the newest 2026-11-20 10:00 to 2026-11-20 12:00) · 1 candle changed afterwards",
    );
  });

  it("mark a back-test, and say why it is shown", () => {
    const record = {
      origin: "backtest",
      windows: 9842,
      pending: 0,
      left_out: 120,
      points_above_better_persistence: 8.14,
    } as TrackRecord;
    expect(recordWords(record, { windows: 0 } as TrackRecord)).toEqual([
      "No live forecast of this time has met its outcome yet: that takes four hours. Back-test, on stored candles: 9,842 windows, " +
        "120 left out for missing minutes. 8.1 points above the better persistence.",
      "warn",
    ]);
  });

  it("tell of empty bins nothing", () => {
    const bins = [
      { from: 0, to: 0.1, windows: 0, stated: null, observed: null },
      { from: 0.1, to: 0.2, windows: 3, stated: 0.15, observed: 0.1 },
    ];
    expect(calibrationWords(bins)).toBe("Calibration: 15 % stated, 10 % came out high, 3 windows");
  });

  it("name the first check of the chain that fails", () => {
    const checks = [
      { name: "The model", holds: true, words: "active" },
      { name: "The proof", holds: false, words: "rejected" },
      { name: "The round", holds: null, words: "not on chain" },
    ];
    expect(chainVerdict(checks, "a wallet")).toEqual([
      "✗ It does not hold. This fails: “The proof”: rejected (asked through a wallet).",
      "bad",
    ]);
  });
});

describe("time", () => {
  it("is written in the two largest units", () => {
    expect([5_900, 65_000, 3_700_000, 90_000_000].map(duration)).toEqual(["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
  });

  it("runs with the market's speed between answers, and does not stutter with them", () => {
    const clock = new MarketClock();
    clock.heard(1_000_000, 20, 0);
    expect(clock.now(1_000)).toBe(1_020_000);
    clock.heard(1_021_000, 20, 1_000);
    expect(clock.now(1_000)).toBe(1_020_000);
    clock.heard(1_200_000, 20, 1_000);
    expect(clock.now(1_000)).toBe(1_200_000);
  });
});
