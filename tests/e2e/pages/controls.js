// Every control that a keyboard must reach, numbered in the order of the document; of a group of radios the chosen one.
// The number is a property, not an attribute: to the page its elements look as before.
() => {
  const all = "a[href], button:not(:disabled), select, input:not(:disabled), summary, [tabindex='0']";
  const found = [...document.querySelectorAll(all)].filter(
    (element) =>
      element.checkVisibility({ visibilityProperty: true }) && !(element.type === "radio" && !element.checked),
  );
  return found.map((element, i) => {
    element.control = i;
    const { localName, id, className, textContent } = element;
    return `${localName}#${id}.${className} ${textContent.trim().slice(0, 40)}`;
  });
}
