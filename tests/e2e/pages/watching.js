// Before any script of the page: keeps account of what the browser itself reports.
globalThis.reported = { shifts: [], violations: [] };

new PerformanceObserver((list) => {
  for (const { value, hadRecentInput, startTime, sources } of list.getEntries()) {
    if (hadRecentInput) continue;
    const moved = sources.map(({ node, previousRect: from, currentRect: to }) => {
      const element = node?.nodeType === Node.TEXT_NODE ? node.parentElement : node;
      const name = element ? `${element.localName}#${element.id}.${element.className}` : "gone";
      return `${name} ${from.width}x${from.height}@${from.x},${from.y} to ${to.width}x${to.height}@${to.x},${to.y}`;
    });
    reported.shifts.push({ value, at: Math.round(startTime), moved });
  }
}).observe({ type: "layout-shift", buffered: true });

document.addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI, sourceFile }) => {
  reported.violations.push(`${effectiveDirective} ${blockedURI} ${sourceFile}`);
});
