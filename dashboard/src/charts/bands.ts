// The regimes behind a chart's series, drawn on its canvas. What was only back-tested is hatched.

import type {
  IChartApi,
  IPrimitivePaneView,
  ISeriesPrimitive,
  SeriesAttachedParameter,
  Time,
  UTCTimestamp,
} from "lightweight-charts";
import type { Band } from "./day";

const [HATCH_PX, HATCH_LINE_PX] = [7, 2];

export interface BandColours {
  low: string;
  high: string;
}

interface Target {
  useBitmapCoordinateSpace(draw: (scope: Scope) => void): void;
}

interface Scope {
  context: CanvasRenderingContext2D;
  bitmapSize: { width: number; height: number };
  horizontalPixelRatio: number;
}

export class RegimeBands implements ISeriesPrimitive<Time> {
  #chart: IChartApi | null = null;
  #redraw: (() => void) | null = null;
  #bands: Band[] = [];
  #times: UTCTimestamp[] = [];
  #colours: BandColours = { low: "", high: "" };
  readonly #views: IPrimitivePaneView[] = [
    { zOrder: () => "bottom" as const, renderer: () => ({ draw: (target: Target) => this.#draw(target) }) },
  ];

  attached({ chart, requestUpdate }: SeriesAttachedParameter<Time>): void {
    this.#chart = chart as IChartApi;
    this.#redraw = requestUpdate;
  }

  detached(): void {
    this.#chart = null;
  }

  paneViews(): IPrimitivePaneView[] {
    return this.#views;
  }

  show(bands: Band[], times: UTCTimestamp[], colours: BandColours): void {
    [this.#bands, this.#times, this.#colours] = [bands, times, colours];
    this.#redraw?.();
  }

  #draw(target: Target): void {
    target.useBitmapCoordinateSpace((scope) => {
      for (const band of this.#bands) this.#drawBand(scope, band);
    });
  }

  #drawBand({ context, bitmapSize, horizontalPixelRatio: ratio }: Scope, band: Band): void {
    const scale = this.#chart?.timeScale();
    const [first, last] = [this.#times[band.first], this.#times[band.last]];
    const from = scale && first !== undefined ? scale.timeToCoordinate(first) : null;
    const to = scale && last !== undefined ? scale.timeToCoordinate(last) : null;
    if (!scale || from === null || to === null) return;
    const half = scale.options().barSpacing / 2;
    const [left, right] = [(from - half) * ratio, (to + half) * ratio];
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, bitmapSize.height);
    context.clip();
    if (band.origin === "live") this.#fill(context, band);
    else this.#hatch(context, band, left, right, bitmapSize.height, ratio);
    context.restore();
  }

  #fill(context: CanvasRenderingContext2D, { regime }: Band): void {
    context.fillStyle = this.#colours[regime];
    context.fill();
  }

  #hatch(
    context: CanvasRenderingContext2D,
    { regime }: Band,
    left: number,
    right: number,
    height: number,
    ratio: number,
  ): void {
    const step = HATCH_PX * ratio;
    context.strokeStyle = this.#colours[regime];
    context.lineWidth = HATCH_LINE_PX * ratio;
    context.beginPath();
    // From a multiple of the step, so that the lines of neighbours meet.
    for (let x = Math.floor((left - height) / step) * step; x < right; x += step) {
      context.moveTo(x, height);
      context.lineTo(x + height, 0);
    }
    context.stroke();
  }
}
