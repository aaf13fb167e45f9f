// The dashboard. The stream says when something has happened, and what is shown is then asked for; what the stream does
// not tell (venues, candles, track record) is asked for every so often. While the stream is away, all of it is.

import "./styles/base.css";
import "./styles/dashboard.css";
import { follow } from "./api/stream";
import type { StreamEvents, StreamKind } from "./api/types";
import { showCurls } from "./dashboard/bots";
import { DaySection } from "./dashboard/day";
import { moved } from "./dashboard/life";
import { showFeed, showFeedChoice, showForecast, showTime } from "./dashboard/now";
import { showAttesters, showChain, showVenues } from "./dashboard/parties";
import { showPipeline, showPredictions, showStream } from "./dashboard/pipeline";
import { RecordSection } from "./dashboard/record";
import { Known, PIPELINE_ROWS } from "./dashboard/state";
import { byId } from "./page/dom";
import { copyOnClick } from "./page/hash";
import { themeToggle } from "./page/theme";

const LATEST_EVERY_MS = 2_000;
const REST_EVERY_MS = 15_000;
const RECORD_EVERY_MS = 60_000;
/** Events come in bursts; one question answers all of a burst. */
const GATHER_MS = 120;

const wanted = new URLSearchParams(location.search).get("feed");
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

const known = new Known();
const day = new DaySection();
const record = new RecordSection(known);
let streaming = false;
let away = false;

async function refreshLatest(): Promise<void> {
  await known.attempt(() => known.askLatest());
  showForecast(known);
  showAttesters(known);
  showWindows();
  showTime(known);
}

async function refreshRest(): Promise<void> {
  await known.attempt(() => known.askFeeds(wanted));
  // What fails here stays as it was and is asked for again.
  await Promise.allSettled([known.askRecent(), known.askCandles()]);
  if (!known.feed) return;
  showFeedChoice(known);
  showFeed(known);
  showVenues(known.feed);
  showAttesters(known);
  showWindows();
  day.show(known);
  showTime(known);
}

async function refreshRecord(): Promise<void> {
  await Promise.allSettled([record.refresh(), known.askJudged("live"), known.askJudged("backtest")]);
  day.show(known);
}

function showWindows(): void {
  showPipeline(known);
  showPredictions(known);
  showChain(known);
}

function heard<K extends StreamKind>(kind: K, event: StreamEvents[K]): void {
  if (kind === "outcome") return void recordSoon();
  known.lives.set(event.id, moved(known.lives.get(event.id), kind, event));
  showPipeline(known);
  // A forecast is shown once it is proved, and it is the whole of it that is then asked for.
  if (kind === "prediction" || kind === "failure") {
    unread.add(event.id);
    livesSoon();
  } else latestSoon();
  if (kind === "round") restSoon();
}

/** Those of which the stream has said that they are there, and that were not asked for yet. */
const unread = new Set<string>();

async function readLives(): Promise<void> {
  // After an absence there may be many; the pipeline shows the newest.
  const ids = [...unread].slice(-PIPELINE_ROWS);
  unread.clear();
  await Promise.all(ids.map((id) => known.attempt(() => known.askLife(id))));
  showWindows();
}

/** Runs once for all calls within a while, at its end. */
function gathered(action: () => unknown, waitMs = GATHER_MS): () => void {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    setTimeout(() => {
      due = false;
      action();
    }, waitMs);
  };
}

const latestSoon = gathered(refreshLatest);
const restSoon = gathered(refreshRest, 1_000);
const recordSoon = gathered(refreshRecord, 3_000);
const livesSoon = gathered(readLives, 5_000);

async function everySecond(): Promise<void> {
  // Just after each second of the market, since a tick at its very edge would now and then skip one.
  for (; ; await pause(1_020 - ((known.clock.now() ?? 0) % 1_000))) showTime(known);
}

async function every(ms: number, action: () => Promise<void>): Promise<void> {
  for (; ; await pause(ms)) await action();
}

async function start(): Promise<void> {
  void everySecond();
  for (
    await known.attempt(() => known.askFeeds(wanted));
    !known.feed;
    await known.attempt(() => known.askFeeds(wanted))
  ) {
    showTime(known);
    await pause(LATEST_EVERY_MS);
  }
  const { feed } = known.feed;
  showCurls(feed);
  await refreshLatest();
  await refreshRest();
  await Promise.allSettled(
    known
      .newest()
      .slice(0, PIPELINE_ROWS)
      .map((one) => known.askLife(one.id)),
  );
  showWindows();
  follow(feed, {
    heard,
    reset: () => void refreshLatest().then(refreshRest),
    connected: (yes) => {
      showStream((streaming = yes));
      away ||= !yes;
      // Between what was asked for and the stream's beginning something may have happened.
      if (yes) latestSoon();
      if (yes && away) restSoon();
    },
  });
  void every(RECORD_EVERY_MS, refreshRecord);
  void every(REST_EVERY_MS, refreshRest);
  void every(LATEST_EVERY_MS, async () => {
    if (!streaming || !known.latest) await refreshLatest();
  });
}

themeToggle(() => day.paint());
copyOnClick();
byId<HTMLSelectElement>("feed").addEventListener("change", (event) => {
  location.search = new URLSearchParams({ feed: (event.target as HTMLSelectElement).value }).toString();
});
showPipeline(known);
showPredictions(known);
// Of the same size as with the feed's name, which is not known yet.
showCurls(wanted ?? "btc-usdt-4h");
void start();
