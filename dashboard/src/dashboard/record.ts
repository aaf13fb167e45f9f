// The track record: what came of the forecasts, beside what persistence would have said. Live and back-test are never
// mixed, and each says which it is.

import { apiPath, ask, words } from "../api/client";
import type { DayScores, Origin, Scores, TrackRecord } from "../api/types";
import { byId, cell, fill, made, setState, setTexts } from "../page/dom";
import { count, NONE, orNone, percent, plural } from "../page/format";
import { calibrationDiagram } from "./calibration";
import type { Known } from "./state";

const DAY_MS = 86_400_000;

interface Score {
  key: keyof Scores;
  name: string;
  words: (value: number) => string;
}

// Of a few windows R² and QLIKE can be of any size, and the table must still fit a phone.
const three = (value: number): string => (Math.abs(value) < 10 ? value.toFixed(3) : value.toPrecision(3));
const SCORES: readonly Score[] = [
  { key: "accuracy", name: "Right", words: (value) => percent(value) },
  { key: "balanced_accuracy", name: "Balanced accuracy", words: (value) => percent(value) },
  { key: "f1", name: "F1", words: three },
  { key: "auc", name: "AUC", words: three },
  { key: "brier", name: "Brier score", words: three },
  { key: "ece", name: "Calibration error", words: three },
  { key: "r2_log_vol", name: "R² of log vol", words: three },
  { key: "qlike", name: "QLIKE", words: three },
];

export class RecordSection {
  readonly #known: Known;
  /** The visitor's choice; until then live, or the back-test while live has nothing. */
  #chosen: Origin | null = null;
  #asked = 0;

  constructor(known: Known) {
    this.#known = known;
    byId("record-origin").addEventListener("change", () => {
      this.#chosen = checked("origin") as Origin;
      void this.refresh();
    });
    byId("record-days").addEventListener("change", () => void this.refresh());
  }

  async refresh(): Promise<void> {
    const turn = (this.#asked += 1);
    try {
      const live = await this.#ask("live");
      const origin = this.#chosen ?? (live.windows ? "live" : "backtest");
      const shown = origin === "live" ? live : await this.#ask("backtest");
      // An answer that another choice has overtaken is not shown.
      if (turn === this.#asked) this.#show(shown, live);
    } catch (error) {
      if (turn === this.#asked)
        setState(byId("record-words"), `The track record cannot be read: ${words(error)}`, "warn");
    }
  }

  #ask(origin: Origin): Promise<TrackRecord> {
    const [days, now] = [Number(checked("days")), this.#known.clock.now()];
    const start = days && now !== null ? new Date(now - days * DAY_MS).toISOString() : null;
    return ask<TrackRecord>(apiPath(["feeds", this.#known.feed?.feed ?? "", "track-record"], { origin, start }));
  }

  #show(record: TrackRecord, live: TrackRecord): void {
    check("origin", record.origin);
    setTexts({ "record-model": record.model_name });
    const [text, kind] = recordWords(record, live);
    setState(byId("record-words"), text, kind);
    fill(
      byId("scores"),
      SCORES.map((score) => scoreRow(score, record)),
    );
    fill(byId("calibration"), [calibrationDiagram(record.calibration)]);
    fill(byId("days"), [...record.per_day].reverse().map(dayRow));
  }
}

export function recordWords(record: TrackRecord, live: TrackRecord): [string, "good" | "warn" | "none"] {
  const backtest = record.origin === "backtest";
  const why = live.windows ? "" : "No live forecast of this time has met its outcome yet: that takes four hours. ";
  const mark = backtest ? `${why}Back-test, on stored candles: ` : why;
  if (backtest && !record.windows) return [`${why}There is no back-test of this time.`, "none"];
  const open = backtest ? [] : [`${count(live.pending)} still open`];
  const counts = [plural(record.windows, "window"), ...open];
  if (record.left_out) counts.push(`${count(record.left_out)} left out for missing minutes`);
  const points = record.points_above_better_persistence;
  const better =
    points === null
      ? ""
      : ` ${Math.abs(points).toFixed(1)} points ${points < 0 ? "below" : "above"} the better persistence.`;
  return [`${mark}${counts.join(", ")}.${better}`, backtest ? "warn" : "none"];
}

function scoreRow({ key, name, words: said }: Score, { model, baselines }: TrackRecord): HTMLTableRowElement {
  const head = made("th", "", name);
  head.scope = "row";
  const values = [model, baselines.persistence_60, baselines.persistence_240].map((scores) => scores[key]);
  return made("tr", "", head, ...values.map((value) => cell(orNone(value, said), "number")));
}

function dayRow(day: DayScores): HTMLTableRowElement {
  const head = made("th", "", day.day);
  head.scope = "row";
  const persistence = [day.persistence_60, day.persistence_240].filter((value) => value !== null);
  const better = persistence.length ? Math.max(...persistence) : null;
  const share = (value: number): string => percent(value);
  const values = [
    orNone(day.accuracy, share),
    better === null ? NONE : share(better),
    count(day.windows),
    orNone(day.high_share, share),
    orNone(day.auc, three),
    orNone(day.brier, three),
  ];
  return made("tr", "", head, ...values.map((value) => cell(value, "number")));
}

function checked(name: string): string {
  return document.querySelector<HTMLInputElement>(`input[name="${name}"]:checked`)?.value ?? "";
}

function check(name: string, value: string): void {
  for (const input of document.querySelectorAll<HTMLInputElement>(`input[name="${name}"]`)) {
    input.checked = input.value === value;
  }
}
