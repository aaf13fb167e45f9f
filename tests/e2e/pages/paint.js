// Gives all that has a colour by its state the colours of one kind of state.
(kind) => {
  const step = { good: "done", warn: "running", bad: "failed", wait: "waiting", none: "skipped" }[kind];
  const regime = kind === "good" ? "low" : "high";
  for (const one of document.querySelectorAll("[data-kind]")) one.dataset.kind = kind;
  for (const one of document.querySelectorAll("[data-regime]")) one.dataset.regime = regime;
  for (const one of document.querySelectorAll(".steps li")) one.dataset.state = step;
  for (const mark of document.querySelectorAll(".marks li")) mark.className = kind === "bad" ? "alarm" : "caution";
  for (const word of document.querySelectorAll(".regime-word")) {
    word.classList.remove("low", "high");
    word.classList.add(regime);
  }
}
