// Words for values.

import type { Status, TransactionState } from "../api/types";
import type { Kind } from "./dom";

/** 0.0005 a minute over the minutes of a year of 365 days: where the models put the edge of the regimes. */
export const THRESHOLD = 0.0005 * Math.sqrt(525_600);

export const NONE = "—";

export const percent = (fraction: number, digits = 1): string => `${(100 * fraction).toFixed(digits)} %`;
export const seconds = (value: number): string => `${value.toFixed(2)} s`;
export const count = (value: number): string => value.toLocaleString("en");
export const orNone = <T>(value: T | null | undefined, words: (value: T) => string): string =>
  value === null || value === undefined ? NONE : words(value);

export const plural = (value: number, one: string, more = `${one}s`): string =>
  `${count(value)} ${value === 1 ? one : more}`;

export const shortened = (value: string): string =>
  value.length > 22 ? `${value.slice(0, 10)}…${value.slice(-8)}` : value;

/** `2025-09-15 12:00:00`, UTC. */
export const utc = (ms: number): string => new Date(ms).toISOString().slice(0, 19).replace("T", " ");
export const utcMinute = (ms: number): string => utc(ms).slice(0, 16);
export const clockMinute = (ms: number): string => utc(ms).slice(11, 16);
export const clockSecond = (ms: number): string => utc(ms).slice(11);

export function duration(ms: number): string {
  const total = Math.max(0, Math.floor(ms / 1000));
  const [days, hours, minutes] = [
    Math.floor(total / 86_400),
    Math.floor(total / 3600) % 24,
    Math.floor(total / 60) % 60,
  ];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${total % 60} s` : `${total} s`;
}

export function stretch(minutes: number): string {
  if (minutes < 120) return `${minutes} min`;
  return minutes < 2880 ? `${Math.round(minutes / 60)} h` : `${(minutes / 1440).toFixed(1)} days`;
}

const KINDS: Record<Status | TransactionState, Kind> = {
  predicted: "warn",
  proving: "warn",
  proved: "good",
  submitted: "warn",
  confirmed: "good",
  failed: "bad",
  sent: "warn",
  included: "warn",
  reverted: "bad",
  withdrawn: "none",
};

export const kindOf = (state: Status | TransactionState): Kind => KINDS[state] ?? "none";
