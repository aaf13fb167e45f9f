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

/** Replaces what is in a container, unless it would look the same: focus and selection stay where they are. */
export function fill(container: Element, children: Node[]): void {
  const old = [...container.childNodes];
  const same = old.length === children.length && children.every((child, i) => old[i]?.isEqualNode(child));
  if (!same) container.replaceChildren(...children);
}
