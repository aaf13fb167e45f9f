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
  const old = [...container.childNodes];
  const wanted = children.map((child) => {
    const place = old.findIndex((node) => node.isEqualNode(child));
    return old.splice(place, place < 0 ? 0 : 1)[0] ?? child;
  });
  for (const node of old) node.remove();
  wanted.forEach((node, i) => {
    const there = container.childNodes[i] ?? null;
    if (there !== node) container.insertBefore(node, there);
  });
  if (focused && document.activeElement !== focused) refocus(container, focused);
}

/** The focus goes to what now stands for the element that had it: in a row that has changed, the link is another node. */
function refocus(container: Element, focused: Element): void {
  const alike = [...container.querySelectorAll<HTMLElement>(focused.localName)];
  alike.find((element) => element.isEqualNode(focused))?.focus({ preventScroll: true });
}
