// Short messages at the edge of the page, read aloud by screen readers; failures stay longer.

import { button, byId, h } from "./dom.js";
import { clean } from "./format.js";
import { has, t } from "./words.js";

const MOST = 3;

/** Puts the messages where they can be seen and read: into the dialog on top, if there is one. */
export function settle() {
  const top = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  if (byId("toasts").parentElement !== top) top.append(byId("toasts"));
}

function show(kind, text, detail, stays) {
  settle();
  const place = byId(kind === "bad" ? "alerts" : "messages");
  const close = button("icon-button", "dismiss", "×", () => toast.remove(), { "aria-label": t("close") });
  const toast = h("div", { class: `toast ${kind}` },
    h("div", null, h("p", null, text), detail ? h("p", { class: "detail" }, detail) : null), close);
  let timer = 0;
  const start = () => (timer = setTimeout(() => toast.remove(), stays));
  // Nobody is hurried who is about to close it.
  close.addEventListener("focus", () => clearTimeout(timer));
  close.addEventListener("blur", start);
  place.append(toast);
  while (place.childElementCount > MOST) place.firstElementChild.remove();
  start();
}

export const say = (text, detail = "") => show("good", text, detail, 5000);

export const note = (text, detail = "") => show("info", text, detail, 10_000);

/** A failure: what failed, why in the user's language where the code is known, and the daemon's words. */
export function failed(text, error = null) {
  show("bad", text, error ? reason(error.code, error.message) : "", 15_000);
}

/** Code and message in words. */
export function reason(code, message) {
  const known = code && has(`code.${code}`) ? t(`code.${code}`) : "";
  return [known, clean(message)].filter(Boolean).join(" — ");
}
