import { describe, expect, it } from "vitest";
import { agree, fromWad, statedBy } from "../src/chain/outputs";

// Public outputs of a forecast of the demo, with the numbers that the server showed for it.
const INSTANCES = [
  "0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593eb6f0a2f",
  "0x00000000000000000000000000000000000000000000000000000000048c4108",
  "0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593e957a93e",
];
const SCALE = 27;

describe("statedBy", () => {
  it("gives the numbers that the server shows", () => {
    const stated = statedBy(INSTANCES, 0, SCALE);
    expect(stated?.regime).toBe("high");
    expect(agree(stated?.pHigh ?? 0, 0.7575446256590873)).toBe(true);
    expect(agree(stated?.volAnnualised ?? 0, 0.43509245299918575)).toBe(true);
  });

  it("reads the place of its window in a joint proof", () => {
    const empty = Array<string>(3).fill(`0x${"0".repeat(64)}`);
    expect(statedBy([...empty, ...INSTANCES], 1, SCALE)).toEqual(statedBy(INSTANCES, 0, SCALE));
  });

  it("takes a tie for low", () => {
    expect(statedBy(["0x1", "0x1", "0x0"], 0, SCALE)?.regime).toBe("low");
  });

  it("has nothing to say of a place that the proof does not have", () => {
    expect(statedBy(INSTANCES, 1, SCALE)).toBeNull();
  });
});

describe("agree", () => {
  it("forgives what a float loses and nothing more", () => {
    expect(agree(fromWad(435092452999185749n), 0.43509245299918575)).toBe(true);
    expect(agree(0.4350925, 0.4350924)).toBe(false);
  });
});
