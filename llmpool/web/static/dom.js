// Making and changing elements. What the feed says goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

// Make an element; a null attribute is left out, `text` is its text.
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function makeSvg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, { text, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(node, name, value);
  if (text !== undefined) node.textContent = text;
  node.append(...children.filter((child) => child !== null));
  return node;
}

// The setters touch the page only where something changes: a screen reader, a selection and the
// focus stay where they are.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else {
    const text = value === true ? "" : String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
}

export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

// Bring a parent's children into this order. The focused one is never moved, for that takes its focus away.
export function arrange(parent, wanted) {
  if (wanted.every((node, place) => parent.children[place] === node)) return;
  const focused = wanted.findIndex((node) => node.contains(document.activeElement));
  wanted.forEach((node, place) => {
    if (place < focused) parent.insertBefore(node, wanted[focused]);
    else if (place > focused) parent.append(node);
  });
}

// The drawing of a state. Words always stand beside it.
export function stateIcon() {
  const use = makeSvg("use");
  const icon = makeSvg("svg", { class: "icon", "aria-hidden": "true", focusable: "false" }, use);
  return { icon, show: (state) => setAttribute(use, "href", `#i-${state}`) };
}
