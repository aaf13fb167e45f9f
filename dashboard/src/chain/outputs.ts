// From a proof's public outputs to what they say, as the contract reads them: three field elements for each window,
// logit of low, logit of high and ln of the annualised volatility, integers at 2**scale.

import type { Regime } from "../api/types";

const PER_WINDOW = 3;
/** Order of the scalar field of BN254; its upper half stands for negative numbers. */
const FIELD_ORDER = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;

export interface Stated {
  regime: Regime;
  pHigh: number;
  volAnnualised: number;
}

/** What the outputs at a place of the proof say; null when the proof has no such place. */
export function statedBy(instances: string[], place: number, scale: number): Stated | null {
  const own = instances.slice(PER_WINDOW * place, PER_WINDOW * (place + 1)).map((element) => signed(BigInt(element)));
  const [low, high, ln] = own;
  if (low === undefined || high === undefined || ln === undefined) return null;
  return {
    regime: high > low ? "high" : "low",
    pHigh: 1 / (1 + Math.exp(-Number(high - low) / 2 ** scale)),
    volAnnualised: Math.exp(Number(ln) / 2 ** scale),
  };
}

/** A number with 18 decimals as a float. */
export function fromWad(value: bigint): number {
  return Number(value) / 1e18;
}

/** Floats carry sixteen digits and the contract eighteen decimals: beyond this they are different numbers. */
export function agree(one: number, other: number): boolean {
  return Math.abs(one - other) <= 1e-9 * Math.max(1, Math.abs(one), Math.abs(other));
}

function signed(element: bigint): bigint {
  return element > FIELD_ORDER / 2n ? element - FIELD_ORDER : element;
}
