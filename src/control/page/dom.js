// Builds elements without markup strings: text from other PCs can never become HTML.

import { clean } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element; attributes that are null, undefined or false are left out, `on` holds listeners. A button submits nothing. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), tag === "button" ? { type: "button", ...attributes } : attributes, children);
}

/** A button: its looks, its name for scripts and tests, what it says and does. */
export const button = (kind, action, label, click, attributes) =>
  h("button", { class: kind, "data-action": action, on: click && { click }, ...attributes }, label);

/** Text from elsewhere: harmless, and apart from the direction of what is around it. */
export const bdi = (text) => h("bdi", null, clean(text));

/** The same for SVG. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "on") {
      for (const [type, listener] of Object.entries(value ?? {})) element.addEventListener(type, listener);
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Sets text only where it differs, so that nothing is laid out anew for nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets or takes away an attribute, only where it differs. */
export function setAttr(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, String(value));
  }
}
