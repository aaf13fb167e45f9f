// One step of a window, as an item of its list.

import { made } from "../page/dom";
import type { Step } from "./life";

export function stepItem({ name, state, words }: Step): HTMLLIElement {
  const item = made("li", "", made("span", "step-name", name), made("span", "step-words", words));
  item.dataset.state = state;
  item.title = words;
  // What a colour and a mark say to the eye.
  item.append(made("span", "unseen", `: ${state}`));
  return item;
}
