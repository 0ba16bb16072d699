// The menu behind "⋯": one popover for all, with arrow keys; it closes by Escape, Tab or a click elsewhere.

import { button, byId } from "./dom.js";

let opener = null;

/** Shows `items` (action, text, danger) at a button and calls `chosen` with the action. */
export function openMenu(at, label, items, chosen) {
  const menu = byId("menu");
  menu.setAttribute("aria-label", label);
  menu.replaceChildren(...items.map(({ action, text, danger }) =>
    button(danger ? "danger-text" : "", action, text, () => {
      menu.hidePopover();
      opener.focus({ preventScroll: true });
      chosen(action);
    }, { role: "menuitem", tabindex: -1 })));
  opener = at;
  at.setAttribute("aria-expanded", "true");
  menu.showPopover();
  const box = at.getBoundingClientRect();
  const below = box.bottom + menu.offsetHeight + 8 < innerHeight;
  menu.style.setProperty("left", `${Math.max(8, Math.min(box.right, innerWidth - 8) - menu.offsetWidth)}px`);
  menu.style.setProperty("top", `${Math.max(8, below ? box.bottom + 4 : box.top - menu.offsetHeight - 4)}px`);
  menu.firstElementChild?.focus({ preventScroll: true });
}

export function startMenu() {
  const menu = byId("menu");
  menu.addEventListener("toggle", (event) => {
    if (event.newState === "closed") opener?.setAttribute("aria-expanded", "false");
  });
  menu.addEventListener("keydown", (event) => {
    const items = [...menu.children];
    const at = items.indexOf(document.activeElement);
    const to = {
      ArrowDown: (at + 1) % items.length,
      ArrowUp: (at - 1 + items.length) % items.length,
      Home: 0,
      End: items.length - 1,
    }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      items[to].focus();
    } else if (event.key === "Tab") {
      event.preventDefault();
      menu.hidePopover();
      opener?.focus({ preventScroll: true });
    }
  });
  // It stands where its button was.
  addEventListener("scroll", () => menu.matches(":popover-open") && menu.hidePopover(), { passive: true });
}
