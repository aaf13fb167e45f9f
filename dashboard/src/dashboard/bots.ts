// What a program would ask, as lines for a terminal.

import { byId, fill, made } from "../page/dom";
import { hashButton } from "../page/hash";

export function showCurls(feed: string): void {
  const at = `${location.origin}/v1`;
  const lines: [string, string][] = [
    ["The newest forecast", `curl '${at}/feeds/${feed}/latest?max_age=120'`],
    ["With proof, signatures and calldata", `curl '${at}/feeds/${feed}/latest?include=proof,attestations,calldata'`],
    ["Every event as it happens", `curl -N '${at}/stream?feed=${feed}'`],
  ];
  fill(
    byId("curls"),
    lines.map(([what, line]) => curlItem(what, line)),
  );
}

function curlItem(what: string, line: string): HTMLLIElement {
  const copy = hashButton(`the command: ${what}`, line);
  copy.textContent = "Copy";
  return made("li", "", made("span", "quiet", what), made("code", "", line), copy);
}
