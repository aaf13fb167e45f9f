// What the dashboard knows, and how it asks for it.

import { apiPath, ApiError, ask, words } from "../api/client";
import type { Candles, Feed, History, JudgedWindow, Origin, Outcomes, Prediction } from "../api/types";
import { clockSecond } from "../page/format";
import { MarketClock } from "./clock";
import { isProved, type Life, lifeOf } from "./life";

const MINUTE = 60_000;
export const DAY = 1440 * MINUTE;
export const CANDLE = 5 * MINUTE;
/** Younger predictions are asked for again: their proof, transaction or outcome may still change. */
const UNSETTLED = 15 * MINUTE;
export const PIPELINE_ROWS = 4;
const LIVES_KEPT = 30;
const TABLE_ROWS = 10;

export class Known {
  readonly clock = new MarketClock();
  feed: Feed | null = null;
  feeds: string[] = [];
  latest: Prediction | null = null;
  /** The server's words, while it has no proved forecast. */
  nothingYet: string | null = null;
  /** Since when the server does not answer, and why. */
  silence: { since: string; why: string } | null = null;
  readonly recent = new Map<string, Prediction>();
  readonly lives = new Map<string, Life>();
  readonly judged: Record<Origin, Map<string, JudgedWindow>> = { live: new Map(), backtest: new Map() };
  candles: Candles | null = null;
  #recentIsWhole = false;

  newest(): Prediction[] {
    return [...this.recent.values()].sort(byWindow).reverse();
  }

  /** The newest windows; where none of them is proved, the newest that is stands last. */
  newestLives(): Life[] {
    const all = this.#livesByWindow();
    const shown = all.slice(0, PIPELINE_ROWS);
    const proved = shown.some(isProved) ? undefined : all.find(isProved);
    return proved ? [...shown.slice(0, -1), proved] : shown;
  }

  /** Does the asking, and keeps account of whether the server answers. */
  async attempt(asking: () => Promise<void>): Promise<void> {
    try {
      await asking();
      this.silence = null;
    } catch (error) {
      const refused = error instanceof ApiError && error.status >= 400 && error.status < 500;
      this.silence = refused ? null : (this.silence ?? { since: clockSecond(Date.now()), why: words(error) });
    }
  }

  async askFeeds(wanted: string | null): Promise<void> {
    const { feeds } = await ask<{ feeds: Feed[] }>(apiPath(["feeds"]));
    this.feeds = feeds.map((one) => one.feed);
    this.feed = feeds.find((one) => one.feed === wanted) ?? feeds[0] ?? null;
    if (this.feed) this.clock.heard(Date.parse(this.feed.market_time), this.feed.market_speed ?? 1);
  }

  async askLatest(): Promise<void> {
    if (!this.feed) return;
    const url = apiPath(["feeds", this.feed.feed, "latest"], { include: "proof,attempts,attestations" });
    try {
      // From the server, not from a cache: what a cache kept may have been signed or sent since.
      this.latest = await ask<Prediction>(url, { cache: this.latest ? "no-cache" : "reload" });
      this.nothingYet = null;
      this.keep(this.latest);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 503)) throw error;
      this.nothingYet = error.message;
    }
  }

  /** The predictions since the last judged window, or those that may have changed since they were asked for. */
  async askRecent(): Promise<void> {
    const now = this.clock.now();
    if (!this.feed || now === null) return;
    const [newest] = this.newest();
    const wholeAgo = now - (this.feed.horizon_minutes + 30) * MINUTE;
    const start = this.#recentIsWhole && newest ? Math.max(wholeAgo, end(newest.window_end) - UNSETTLED) : wholeAgo;
    const query = { start: new Date(start).toISOString(), limit: 1000 };
    const page = await ask<History>(apiPath(["feeds", this.feed.feed, "predictions"], query));
    for (const one of page.predictions) this.recent.set(one.window_end, one);
    this.#recentIsWhole = true;
    forget(this.recent, wholeAgo, TABLE_ROWS);
  }

  /** One prediction with all its parts, for the pipeline. */
  async askLife(id: string): Promise<void> {
    const found = await ask<Prediction>(apiPath(["predictions", id]));
    this.keep(found);
  }

  async askCandles(): Promise<void> {
    const now = this.clock.now();
    if (!this.feed || now === null) return;
    const start = new Date(dayStart(now)).toISOString();
    const query = { start, end: new Date(now).toISOString(), step: CANDLE / 1000 };
    this.candles = await ask<Candles>(apiPath(["feeds", this.feed.feed, "candles"], query));
  }

  async askJudged(origin: Origin): Promise<void> {
    const now = this.clock.now();
    if (!this.feed || now === null) return;
    const start = new Date(dayStart(now)).toISOString();
    const query = { start, origin, step: CANDLE / MINUTE, limit: 1000 };
    const page = await ask<Outcomes>(apiPath(["feeds", this.feed.feed, "outcomes"], query));
    const found = this.judged[origin];
    for (const one of page.outcomes) found.set(one.window_end, one);
    forget(found, dayStart(now));
  }

  /** What is shown of a prediction from now on. */
  keep(prediction: Prediction): void {
    this.lives.set(prediction.id, lifeOf(prediction));
    const before = this.recent.get(prediction.window_end);
    this.recent.set(prediction.window_end, { ...before, ...prediction });
    for (const old of this.#livesByWindow().slice(LIVES_KEPT)) this.lives.delete(old.id);
  }

  #livesByWindow(): Life[] {
    return [...this.lives.values()].sort((a, b) => end(b.windowEnd) - end(a.windowEnd));
  }
}

/** The day shown ends with the candle that is being made. */
export function dayStart(now: number): number {
  return Math.ceil(now / CANDLE) * CANDLE - DAY;
}

const end = (windowEnd: string): number => Date.parse(windowEnd);
const byWindow = (a: Prediction, b: Prediction): number => end(a.window_end) - end(b.window_end);

function forget(windows: Map<string, unknown>, before: number, least = 0): void {
  for (const windowEnd of [...windows.keys()].sort()) {
    if (windows.size <= least || end(windowEnd) >= before) return;
    windows.delete(windowEnd);
  }
}
