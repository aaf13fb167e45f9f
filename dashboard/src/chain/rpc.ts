// Read-only questions to a chain: through a wallet of the visitor where it is on that chain, else through the public
// endpoint that the server names.

import type { Chain } from "../api/types";

const ANSWER_WITHIN_MS = 15_000;

interface Wallet {
  request(question: { method: string; params?: unknown[] }): Promise<unknown>;
}

declare global {
  interface Window {
    ethereum?: Wallet;
  }
}

type Ask = (method: string, params: unknown[]) => Promise<unknown>;

/** The contract ran and refused. */
export class CallReverted extends Error {}

export interface ChainReader {
  /** Who answers, in words. */
  through: string;
  /** The newest state's answer to a call. Throws `CallReverted`. */
  call(to: string, data: string): Promise<string>;
}

/** Somebody who can be asked about this very chain; else throws with what to do. */
export async function readerOf(chain: Chain): Promise<ChainReader> {
  const tried: string[] = [];
  for (const [through, ask] of candidates(chain)) {
    const found = await chainIdBy(ask);
    if (found === chain.chain_id) return { through, call: (to, data) => call(ask, to, data) };
    tried.push(found === null ? `${through} does not answer` : `${through} is on chain ${found}`);
  }
  const why = tried.length ? tried.join("; ") : "the server names no public endpoint, and there is no wallet here";
  throw new Error(`Chain ${chain.chain_id} cannot be asked: ${why}. Open this page with a wallet on that chain.`);
}

function* candidates(chain: Chain): Generator<[string, Ask]> {
  const wallet = window.ethereum;
  if (wallet) yield ["your wallet", (method, params) => wallet.request({ method, params })];
  const url = chain.rpc_url;
  if (url) yield [url, (method, params) => post(url, method, params)];
}

async function chainIdBy(ask: Ask): Promise<number | null> {
  try {
    return Number(await ask("eth_chainId", []));
  } catch {
    return null;
  }
}

async function call(ask: Ask, to: string, data: string): Promise<string> {
  try {
    return String(await ask("eth_call", [{ to, data }, "latest"]));
  } catch (error) {
    const { code, message } = error as { code?: number; message?: string };
    if (code === 3 || /revert/i.test(message ?? "")) throw new CallReverted(message ?? "reverted");
    throw new Error(`the chain's endpoint answers: ${message ?? "nothing"}`);
  }
}

async function post(url: string, method: string, params: unknown[]): Promise<unknown> {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const headers = { "Content-Type": "application/json" };
  const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
  const answer = await fetch(url, { method: "POST", headers, body, signal });
  const { result, error } = (await answer.json()) as { result?: unknown; error?: object };
  if (error) throw error;
  return result;
}
