// From what is known of the last day to what is drawn: one slot for every five minutes.

import type { Candle, JudgedWindow, Origin, Prediction, Regime } from "../api/types";

/** What was forecast in a slot's minutes, the newest of them, and what came of it. */
export interface Slot {
  /** Start of the slot, ms UTC. */
  at: number;
  candle: Candle | null;
  forecast: { regime: Regime; volAnnualised: number; origin: Origin } | null;
  realised: { volAnnualised: number; origin: Origin } | null;
}

export interface Band {
  regime: Regime;
  origin: Origin;
  /** First and last slot, as indices. */
  first: number;
  last: number;
}

interface Day {
  start: number;
  slotMs: number;
  count: number;
  candles: Candle[];
  recent: Iterable<Prediction>;
  judged: Record<Origin, Iterable<JudgedWindow>>;
}

/** Live forecasts stand before back-tested ones, and later windows of a slot before earlier ones. */
export function slotsOf(day: Day): Slot[] {
  const slots: Slot[] = Array.from({ length: day.count }, (_, i) => ({
    at: day.start + i * day.slotMs,
    candle: null,
    forecast: null,
    realised: null,
  }));
  const slotAt = (ms: number): Slot | undefined => slots[Math.floor((ms - day.start) / day.slotMs)];
  for (const candle of day.candles) {
    const slot = slotAt(candle[0]);
    if (slot) slot.candle = candle;
  }
  for (const origin of ["backtest", "live"] as const) {
    for (const window of byEnd(day.judged[origin])) putJudged(slotAt(Date.parse(window.window_end)), window, origin);
  }
  for (const one of byEnd(day.recent)) {
    const slot = slotAt(Date.parse(one.window_end));
    if (!slot || one.status === "failed") continue;
    slot.forecast = { regime: one.regime, volAnnualised: one.vol_annualised, origin: "live" };
    const realised = one.outcome?.realised_vol_annualised;
    if (typeof realised === "number") slot.realised = { volAnnualised: realised, origin: "live" };
  }
  return slots;
}

/** Neighbours of one regime and origin become one band; where forecasts are missing there is none. */
export function bandsOf(slots: Slot[]): Band[] {
  const bands: Band[] = [];
  slots.forEach(({ forecast }, i) => {
    if (!forecast) return;
    const last = bands.at(-1);
    const { regime, origin } = forecast;
    if (last && last.last === i - 1 && last.regime === regime && last.origin === origin) last.last = i;
    else bands.push({ regime, origin, first: i, last: i });
  });
  return bands;
}

/** The last slot of every hour that has something to say, newest first. */
export function hoursOf(slots: Slot[]): Slot[] {
  const hours = new Map<number, Slot>();
  for (const slot of slots) {
    const hour = Math.floor(slot.at / 3_600_000);
    const before = hours.get(hour);
    if (!slot.candle && !slot.forecast) continue;
    hours.set(hour, {
      ...slot,
      forecast: slot.forecast ?? before?.forecast ?? null,
      realised: slot.realised ?? before?.realised ?? null,
    });
  }
  return [...hours.values()].reverse();
}

function putJudged(slot: Slot | undefined, window: JudgedWindow, origin: Origin): void {
  if (!slot) return;
  slot.forecast = { regime: window.regime, volAnnualised: window.vol_annualised, origin };
  const realised = window.realised_vol_annualised;
  if (realised !== null) slot.realised = { volAnnualised: realised, origin };
}

function byEnd<T extends { window_end: string }>(windows: Iterable<T>): T[] {
  return [...windows].sort((a, b) => Date.parse(a.window_end) - Date.parse(b.window_end));
}
