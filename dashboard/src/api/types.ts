// What the HTTP API answers, as far as the pages read it. The server's own description is /openapi.json.

export type Regime = "low" | "high";
export type Status = "predicted" | "proving" | "proved" | "submitted" | "confirmed" | "failed";
export type Origin = "live" | "backtest";

export interface Proof {
  proof: string;
  instances: string[];
  commitment: string;
  vk_hash: string;
  srs_hash: string;
  srs_development: boolean;
  slot: number;
  /** Predictions of a joint proof, null in an empty place; else empty. */
  members: (string | null)[];
  witness_seconds: number;
  prove_seconds: number;
  verify_seconds: number;
  proved_at: string;
}

export interface Attempt {
  attempt: number;
  outcome: string;
  reason: string | null;
  prover: string;
  windows: number;
  queue_seconds: number | null;
  witness_seconds: number | null;
  prove_seconds: number | null;
  verify_seconds: number | null;
  at: string;
}

export type Answer = "signed" | "refused" | "unreachable" | "invalid";

export interface Attestation {
  attester: string;
  outcome: Answer;
  signer: string | null;
  reason: string | null;
  at: string;
}

export type TransactionState = "sent" | "included" | "confirmed" | "reverted" | "withdrawn";

export interface Onchain {
  chain_id: number;
  contract: string;
  tx_hash: string;
  state: TransactionState;
  block_number: number | null;
  gas_used: number | null;
  ours: boolean;
}

export interface Outcome {
  realised_vol_annualised: number | null;
  realised_regime: Regime | null;
  right: boolean | null;
  missing: string | null;
  judged_at: string;
}

export interface Prediction {
  feed: string;
  id: string;
  window_end: string;
  age_seconds: number;
  regime: Regime;
  p_high: number;
  vol_annualised: number;
  model_id: string;
  status: Status;
  failure?: string | null;
  prove_seconds?: number | null;
  predicted_at?: string;
  venues: Record<string, string>;
  left_out: Record<string, string>;
  quorum: number;
  proof?: Proof | null;
  observation?: number[] | null;
  attempts?: Attempt[] | null;
  attestations?: Attestation[] | null;
  calldata?: string | null;
  onchain?: Onchain | null;
  outcome?: Outcome | null;
}

export interface History {
  predictions: Prediction[];
  next: string | null;
}

export type VenueState = "unknown" | "loading" | "fresh" | "late" | "resting" | "off-time" | "left-out";

export interface Venue {
  venue: string;
  symbol: string;
  state: VenueState;
  reason: string | null;
  rests_until: string | null;
  clock_skew_seconds: number | null;
  last_candle: string | null;
  gaps: [string, string][];
  missing_minutes: number;
  revisions: number;
}

export interface Step {
  outcome: string;
  detail: string;
  at: string;
}

export interface Chain {
  chain_id: number;
  oracle: string;
  feed_id: string;
  signers: string[];
  threshold: number | null;
  sender: string | null;
  attesting: Step | null;
  publishing: Step | null;
  rpc_url?: string | null;
  explorer_url?: string | null;
  registry?: string | null;
  verifier?: string | null;
  joint_verifier?: string | null;
}

export interface Tick {
  outcome: "predicted" | "already-predicted" | "skipped" | "failed";
  reason: string | null;
  detail: string;
  window_end: string;
  at: string;
}

export interface Alarm {
  prediction_id: string;
  window_end: string;
  reason: string;
}

export interface Feed {
  feed: string;
  symbol: string;
  horizon_minutes: number;
  cadence_seconds: number;
  model_id: string;
  model_name: string;
  market: "live" | "simulated" | "recorded";
  market_time: string;
  /** Seconds of the market in a second of the wall. */
  market_speed?: number;
  pipeline?: { alive: boolean; seen: string | null };
  venues: Venue[];
  quorum: number;
  clock_skew_seconds: number | null;
  srs: { sha256: string; development: boolean };
  chain: Chain | null;
  last_tick: Tick | null;
  alarms: Alarm[];
}

/** Open time in ms UTC, open, high, low, close, volume. */
export type Candle = [number, number, number, number, number, number];

export interface Candles {
  venue: string;
  symbol: string;
  step_seconds: number;
  candles: Candle[];
}

export interface JudgedWindow {
  window_end: string;
  id: string | null;
  p_high: number;
  regime: Regime;
  vol_annualised: number;
  realised_vol_annualised: number | null;
  realised_regime: Regime | null;
  right: boolean | null;
  missing: string | null;
}

export interface Outcomes {
  outcomes: JudgedWindow[];
  next: string | null;
}

/** Null where it cannot be told: no windows, or only one class. */
export interface Scores {
  accuracy: number | null;
  balanced_accuracy: number | null;
  f1: number | null;
  auc: number | null;
  brier: number | null;
  ece: number | null;
  r2_log_vol: number | null;
  qlike: number | null;
}

export interface CalibrationBin {
  from: number;
  to: number;
  windows: number;
  stated: number | null;
  observed: number | null;
}

export interface DayScores {
  day: string;
  windows: number;
  high_share: number | null;
  accuracy: number | null;
  brier: number | null;
  auc: number | null;
  persistence_60: number | null;
  persistence_240: number | null;
}

export interface TrackRecord {
  feed: string;
  model_id: string;
  model_name: string;
  origin: Origin;
  start: string | null;
  end: string | null;
  windows: number;
  pending: number;
  left_out: number;
  high_share: number | null;
  model: Scores;
  baselines: { persistence_60: Partial<Scores>; persistence_240: Partial<Scores> };
  points_above_better_persistence: number | null;
  calibration: CalibrationBin[];
  per_day: DayScores[];
}

export interface Verdict {
  holds: boolean;
  failed: string | null;
  reason: string | null;
  checks: string[];
  signers: string[];
  venues: string[];
  quorum: number | null;
}

interface OfWindow {
  feed: string;
  id: string;
  window_end: string;
}

interface Forecast extends OfWindow {
  regime: Regime;
  p_high: number;
  vol_annualised: number;
  model_id: string;
  status: Status;
}

/** What the stream tells, by kind. */
export interface StreamEvents {
  prediction: Forecast;
  proof: Forecast & {
    witness_seconds: number;
    prove_seconds: number;
    verify_seconds: number;
    vk_hash: string;
    commitment: string;
  };
  failure: OfWindow & { model_id: string; status: Status; reason: string };
  attestation: OfWindow & { attester: string; outcome: Answer; signer: string | null };
  transaction: OfWindow & Onchain;
  round: OfWindow & Onchain;
  outcome: OfWindow & {
    regime: Regime;
    vol_annualised: number;
    realised_vol_annualised: number | null;
    realised_regime: Regime | null;
    right: boolean | null;
  };
}

export type StreamKind = keyof StreamEvents;
