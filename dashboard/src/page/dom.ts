// Small steps on the document: found, made and changed elements.

const SVG = "http://www.w3.org/2000/svg";

type Children = (Node | string)[];

/** An element that the page's own HTML has. */
export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element ${id}`);
  return found as E;
}

export function made<T extends keyof HTMLElementTagNameMap>(
  tag: T,
  className = "",
  ...children: Children
): HTMLElementTagNameMap[T] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function drawn(name: string, attributes: Record<string, string | number>, ...children: Children): SVGElement {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** An unchanged text is left alone, so that a selection in it stays. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setTexts(texts: Record<string, string>): void {
  for (const [id, text] of Object.entries(texts)) setText(byId(id), text);
}

export type Kind = "good" | "warn" | "bad" | "wait" | "none";

/** A text with what it means, which also has a colour. */
export function setState(element: HTMLElement, text: string, kind: Kind): void {
  setText(element, text);
  element.dataset.kind = kind;
}

export function cell(text: string | Node, className = ""): HTMLTableCellElement {
  return made("td", className, text);
}

/** Makes a container hold these. What looks as before stays the very same node, with the focus and selection in it. */
export function fill(container: Element, children: Node[]): void {
  const focused = container.contains(document.activeElement) ? document.activeElement : null;
  // Place by place: a row that is moved down would count as a layout shift, new words in a row do not.
  children.forEach((child, i) => {
    const there = container.childNodes[i];
    if (!there) container.append(child);
    else if (!there.isEqualNode(child)) there.replaceWith(child);
  });
  while (container.childNodes.length > children.length) container.lastChild?.remove();
  if (focused && document.activeElement !== focused) refocus(container, focused);
}

/** The focus goes to what now stands for the element that had it: to the link of the same prediction, wherever it is. */
function refocus(container: Element, focused: Element): void {
  const stands = (element: Element): string | null =>
    element.getAttribute("href") ?? element.getAttribute("value") ?? element.textContent;
  const alike = [...container.querySelectorAll<HTMLElement>(focused.localName)];
  alike.find((element) => stands(element) === stands(focused))?.focus({ preventScroll: true });
}
