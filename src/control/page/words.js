// The language of the page: picks a dictionary, fills in values, chooses plurals.

import en from "./words-en.js";
import de from "./words-de.js";

const DICTIONARIES = { en, de };
const KEPT_AS = "lanspread-language";

let language = "en";
let plurals = new Intl.PluralRules("en");

/** The language chosen earlier, else the browser's, else English. */
export function startLanguage() {
  let kept = null;
  try {
    kept = localStorage.getItem(KEPT_AS);
  } catch {
    // Storage may be switched off.
  }
  const wanted = [kept, ...(navigator.languages ?? [navigator.language])];
  use(wanted.map((tag) => String(tag).slice(0, 2)).find((tag) => tag in DICTIONARIES) ?? "en");
}

/** Takes another language and remembers it. */
export function chooseLanguage(tag) {
  use(tag in DICTIONARIES ? tag : "en");
  try {
    localStorage.setItem(KEPT_AS, language);
  } catch {
    // Then it holds for this visit.
  }
}

function use(tag) {
  language = tag;
  plurals = new Intl.PluralRules(tag);
  document.documentElement.lang = tag;
}

export const lang = () => language;

export const has = (key) => key in DICTIONARIES[language];

/** The text of a key; `{name}` is replaced, and `n` chooses between `key.one` and `key.other`. */
export function t(key, values = {}) {
  const words = DICTIONARIES[language];
  const count = values.count ?? values.n;
  const plural = typeof count === "number" ? words[`${key}.${plurals.select(count)}`] ?? words[`${key}.other`] : undefined;
  const text = plural ?? words[key] ?? en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (all, name) => {
    const value = values[name];
    if (value === undefined) return all;
    return typeof value === "number" ? new Intl.NumberFormat(language).format(value) : String(value);
  });
}

/** Fills everything in the document that names its text. */
export function translate(root) {
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
  for (const element of root.querySelectorAll("[data-t-title]")) element.title = t(element.dataset.tTitle);
  for (const element of root.querySelectorAll("[data-t-hint]")) element.placeholder = t(element.dataset.tHint);
}
