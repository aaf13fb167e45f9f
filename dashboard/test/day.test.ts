import { describe, expect, it } from "vitest";
import type { JudgedWindow, Prediction } from "../src/api/types";
import { bandsOf, hoursOf, slotsOf } from "../src/charts/day";
import { summary } from "../src/dashboard/day";

const START = Date.parse("2026-11-21T00:00:00Z");
const at = (minute: number): string => new Date(START + minute * 60_000).toISOString();
const predicted = (minute: number, regime: "low" | "high", vol: number, status = "proved"): Prediction =>
  ({ window_end: at(minute), regime, vol_annualised: vol, status }) as Prediction;
const judged = (minute: number, regime: "low" | "high", vol: number): JudgedWindow => ({
  window_end: at(minute),
  id: null,
  p_high: 0.5,
  regime,
  vol_annualised: vol,
  realised_vol_annualised: vol + 0.1,
  realised_regime: regime,
  right: true,
  missing: null,
});
const day = (recent: Prediction[], backtest: JudgedWindow[] = []) =>
  slotsOf({
    start: START,
    slotMs: 300_000,
    count: 24,
    recent,
    judged: { live: [], backtest },
    candles: [
      [START, 1, 2, 0.5, 1.5, 10],
      [START + 300_000, 1.5, 3, 1, 2.5, 10],
    ],
  });

describe("slotsOf", () => {
  it("keeps the newest forecast of a slot", () => {
    expect(day([predicted(4, "high", 0.5), predicted(1, "low", 0.2)])[0]?.forecast).toMatchObject({
      regime: "high",
      volAnnualised: 0.5,
    });
  });

  it("prefers a live forecast to a back-tested one, and marks which it is", () => {
    const slots = day([predicted(1, "high", 0.5)], [judged(0, "low", 0.2), judged(5, "low", 0.2)]);
    expect(slots.slice(0, 2).map(({ forecast }) => forecast?.origin)).toEqual(["live", "backtest"]);
    expect(slots[1]?.realised).toEqual({ volAnnualised: expect.closeTo(0.3), origin: "backtest" });
  });

  it("leaves out a forecast that failed", () => {
    expect(day([predicted(1, "high", 0.5, "failed")])[0]?.forecast).toBeNull();
  });
});

describe("bandsOf", () => {
  it("joins neighbours of one regime, and leaves gaps where no forecast is", () => {
    const slots = day([
      predicted(0, "low", 0.2),
      predicted(5, "low", 0.2),
      predicted(15, "low", 0.2),
      predicted(20, "high", 0.5),
    ]);
    expect(bandsOf(slots)).toEqual([
      { regime: "low", origin: "live", first: 0, last: 1 },
      { regime: "low", origin: "live", first: 3, last: 3 },
      { regime: "high", origin: "live", first: 4, last: 4 },
    ]);
  });
});

describe("the text alternative", () => {
  it("has the last of every hour, the newest first", () => {
    const hours = hoursOf(day([predicted(10, "low", 0.2), predicted(70, "high", 0.5)]));
    expect(hours.map(({ forecast }) => forecast?.regime)).toEqual(["high", "low"]);
  });

  it("says price and volatility in words", () => {
    expect(summary(day([predicted(10, "low", 0.2), predicted(70, "high", 0.5)]))).toBe(
      "The last day. Price 1.5 to 2.5, last 2.5. Forecast volatility 20.0 % to 50.0 %, last 50.0 %; high regime in 50 % of it. A table follows.",
    );
  });
});
