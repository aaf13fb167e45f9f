// Asks the HTTP API. Every failure is an `ApiError` whose message may be shown as it is.

const ANSWER_WITHIN_MS = 8_000;

export class ApiError extends Error {
  /** @param status of the answer; 0 when there was none */
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** `/v1/…` with every part of the path escaped, and the query's values that are given. */
export function apiPath(parts: string[], query: Record<string, string | number | null | undefined> = {}): string {
  const path = `/v1/${parts.map(encodeURIComponent).join("/")}`;
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  const search = new URLSearchParams(given.map(([key, value]) => [key, String(value)]));
  return search.size ? `${path}?${search}` : path;
}

export async function askText(url: string, options: RequestInit = {}, withinMs = ANSWER_WITHIN_MS): Promise<string> {
  const answer = await fetchWithin(url, options, withinMs);
  const body = await answer.text();
  if (answer.ok) return body;
  throw new ApiError(answer.status, problemWords(answer, body));
}

export async function ask<T>(url: string, options: RequestInit = {}, withinMs = ANSWER_WITHIN_MS): Promise<T> {
  return JSON.parse(await askText(url, options, withinMs)) as T;
}

/** Words for anything that went wrong while asking. */
export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function fetchWithin(url: string, options: RequestInit, withinMs: number): Promise<Response> {
  try {
    return await fetch(url, { cache: "no-cache", signal: AbortSignal.timeout(withinMs), ...options });
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    throw new ApiError(0, late ? `no answer within ${withinMs / 1000} s` : "no connection");
  }
}

function problemWords(answer: Response, body: string): string {
  if (!answer.headers.get("Content-Type")?.startsWith("application/problem+json")) return `HTTP ${answer.status}`;
  const { detail, title } = JSON.parse(body) as { detail?: string; title?: string };
  return detail ?? title ?? `HTTP ${answer.status}`;
}
