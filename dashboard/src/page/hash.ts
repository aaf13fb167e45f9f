// Buttons that show a long value in short and copy the whole of it.

import { made, setText } from "./dom";
import { NONE, shortened } from "./format";

const LONGEST_TITLE = 200;
const SAID_FOR_MS = 1_200;
const SELECTED_FOR_MS = 10_000;

export function setHash(button: HTMLButtonElement, value: string | null | undefined): void {
  const name = button.dataset.name ?? "value";
  button.disabled = !value;
  button.value = value ?? "";
  button.title = value && value.length <= LONGEST_TITLE ? value : "";
  button.setAttribute("aria-label", value ? `Copy ${name} ${shortened(value)}` : `No ${name}`);
  setText(button, value ? shortened(value) : NONE);
}

export function hashButton(name: string, value: string | null | undefined): HTMLButtonElement {
  const button = made("button", "hash");
  button.type = "button";
  button.dataset.name = name;
  setHash(button, value);
  return button;
}

/** Every `.hash` button of the page copies its value from now on. */
export function copyOnClick(): void {
  document.addEventListener("click", ({ target }) => {
    const button = target instanceof Element ? target.closest<HTMLButtonElement>("button.hash") : null;
    if (button) void copy(button);
  });
}

async function copy(button: HTMLButtonElement): Promise<void> {
  const before = button.textContent ?? "";
  const copied = await copyText(button.value);
  setText(button, copied ? "Copied" : button.value);
  // Without a secure context there is no clipboard: the whole value is selected, to be copied by hand.
  if (!copied) getSelection()?.selectAllChildren(button);
  setTimeout(() => setText(button, before), copied ? SAID_FOR_MS : SELECTED_FOR_MS);
}

async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
