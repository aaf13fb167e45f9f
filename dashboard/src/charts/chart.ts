// The last day as a chart of two panes: candles above, forecast volatility against realised below.

import {
  CandlestickSeries,
  createChart,
  LineSeries,
  LineStyle,
  LineType,
  type IChartApi,
  type ISeriesApi,
  type LineData,
  type UTCTimestamp,
  type WhitespaceData,
} from "lightweight-charts";
import type { Origin } from "../api/types";
import { clockMinute, percent, THRESHOLD } from "../page/format";
import { colour } from "../page/theme";
import { RegimeBands } from "./bands";
import { bandsOf, type Slot } from "./day";

type LinePoint = LineData<UTCTimestamp> | WhitespaceData<UTCTimestamp>;

export class DayChart {
  readonly #chart: IChartApi;
  readonly #candles: ISeriesApi<"Candlestick">;
  readonly #forecast: Record<Origin, ISeriesApi<"Line">>;
  readonly #realised: Record<Origin, ISeriesApi<"Line">>;
  readonly #bands = new RegimeBands();
  readonly #threshold;
  #slots: Slot[] = [];

  /** `pointed` is told the slot under the pointer, and null when it leaves. */
  constructor(container: HTMLElement, pointed: (slot: Slot | null) => void) {
    this.#chart = createChart(container, {
      autoSize: true,
      // Its logo would bring a style element, which the policy forbids: the footer has notice and link instead.
      layout: { attributionLogo: false, fontSize: 12, panes: { enableResize: false } },
      handleScroll: false,
      handleScale: false,
      rightPriceScale: { borderVisible: false, entireTextOnly: true, minimumWidth: 68 },
      timeScale: {
        borderVisible: false,
        timeVisible: true,
        tickMarkFormatter: (time: UTCTimestamp) => clockMinute(time * 1000),
      },
      localization: { timeFormatter: (time: UTCTimestamp) => `${clockMinute(time * 1000)} UTC` },
    });
    this.#candles = this.#chart.addSeries(CandlestickSeries, { priceLineVisible: false });
    this.#realised = { backtest: this.#line(1), live: this.#line(2) };
    this.#forecast = { backtest: this.#line(1), live: this.#line(2) };
    this.#threshold = this.#forecast.live.createPriceLine({
      price: THRESHOLD,
      lineStyle: LineStyle.Dashed,
      lineWidth: 1,
      axisLabelVisible: false,
      color: "gray",
    });
    this.#candles.attachPrimitive(this.#bands);
    this.#chart.panes()[0]?.setStretchFactor(2);
    this.#chart.panes()[1]?.setStretchFactor(1);
    this.#forecast.live.priceScale().applyOptions({ scaleMargins: { top: 0.1, bottom: 0.02 } });
    this.#chart.subscribeCrosshairMove(({ time }) => {
      pointed(this.#slots.find((slot) => slot.at === Number(time) * 1000) ?? null);
    });
    this.paint();
  }

  show(slots: Slot[]): void {
    this.#slots = slots;
    const decimals = decimalsOf(slots);
    this.#candles.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: 10 ** -decimals } });
    this.#candles.setData(
      slots.map(({ at, candle }) => {
        if (!candle) return { time: seconds(at) };
        const [, open, high, low, close] = candle;
        return { time: seconds(at), open, high, low, close };
      }),
    );
    for (const origin of ["backtest", "live"] as const) {
      this.#forecast[origin].setData(pointsOf(slots, "forecast", origin));
      this.#realised[origin].setData(pointsOf(slots, "realised", origin));
    }
    this.#showBands();
    this.#chart.timeScale().fitContent();
  }

  /** Takes the colours of the theme. */
  paint(): void {
    const [ink, quiet, edge] = [colour("ink"), colour("quiet"), colour("edge")];
    this.#chart.applyOptions({
      layout: {
        background: { color: "transparent" },
        textColor: quiet,
        fontFamily: getComputedStyle(document.body).fontFamily,
        panes: { separatorColor: edge, separatorHoverColor: edge },
      },
      grid: { vertLines: { visible: false }, horzLines: { color: edge } },
      crosshair: {
        vertLine: { color: quiet, labelBackgroundColor: quiet },
        horzLine: { color: quiet, labelBackgroundColor: quiet },
      },
    });
    const [up, down] = [colour("candle-up"), colour("candle-down")];
    this.#candles.applyOptions({
      upColor: up,
      wickUpColor: up,
      downColor: down,
      wickDownColor: down,
      borderVisible: false,
    });
    this.#forecast.live.applyOptions({ color: ink });
    this.#forecast.backtest.applyOptions({ color: ink });
    this.#realised.live.applyOptions({ color: colour("realised") });
    this.#realised.backtest.applyOptions({ color: colour("realised") });
    this.#threshold.applyOptions({ color: colour("high") });
    this.#showBands();
  }

  #showBands(): void {
    const [bands, times] = [bandsOf(this.#slots), this.#slots.map(({ at }) => seconds(at))];
    const colours = { low: colour("low-band"), high: colour("high-band") };
    this.#bands.show(bands, times, colours);
  }

  #line(lineWidth: 1 | 2): ISeriesApi<"Line"> {
    return this.#chart.addSeries(
      LineSeries,
      {
        lineWidth,
        lineType: LineType.WithSteps,
        priceLineVisible: false,
        lastValueVisible: false,
        crosshairMarkerRadius: 3,
        priceFormat: { type: "custom", minMove: 0.0001, formatter: (vol: number) => percent(vol) },
        // The edge of the regimes stays in sight, and nothing is cut at zero.
        autoscaleInfoProvider: (own: () => { priceRange: { minValue: number; maxValue: number } | null } | null) => {
          const range = own()?.priceRange;
          return {
            priceRange: {
              minValue: Math.min(0, range?.minValue ?? 0),
              maxValue: 1.1 * Math.max(THRESHOLD, range?.maxValue ?? 0),
            },
          };
        },
      },
      1,
    );
  }
}

function pointsOf(slots: Slot[], what: "forecast" | "realised", origin: Origin): LinePoint[] {
  return slots.map((slot) => {
    const found = slot[what];
    return found?.origin === origin
      ? { time: seconds(slot.at), value: found.volAnnualised }
      : { time: seconds(slot.at) };
  });
}

function decimalsOf(slots: Slot[]): number {
  const high = Math.max(...slots.map(({ candle }) => candle?.[2] ?? 0));
  return high < 10 ? 4 : high < 1000 ? 2 : 0;
}

const seconds = (ms: number): UTCTimestamp => (ms / 1000) as UTCTimestamp;
