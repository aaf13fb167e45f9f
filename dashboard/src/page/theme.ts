// Dark or light: as the system says, until the visitor chooses. `first.js` sets the choice before the first paint.

import { byId, setText } from "./dom";

const KEY = "veriregime-theme";
const SYSTEM = "(prefers-color-scheme: dark)";

/** Wires the toggle; `changed` is told when colours change, also by the system. */
export function themeToggle(changed: () => void = () => undefined): void {
  const button = byId<HTMLButtonElement>("theme");
  const show = (): void => {
    const other = isDark() ? "light" : "dark";
    setText(button, isDark() ? "Light" : "Dark");
    button.setAttribute("aria-label", `Switch to the ${other} theme`);
    changed();
  };
  button.addEventListener("click", () => {
    const chosen = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    keep(chosen);
    show();
  });
  matchMedia(SYSTEM).addEventListener("change", show);
  show();
}

export function isDark(): boolean {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia(SYSTEM).matches;
}

/** What a colour of the style sheet is now, in a form that a canvas takes. */
export function colour(name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function keep(theme: "dark" | "light"): void {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // A browser that keeps nothing still shows the chosen theme until the page is left.
  }
}
