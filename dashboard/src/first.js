// Runs before the first paint, so that a visitor who chose a theme never sees the other one flash.
try {
  const chosen = localStorage.getItem("veriregime-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is switched off: the system's theme it is.
}
