// Dark or light: as the system says, until the visitor chooses. `first.js` sets the choice before the first paint.

import { byId, setText } from "./dom";

const KEY = "veriregime-theme";

type Theme = "dark" | "light";

/** Wires the toggle; `changed` is told when colours change, also by the system. */
export function themeToggle(changed: () => void = () => undefined): void {
  const button = byId<HTMLButtonElement>("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const shown = (): Theme => (document.documentElement.dataset.theme as Theme) ?? (system.matches ? "dark" : "light");
  const show = (): void => {
    const other = shown() === "dark" ? "light" : "dark";
    setText(button, other === "dark" ? "Dark" : "Light");
    button.setAttribute("aria-label", `Switch to the ${other} theme`);
    changed();
  };
  button.addEventListener("click", () => {
    const chosen = shown() === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    keep(chosen);
    show();
  });
  system.addEventListener("change", show);
  show();
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

function keep(theme: Theme): void {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // A browser that keeps nothing still shows the chosen theme until the page is left.
  }
}
