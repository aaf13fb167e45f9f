// Which numbered control has the focus, and how wide the outline is that shows it: its own, or of what stands for it.
() => {
  const element = document.activeElement;
  const outlined = (one) => {
    const { outlineStyle, outlineWidth, outlineColor } = one ? getComputedStyle(one) : {};
    return one && outlineStyle !== "none" && !/, 0\)$|transparent/.test(outlineColor) ? parseFloat(outlineWidth) : 0;
  };
  const visible = getComputedStyle(element).opacity !== "0";
  const outline = visible ? outlined(element) : outlined(element.nextElementSibling);
  const box = element.getBoundingClientRect();
  const inView = box.bottom > 0 && box.top < innerHeight && box.width > 1;
  return { control: element.control ?? null, outline, inView };
}
