// The dashboard: asks the HTTP API for what every client can ask, and shows it. Two loops poll, `watchLatest` and
// `watchRest`, and `watchTime` moves the ages; what the answers said is in `known`.

const [MINUTE, CANDLE, DAY] = [60_000, 300_000, 86_400_000];
const LATEST_EVERY = 2_000;
const REST_EVERY = 15_000;
const ANSWER_WITHIN = 8_000;
const VERIFY_WITHIN = 120_000;
const STALE_AFTER = 3 * MINUTE;
// Younger rows are asked for again: their proof or transaction may still change.
const UNSETTLED = 60 * MINUTE;
// 0.0005 per minute, annualised over the minutes of a year of 365 days: where the models put the edge of the regimes.
const THRESHOLD = 0.0005 * Math.sqrt(525_600);

const MARKETS = { live: "Live market", simulated: "Simulated market", recorded: "Replayed market" };
const VENUE_KINDS = { unknown: "wait", loading: "wait", fresh: "good", late: "warn", resting: "bad", "off-time": "bad", "left-out": "bad" };
const ONCHAIN_TROUBLE = [
  "would-revert", "reverted", "fees-too-high", "balance-too-low", "chain-unavailable", "wrong-chain",
];
const STATE_KIND = {
  proved: "good", confirmed: "good", submitted: "warn", sent: "warn", included: "warn", predicted: "warn", proving: "warn",
  failed: "bad", reverted: "bad",
};

const byId = (id) => document.getElementById(id);
const path = (...parts) => `/v1/${parts.map(encodeURIComponent).join("/")}`;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// ---- words for values
const percent = (fraction) => `${(100 * fraction).toFixed(1)} %`;
const seconds = (value) => `${value.toFixed(2)} s`;
const shortened = (value) => (value.length > 22 ? `${value.slice(0, 10)}…${value.slice(-8)}` : value);
const utc = (ms) => new Date(ms).toISOString().slice(0, 19).replace("T", " ");
const utcMinute = (ms) => utc(ms).slice(11, 16);
const windowEnd = (prediction) => Date.parse(prediction.window_end);
const endWords = (prediction) => utc(windowEnd(prediction)).slice(0, 16);

function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const [hours, minutes] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${s % 60} s` : `${s} s`;
}

// The market of a demo may be on another day and may run faster: its clock is learnt from the server's answers.
class MarketClock {
  #anchor = null;
  #earlier = null;
  #speed = 1;

  now() {
    return this.#anchor && this.#anchor.market + (Date.now() - this.#anchor.wall) * this.#speed;
  }

  heard(market) {
    const reading = { market, wall: Date.now() };
    // Answers are rounded and take their time; following every one of them would make the age stutter.
    if (!this.#anchor || Math.abs(this.now() - market) > 2_000) this.#anchor = reading;
    this.#earlier ??= reading;
    const wall = reading.wall - this.#earlier.wall;
    if (wall < 10_000) return;
    const speed = (market - this.#earlier.market) / wall;
    this.#anchor = { market: this.now(), wall: reading.wall };
    this.#speed = Math.abs(speed - 1) < 0.15 ? 1 : Math.max(0, speed);
    this.#earlier = reading;
  }
}

const clock = new MarketClock();
const known = {
  feed: null, // as GET /v1/feeds lists it
  latest: null, latestBody: "",
  nothingYet: null, // the server's words, while it has no proved forecast
  silence: null, // {since, why}, while the server does not answer
  history: new Map(), // predictions of the last day by window end
  candles: null,
};

const newestFirst = () => [...known.history.values()].sort((a, b) => windowEnd(b) - windowEnd(a));

// ---- asking
async function ask(url, options = { cache: "no-cache" }, within = ANSWER_WITHIN) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(within), ...options });
  const body = await answer.text();
  if (answer.ok) return body;
  const problem = answer.headers.get("Content-Type")?.startsWith("application/problem+json") ? JSON.parse(body) : {};
  throw Object.assign(new Error(problem.detail ?? `HTTP ${answer.status}`), { status: answer.status });
}

const askAbout = async (name, query) =>
  JSON.parse(await ask(`${path("feeds", known.feed.feed, name)}?${new URLSearchParams(query)}`));

async function askLatest() {
  // A page just opened may find an older answer in the browser's cache, with the age of its own time.
  const options = { cache: known.latest ? "no-cache" : "reload" };
  const body = await ask(`${path("feeds", known.feed.feed, "latest")}?include=proof,attestations`, options);
  known.nothingYet = null;
  // The very same bytes are the browser's copy after a 304: their age was true when they first came.
  if (body === known.latestBody) return;
  known.latestBody = body;
  known.latest = JSON.parse(body);
  clock.heard(windowEnd(known.latest) + 1000 * known.latest.age_seconds);
}

async function askFeeds() {
  const { feeds } = JSON.parse(await ask("/v1/feeds"));
  const wanted = new URLSearchParams(location.search).get("feed");
  known.feed = feeds.find((one) => one.feed === wanted) ?? feeds[0] ?? known.feed;
  if (known.feed) clock.heard(Date.parse(known.feed.market_time));
  showFeedChoice(feeds.map((one) => one.feed));
}

async function askHistory() {
  const dayAgo = clock.now() - DAY;
  const newest = Math.max(...[...known.history.values()].map(windowEnd));
  const query = { start: new Date(Math.max(dayAgo, newest - UNSETTLED)).toISOString(), limit: 1000 };
  do {
    const page = await askAbout("predictions", query);
    for (const prediction of page.predictions) known.history.set(prediction.window_end, prediction);
    query.cursor = page.next;
  } while (query.cursor);
  for (const [end, prediction] of known.history) if (windowEnd(prediction) < dayAgo) known.history.delete(end);
}

async function askCandles() {
  const start = new Date(dayShown().start).toISOString();
  known.candles = await askAbout("candles", { start, end: new Date(clock.now()).toISOString(), step: CANDLE / 1000 });
}

// ---- the loops
let wakeRest = () => {};

// Does the asking and keeps account of whether the server answers.
async function attempt(asking) {
  try {
    await asking();
    known.silence = null;
  } catch (error) {
    if (error.status === 503) [known.nothingYet, known.silence] = [error.message, null];
    else known.silence ??= { since: utc(Date.now()).slice(11), why: error.status ? error.message : "no connection" };
  }
}

// Just after each second of the market, since a tick at its very edge would now and then skip one.
async function watchTime() {
  for (;; await pause(1_020 - (clock.now() % 1_000))) showTime();
}

async function watchLatest() {
  for (;;) {
    const before = known.latest;
    await attempt(askLatest);
    if (known.latest !== before) showLatest(known.latest, before);
    showTime();
    if (known.latest?.id !== before?.id) wakeRest();
    await pause(LATEST_EVERY);
  }
}

async function watchRest() {
  for (;;) {
    // What fails here stays as it was and is asked for again; whether the server answers, `watchLatest` tells.
    await Promise.allSettled([askFeeds(), askHistory(), askCandles()]);
    showRest();
    await Promise.race([pause(REST_EVERY), new Promise((wake) => { wakeRest = wake; })]);
  }
}

// ---- showing
// An unchanged text is left alone, so that a selection in it stays.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const made = (tag, className, textContent) => Object.assign(document.createElement(tag), { className, textContent });
const setTexts = (texts) => Object.entries(texts).forEach(([id, text]) => setText(byId(id), text));

function setState(element, state, words = state) {
  setText(element, words);
  element.dataset.kind = STATE_KIND[state] ?? "none";
}

function setHash(button, value) {
  button.disabled = !value;
  button.title = value ?? "";
  button.setAttribute("aria-label", value ? `Copy ${button.dataset.name} ${value}` : `No ${button.dataset.name}`);
  setText(button, value ? shortened(value) : "—");
}

function showLatest(latest, before) {
  const { regime, vol_annualised: vol } = latest;
  byId("now").dataset.regime = regime;
  setTexts({ regime, vol: percent(vol), "p-high": percent(latest.p_high), "window-end": endWords(latest) });
  byId("p-high-bar").style.width = percent(latest.p_high).replace(" ", "");
  document.title = `${regime} ${percent(vol)} · VeriRegime`;
  if (before && before.regime !== regime) setTexts({ announcement: `The regime changed to ${regime}.` });
  showProof(latest, latest.proof);
  showTransaction(latest.onchain);
  showAttestations(latest.attestations ?? []);
}

function whyNone(chain) {
  if (!chain) return "none: no chain";
  return chain.publishing?.outcome === "not-due" ? "none: too little has changed" : "none yet";
}

function showAttestations(answers) {
  const words = { signed: "signed", refused: "refused", unreachable: "no answer", invalid: "invalid answer" };
  const count = (outcome) => answers.filter((answer) => answer.outcome === outcome).length;
  const counted = Object.keys(words).filter(count).map((outcome) => `${count(outcome)} ${words[outcome]}`);
  const needed = known.feed.chain?.threshold;
  const none = known.feed.chain ? "none yet" : "none: no chain";
  setTexts({ attesters: (counted.join(", ") || none) + (needed ? ` (${needed} needed)` : "") });
  byId("attesters").title = answers.map((one) => `${one.attester}: ${one.reason ?? one.outcome}`).join("\n");
}

function showProof(latest, proof) {
  setState(byId("status"), latest.status);
  setHash(byId("prediction-id"), String(latest.id));
  setHash(byId("model-id"), latest.model_id);
  setHash(byId("vk-hash"), proof.vk_hash);
  setHash(byId("srs-hash"), proof.srs_hash);
  const [prove, witness, check] = [proof.prove_seconds, proof.witness_seconds, proof.verify_seconds].map(seconds);
  const others = proof.members.filter(Boolean).length - 1;
  const joint = others > 0 ? `, with ${others} other ${others > 1 ? "feeds" : "feed"} in one proof` : "";
  setTexts({ "proof-seconds": `${prove} (witness ${witness}, check ${check})${joint}` });
  for (const part of ["proof", "bundle"]) byId(`${part}-link`).href = path("predictions", latest.id, part);
  byId("verify").disabled = false;
}

function showTransaction(onchain) {
  setState(byId("tx-state"), onchain?.state, onchain?.state ?? whyNone(known.feed.chain));
  setHash(byId("tx-hash"), onchain?.tx_hash);
  setHash(byId("oracle"), onchain?.contract ?? known.feed.chain?.oracle);
  const [block, gas] = [onchain?.block_number, onchain?.gas_used].map((value) => value?.toLocaleString("en") ?? "—");
  setTexts({ "tx-block": block, "tx-gas": gas });
}

function showTime() {
  const now = clock.now();
  const age = known.latest && now - windowEnd(known.latest);
  const old = Boolean(known.latest && (age > STALE_AFTER || known.silence || known.nothingYet));
  byId("now").classList.toggle("old", old);
  const [kind, words] = notice(age);
  byId("notice").dataset.kind = kind;
  setTexts({ notice: words, "now-title": old ? "Last known regime" : "Current regime" });
  setTexts({ age: known.latest ? duration(age) : "—", "market-time": now ? utc(now) : "—" });
}

function notice(age) {
  const { silence, nothingYet, latest } = known;
  const shown = latest ? "The last known values are shown." : "";
  if (silence) return ["bad", `The server does not answer since ${silence.since} UTC (${silence.why}). ${shown}`];
  if (nothingYet) return ["warn", `The server has no proved forecast: ${nothingYet} ${shown}`];
  if (!latest) return ["wait", known.feed ? "Waiting for the first forecast…" : "Waiting for a feed…"];
  if (age > STALE_AFTER) return ["warn", "Stale: this forecast is older than 3 minutes, and no newer one is proved."];
  const trouble = onchainTrouble(known.feed?.chain);
  return trouble ? ["warn", `Up to date, and proved, but not on chain: ${trouble}`] : ["good", "Up to date, and proved."];
}

function onchainTrouble(chain) {
  const { attesting, publishing } = chain ?? {};
  if (attesting && attesting.outcome !== "attested") return `${attesting.outcome}: ${attesting.detail}`;
  return ONCHAIN_TROUBLE.includes(publishing?.outcome) ? `${publishing.outcome}: ${publishing.detail}` : "";
}

function showRest() {
  showFeed(known.feed);
  newestFirst().slice(0, 15).forEach((prediction, i) => showRow(byId("predictions").rows[i], prediction));
  showCharts();
}

function showFeedChoice(names) {
  byId("feed-choice").classList.toggle("alone", names.length < 2);
  // Made anew, it would close while somebody chooses.
  if (byId("feed").length === names.length) return;
  byId("feed").replaceChildren(...names.map((name) => new Option(name, name, false, name === known.feed.feed)));
}

function showFeed(feed) {
  const tick = feed.last_tick;
  setTexts({
    "feed-name": feed.symbol,
    "venues-quorum": `${feed.quorum} of ${feed.venues.length} must have a minute`,
    horizon: feed.horizon_minutes % 60 ? `${feed.horizon_minutes} min` : `${feed.horizon_minutes / 60} h`,
    "model-name": feed.model_name,
    chain: feed.chain ? String(feed.chain.chain_id) : "none, forecasts are not published",
    "last-tick": tick ? `${utc(Date.parse(tick.at)).slice(11)} ${[tick.outcome, tick.reason].filter(Boolean).join(", ")}. ${tick.detail}` : "none yet",
  });
  const marks = [made("li", feed.market === "live" ? "" : "caution", MARKETS[feed.market])];
  if (feed.srs.development) marks.push(made("li", "caution", "Development SRS: forgeable"));
  if (feed.alarms.length) {
    const alarm = made("li", "alarm", `Alarm: network and circuit disagreed on ${feed.alarms.length} window(s)`);
    alarm.title = feed.alarms[0].reason;
    marks.push(alarm);
  }
  byId("marks").replaceChildren(...marks);
  byId("venues").replaceChildren(...feed.venues.map(venueItem));
}

function venueItem(venue) {
  const item = made("li", "", venue.venue);
  item.append(made("span", "quiet", venue.symbol), made("span", "state", venueWords(venue)));
  item.lastChild.dataset.kind = VENUE_KINDS[venue.state] ?? "warn";
  const again = venue.rests_until ? `; asked again at ${utc(Date.parse(venue.rests_until)).slice(11)}` : "";
  if (venue.reason) item.append(made("span", "reason quiet", venue.reason + again));
  return item;
}

function venueWords({ state, last_candle: last, missing_minutes: missing }) {
  const until = last ? `, last candle ${utcMinute(Date.parse(last))}` : "";
  const lacks = state === "fresh" && missing ? `, ${stretch(missing)} of the week missing` : "";
  return state + until + lacks;
}

function stretch(minutes) {
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

function showRow(row, prediction) {
  const { regime, p_high: pHigh, vol_annualised: vol } = prediction;
  [endWords(prediction), regime, percent(pHigh), percent(vol)].forEach((text, i) => setText(row.cells[i], text));
  row.cells[1].className = `${regime}-text`;
  const [status, proof, tx] = [...row.cells].slice(4);
  setState(status, prediction.status, [prediction.status, prediction.failure].filter(Boolean).join(": "));
  status.title = prediction.failure ?? "";
  setText(proof, prediction.prove_seconds == null ? "—" : seconds(prediction.prove_seconds));
  setHash(tx.querySelector("button"), prediction.onchain?.tx_hash);
}

// ---- charts
const PAD = { left: 4, right: 56, top: 8, bottom: 22 };

// The day ends with the candle that is being made.
function dayShown() {
  const end = Math.ceil(clock.now() / CANDLE) * CANDLE;
  return { start: end - DAY, end };
}

function svg(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// One unit of the drawing is one pixel of the screen, so that texts and lines keep their size at every width.
function frameOf(chart, low, high) {
  const { width, height } = chart.getBoundingClientRect();
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const { start, end } = dayShown();
  const [right, bottom] = [Math.max(width - PAD.right, PAD.left), height - PAD.bottom];
  const x = (ms) => PAD.left + ((Math.min(Math.max(ms, start), end) - start) / DAY) * (right - PAD.left);
  const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - PAD.top);
  return { start, end, low, high, right, bottom, x, y };
}

function showCharts() {
  if (!known.history.size && !known.candles) return;
  const forecasts = newestFirst().reverse().filter((one) => one.status !== "failed");
  const bands = bandsOf(forecasts, 1000 * known.feed.cadence_seconds);
  const candles = known.candles?.candles.filter(([open]) => open >= dayShown().start) ?? [];
  if (candles.length) showPrice(candles, bands);
  if (forecasts.length) showVolatility(forecasts, bands);
}

// Neighbours of one regime become one band; where forecasts are missing there is no band.
function bandsOf(forecasts, cadence) {
  const bands = [];
  for (const one of forecasts) {
    const last = bands.at(-1);
    const joined = last && windowEnd(one) - last.to <= cadence;
    if (joined && last.regime === one.regime) last.forecasts.push(one);
    else bands.push({ regime: one.regime, joined, from: joined ? last.to : windowEnd(one), forecasts: [one] });
    bands.at(-1).to = windowEnd(one) + cadence;
  }
  return bands;
}

function draw(chart, frame, bands, word, lines, label) {
  const { x, y, right, bottom, start, end } = frame;
  const backs = bands.map(({ regime, from, to }) =>
    svg("rect", { class: `band ${regime}`, x: x(from), y: PAD.top, width: x(to) - x(from), height: bottom - PAD.top }));
  const levels = steps(frame.low, frame.high).flatMap((value) => [
    svg("path", { class: "grid", d: `M${PAD.left} ${y(value)}H${right}` }),
    svg("text", { x: right + 6, y: y(value) + 4 }, word(value)),
  ]);
  const every = (right < 500 ? 6 : 3) * 60 * MINUTE;
  const hours = [];
  for (let at = Math.ceil(start / every) * every; at <= end; at += every) {
    const middle = Math.min(Math.max(x(at), PAD.left + 16), right - 16);
    hours.push(svg("text", { x: middle, y: bottom + 16, "text-anchor": "middle" }, utcMinute(at)));
  }
  chart.replaceChildren(...backs, ...levels, ...hours, ...lines.map(([name, d]) => svg("path", { class: name, d })));
  chart.setAttribute("aria-label", label);
}

// The values to mark on an axis: about four, at steps of 1, 2 or 5 times a power of ten.
function steps(low, high) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 4));
  const step = power * [1, 2, 5, 10].find((times) => times * power >= (high - low) / 4);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

function showPrice(candles, bands) {
  const [low, high] = [Math.min(...candles.map((one) => one[3])), Math.max(...candles.map((one) => one[2]))];
  const margin = 0.05 * (high - low) || 0.01 * high;
  const frame = frameOf(byId("price-chart"), low - margin, high + margin);
  const word = (price) => price.toFixed(high < 10 ? 4 : high < 1000 ? 2 : 0);
  const byColour = Object.groupBy(candles, ([, open, , , close]) => (close < open ? "down" : "up"));
  const lines = Object.entries(byColour).map(([name, some]) => [name, candlePath(frame, some)]);
  const label = `Price over the last day: ${word(low)} to ${word(high)}, last ${word(candles.at(-1)[4])}`;
  draw(byId("price-chart"), frame, bands, word, lines, label);
  setTexts({ "candles-venue": `5-minute candles of ${known.candles.venue}` });
}

function candlePath({ start, x, y }, candles) {
  const slot = x(start + CANDLE) - x(start);
  const half = Math.max(0.25, 0.3 * slot - 0.5);
  return candles.map(([at, open, high, low, close]) => {
    const middle = x(at) + slot / 2;
    const wick = `M${middle} ${y(high)}V${y(low)}`;
    return `${wick}M${middle - half} ${y(open)}H${middle + half}V${y(close)}H${middle - half}Z`;
  }).join("");
}

function showVolatility(forecasts, bands) {
  const vols = forecasts.map((one) => one.vol_annualised);
  const frame = frameOf(byId("vol-chart"), 0, 1.15 * Math.max(THRESHOLD, ...vols));
  const point = (one) => `${frame.x(windowEnd(one))} ${frame.y(one.vol_annualised)}`;
  const line = bands.map((band) => (band.joined ? "L" : "M") + band.forecasts.map(point).join("L")).join("");
  const lines = [["threshold", `M${PAD.left} ${frame.y(THRESHOLD)}H${frame.right}`], ["forecast", line]];
  const [least, most, last] = [Math.min(...vols), Math.max(...vols), vols.at(-1)].map(percent);
  const label = `Forecast volatility over the last day: ${least} to ${most}, last ${last}`;
  draw(byId("vol-chart"), frame, bands, (vol) => `${Math.round(100 * vol)} %`, lines, label);
}

// ---- acting
let verifying = false;
async function verify() {
  if (verifying) return;
  verifying = true;
  setTexts({ verify: "Verifying…" });
  const asked = known.latest;
  try {
    const body = await ask(path("predictions", asked.id, "bundle"), {}, VERIFY_WITHIN);
    const posting = { method: "POST", headers: { "Content-Type": "application/json" }, body };
    showVerdict(asked, JSON.parse(await ask(path("verify"), posting, VERIFY_WITHIN)));
  } catch (error) {
    showCheck("bad", `Could not be checked: ${error.status ? error.message : "the server does not answer."}`, []);
  }
  setTexts({ verify: "Verify this forecast" });
  verifying = false;
}

function showVerdict(asked, { holds, failed, reason, checks }) {
  const words = holds ? "holds: every check passed." : `does not hold: ${reason ?? failed}`;
  const items = checks.map((check) => made("li", "", `✓ ${check}`));
  if (failed) items.push(made("li", "bad", `✗ ${failed}`));
  showCheck(holds ? "good" : "bad", `The forecast of ${endWords(asked)} ${words}`, items);
}

function showCheck(kind, words, items) {
  setTexts({ "verify-summary": words });
  byId("verify-summary").dataset.kind = kind;
  byId("verify-checks").replaceChildren(...items);
}

async function copyHash(button) {
  const copied = await navigator.clipboard?.writeText(button.title).then(() => true, () => false);
  setText(button, copied ? "Copied" : button.title);
  // Without a secure context there is no clipboard: the whole value is selected, to be copied by hand.
  if (!copied) getSelection().selectAllChildren(button);
  await pause(copied ? 1_200 : 10_000);
  setHash(button, button.title);
}

document.addEventListener("click", ({ target }) => target.matches(".hash") && copyHash(target));
byId("verify").addEventListener("click", verify);
byId("feed").addEventListener("change", () => { location.search = new URLSearchParams({ feed: byId("feed").value }); });
new ResizeObserver(showCharts).observe(byId("price-chart"));
// The fifteen rows are made once and filled anew, so that the table keeps its height and the keyboard its place.
for (let i = 0; i < 15; i += 1) byId("predictions").append(byId("prediction-row").content.cloneNode(true));
watchTime();
for (await attempt(askFeeds); !known.feed; await attempt(askFeeds)) await pause(LATEST_EVERY);
watchLatest();
watchRest();
