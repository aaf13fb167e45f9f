// The calibration diagram: of the windows of which about this probability was stated, how many came out high.

import type { CalibrationBin } from "../api/types";
import { drawn } from "../page/dom";
import { percent, plural } from "../page/format";

const [SIZE, LEFT, TOP, BOTTOM] = [200, 34, 8, 34];
const MARKS = [0, 0.25, 0.5, 0.75, 1];
const [SMALLEST, LARGEST] = [2.5, 9];

export function calibrationDiagram(bins: CalibrationBin[]): SVGElement {
  const [width, height] = [LEFT + SIZE + 10, TOP + SIZE + BOTTOM];
  const diagram = drawn("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": calibrationWords(bins),
  });
  diagram.append(...frame(), ...points(bins));
  return diagram;
}

export function calibrationWords(bins: CalibrationBin[]): string {
  const told = bins.filter(({ windows }) => windows > 0);
  if (!told.length) return "Calibration: no windows yet";
  const words = told.map(
    ({ stated, observed, windows }) =>
      `${percent(stated ?? 0, 0)} stated, ${percent(observed ?? 0, 0)} came out high, ${plural(windows, "window")}`,
  );
  return `Calibration: ${words.join("; ")}`;
}

const x = (share: number): number => LEFT + share * SIZE;
const y = (share: number): number => TOP + (1 - share) * SIZE;

function frame(): SVGElement[] {
  const levels = MARKS.flatMap((mark) => [
    drawn("path", { class: "grid", d: `M${x(0)} ${y(mark)}H${x(1)}` }),
    drawn("text", { x: LEFT - 6, y: y(mark) + 4, "text-anchor": "end" }, String(100 * mark)),
    drawn("text", { x: x(mark), y: y(0) + 15, "text-anchor": "middle" }, String(100 * mark)),
  ]);
  const diagonal = drawn("path", { class: "diagonal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` });
  const caption = drawn(
    "text",
    { x: x(0.5), y: y(0) + 31, "text-anchor": "middle" },
    "across: % stated, up: % that came out high",
  );
  return [...levels, diagonal, caption];
}

// The area of a point is its share of the windows.
function points(bins: CalibrationBin[]): SVGElement[] {
  const most = Math.max(...bins.map(({ windows }) => windows), 1);
  const told = bins.filter(({ stated, observed }) => stated !== null && observed !== null);
  const at = ({ stated, observed }: CalibrationBin): string => `${x(stated ?? 0)} ${y(observed ?? 0)}`;
  const line = told.length > 1 ? [drawn("path", { class: "calibrated", d: `M${told.map(at).join("L")}` })] : [];
  return [
    ...line,
    ...told.map((bin) =>
      drawn("circle", {
        class: "calibrated",
        cx: x(bin.stated ?? 0),
        cy: y(bin.observed ?? 0),
        r: Math.max(SMALLEST, LARGEST * Math.sqrt(bin.windows / most)),
      }),
    ),
  ];
}
