// Contrast of every visible text with what lies behind it, as WCAG 2.2 computes it (1.4.3): 4.5, or 3 where it is large.
() => {
  const LARGE_PX = 24;
  const LARGE_BOLD_PX = 18.66;

  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parsed = new Map();
  // The browser's own reading of a colour, in whatever notation it comes.
  const rgba = (colour) => {
    if (!parsed.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      parsed.set(colour, [r, g, b, a / 255]);
    }
    return parsed.get(colour);
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((part, i) => part * a + under[i] * (1 - a));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };

  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const ground = (element) => {
    const own = element ? ground(element.parentElement) : dark ? [18, 18, 18] : [255, 255, 255];
    return element ? over(rgba(getComputedStyle(element).backgroundColor), own) : own;
  };
  const shown = (element) =>
    element.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true }) &&
    getComputedStyle(element).clipPath === "none";

  const measured = [];
  const measure = (element, text, pseudo) => {
    const style = getComputedStyle(element, pseudo);
    const behind = ground(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const size = parseFloat(style.fontSize);
    const needed = size >= LARGE_PX || (size >= LARGE_BOLD_PX && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const found = ratio(over(rgba(ink), behind), behind);
    const where = `${element.localName}#${element.id}.${element.getAttribute("class") ?? ""}${pseudo ?? ""}`;
    measured.push({ text: text.trim().slice(0, 60), where, ratio: Math.round(found * 100) / 100, needed });
  };

  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { parentElement: parent, textContent: text } = texts.currentNode;
    const element = parent.closest("select") ?? parent;
    if (text.trim() && !element.matches("noscript, script, style, :disabled") && shown(element)) measure(element, text);
  }
  for (const element of document.querySelectorAll("body *")) {
    for (const pseudo of ["::before", "::after"]) {
      const { content } = getComputedStyle(element, pseudo);
      if (/^".*[^\s"].*"$/.test(content) && shown(element)) measure(element, content, pseudo);
    }
  }
  return measured;
}
