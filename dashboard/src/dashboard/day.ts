// The section of the last day: the chart, the values under the pointer, and all of it as a table.

import { DayChart } from "../charts/chart";
import { hoursOf, type Slot, slotsOf } from "../charts/day";
import { byId, cell, fill, made, setText, setTexts } from "../page/dom";
import { clockMinute, NONE, orNone, percent } from "../page/format";
import { CANDLE, DAY, dayStart, type Known } from "./state";

const HOURS = 24;

export class DaySection {
  readonly #chart: DayChart;
  #slots: Slot[] = [];

  constructor() {
    this.#chart = new DayChart(byId("chart"), (slot) => this.#showValues(slot));
  }

  paint(): void {
    this.#chart.paint();
  }

  show(known: Known): void {
    const now = known.clock.now();
    if (now === null || (!known.candles && !known.recent.size)) return;
    this.#slots = slotsOf({
      start: dayStart(now),
      slotMs: CANDLE,
      count: DAY / CANDLE,
      candles: known.candles?.candles ?? [],
      recent: known.recent.values(),
      judged: { live: known.judged.live.values(), backtest: known.judged.backtest.values() },
    });
    this.#chart.show(this.#slots);
    this.#showValues(null);
    fill(byId("day-rows"), hoursOf(this.#slots).slice(0, HOURS).map(hourRow));
    byId("chart").setAttribute("aria-label", summary(this.#slots));
    setTexts({ "candles-venue": known.candles ? `${known.candles.venue}, 5 minutes, UTC` : "UTC" });
  }

  /** Of the slot under the pointer, else of the newest with a candle. */
  #showValues(pointed: Slot | null): void {
    const slot = pointed ?? this.#slots.findLast(({ candle }) => candle);
    setText(byId("chart-values"), slot ? valuesOf(slot) : NONE);
  }
}

function valuesOf({ at, candle, forecast, realised }: Slot): string {
  const prices = candle
    ? ["open", "high", "low", "close"].map((name, i) => `${name} ${price(candle[i + 1] ?? 0)}`)
    : [];
  const said = forecast
    ? [`${forecast.regime}, forecast ${percent(forecast.volAnnualised)}${marked(forecast.origin)}`]
    : [];
  const came = realised ? [`realised ${percent(realised.volAnnualised)}${marked(realised.origin)}`] : [];
  return [clockMinute(at), ...prices, ...said, ...came].join("  ");
}

function hourRow({ at, candle, forecast, realised }: Slot): HTMLTableRowElement {
  const head = made("th", "", `${clockMinute(at).slice(0, 2)}:00`);
  head.scope = "row";
  return made(
    "tr",
    "",
    head,
    cell(orNone(candle?.[4], price), "number"),
    cell(forecast?.regime ?? NONE, forecast ? `regime-word ${forecast.regime}` : ""),
    cell(orNone(forecast?.volAnnualised, percent1), "number"),
    cell(orNone(realised?.volAnnualised, percent1), "number"),
    cell(forecast ? (forecast.origin === "live" ? "live" : "back-test") : NONE),
  );
}

/** What the drawing says, for those who cannot see it. */
export function summary(slots: Slot[]): string {
  const closes = slots.flatMap(({ candle }) => (candle ? [candle[4]] : []));
  const vols = slots.flatMap(({ forecast }) => (forecast ? [forecast.volAnnualised] : []));
  const high = slots.filter(({ forecast }) => forecast?.regime === "high").length;
  const parts = ["The last day."];
  if (closes.length) parts.push(`Price ${ranged(closes, price)}.`);
  if (vols.length)
    parts.push(
      `Forecast volatility ${ranged(vols, percent1)}; high regime in ${percent(high / vols.length, 0)} of it.`,
    );
  return `${parts.join(" ")} A table follows.`;
}

function ranged(values: number[], words: (value: number) => string): string {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return `${words(least)} to ${words(most)}, last ${words(values.at(-1) ?? most)}`;
}

const percent1 = (value: number): string => percent(value);
const marked = (origin: string): string => (origin === "backtest" ? " (back-test)" : "");
const price = (value: number): string =>
  value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 4 : value < 1000 ? 2 : 0, useGrouping: false });
