// The peer's side of `veriregime bench proving`: snarkjs in one warm process, so that no start of a process is timed.
//
//   node groth16_driver.mjs CONTRACTS_DIR COMMAND ARGUMENT …    prints one line of JSON
//
// Called by groth16.py only; paths come as arguments, seconds and bytes go back.

import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";

const [contractsDir, command, ...rest] = process.argv.slice(2);
// This file does not live beside node_modules, and an import looks only there.
const packages = createRequire(join(resolve(contractsDir), "package.json"));
const snarkjs = packages("snarkjs");

// The third and fourth proof of a process took up to twice as long as later ones, presumably while V8 optimises.
const WARM_UPS = 4;

const silent = () => {};
const complaints = { debug: silent, info: silent, warn: silent, error: (line) => console.error(line) };
const entropy = () => randomBytes(32).toString("hex");

async function timed(work) {
  const started = performance.now();
  const result = await work();
  return [result, (performance.now() - started) / 1000];
}

/** How many constraints a circuit has, and the powers of tau (as a power of two) that its keys need. */
async function size(r1cs) {
  const { nConstraints, nOutputs, nPubInputs } = await snarkjs.r1cs.info(r1cs);
  // One row more for every public value and for the constant, as snarkjs counts when it makes the keys.
  const power = Math.ceil(Math.log2(nConstraints + nOutputs + nPubInputs + 1));
  return { constraints: nConstraints, power };
}

/** Phase 1, which belongs to no circuit. */
async function powers(power, target) {
  const curve = await snarkjs.curves.getCurveFromName("bn128");
  const started = `${target}.started`;
  const contributed = `${target}.contributed`;
  await snarkjs.powersOfTau.newAccumulator(curve, Number(power), started);
  await snarkjs.powersOfTau.contribute(started, contributed, "bench", entropy());
  await snarkjs.powersOfTau.preparePhase2(contributed, target);
  return {};
}

/** Phase 2 with one contribution, and the contract that goes with the keys (not part of the seconds). */
async function setup(r1cs, ptau, zkey, contract) {
  const fresh = `${zkey}.fresh`;
  const [, seconds] = await timed(async () => {
    // It answers -1 instead of throwing, and says why to its logger only.
    const made = await snarkjs.zKey.newZKey(r1cs, ptau, fresh, complaints);
    if (made === -1) throw new Error("snarkjs made no keys");
    await snarkjs.zKey.contribute(fresh, zkey, "bench", entropy());
  });
  const templates = join(resolve(contractsDir), "node_modules", "snarkjs", "templates");
  const groth16 = readFileSync(join(templates, "verifier_groth16.sol.ejs"), "utf8");
  writeFileSync(contract, await snarkjs.zKey.exportSolidityVerifier(zkey, { groth16 }));
  return { seconds };
}

/** One proof of every observation in the file, after some that only warm up. Nothing is loaded twice. */
async function prove(wasm, zkeyFile, observationsFile) {
  const observations = JSON.parse(readFileSync(observationsFile, "utf8"));
  const calculator = await packages(join(dirname(resolve(wasm)), "witness_calculator.js"))(readFileSync(wasm));
  const zkey = { type: "mem", data: new Uint8Array(readFileSync(zkeyFile)) };
  const vkey = await snarkjs.zKey.exportVerificationKey(zkey);
  for (let count = 0; count < WARM_UPS; count++) {
    await proveOne(calculator, zkey, vkey, observations[0]);
  }
  const proofs = [];
  for (const observation of observations) {
    proofs.push(await proveOne(calculator, zkey, vkey, observation));
  }
  return { proofs, peak_bytes: process.resourceUsage().maxRSS * 1024 };
}

async function proveOne(calculator, zkey, vkey, observation) {
  const [data, witnessSeconds] = await timed(() => calculator.calculateWTNSBin({ observation }, 0));
  const [made, proveSeconds] = await timed(() => snarkjs.groth16.prove(zkey, { type: "mem", data }));
  const { proof, publicSignals } = made;
  const [valid, verifySeconds] = await timed(() => snarkjs.groth16.verify(vkey, publicSignals, proof));
  if (!valid) throw new Error("snarkjs rejects the proof that it made");
  return {
    signals: publicSignals,
    points: contractOrder(proof),
    witness_seconds: witnessSeconds,
    prove_seconds: proveSeconds,
    verify_seconds: verifySeconds,
  };
}

/** A, B, C in affine coordinates: snarkjs writes the real part of B's first, its contract reads the imaginary one. */
function contractOrder({ pi_a: a, pi_b: b, pi_c: c }) {
  return [...a.slice(0, 2), ...b.slice(0, 2).flatMap(([real, imaginary]) => [imaginary, real]), ...c.slice(0, 2)];
}

const commands = { size, powers, setup, prove };
try {
  const answer = await commands[command](...rest);
  console.log(JSON.stringify(answer));
} catch (error) {
  console.error(`${error}`);
  process.exitCode = 1;
}
// Its worker threads would keep this process alive.
await globalThis.curve_bn128?.terminate();
