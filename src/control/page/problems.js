// The Problems view: what is wrong now and what went wrong, in words and with a remedy; counts what nobody saw yet.

import { byId, h, setAttr } from "./dom.js";
import { clock, iso } from "./format.js";
import { findings, troubles } from "./store.js";
import { reason } from "./toast.js";
import { has, t } from "./words.js";

/** The sentence of an entry: names in it come from other PCs. */
export function sentence(state, { key, game, values = {} }) {
  const name = game === undefined ? {} : { game: iso(state.games.get(game)?.name ?? game) };
  const safe = Object.entries(values).map(([field, value]) => [field, typeof value === "number" ? value : iso(value)]);
  return t(key, { ...Object.fromEntries(safe), ...name });
}

export function problemsView(root, state) {
  const seen = new Set();
  let eventsSeen = 0;

  function item(entry, remedy) {
    const detail = reason(entry.code, entry.message);
    return h("li", { class: "card problem" },
      h("p", null, h("strong", null, sentence(state, entry))),
      detail ? h("p", { class: "sub" }, detail) : null,
      remedy ? h("p", null, h("span", { class: "remedy" }, t("problems.remedy")), " ", remedy) : null,
      entry.at ? h("time", { datetime: new Date(entry.at).toISOString() }, clock(entry.at)) : null);
  }

  const remedyOf = (entry) => {
    const what = entry.code === "game-directory-gone" ? "directory-gone" : entry.code ?? entry.key.split(".").at(-1);
    const key = [`remedy.${what}`, `trouble.${what}.remedy`].find(has);
    return key ? t(key) : "";
  };

  /** A finding of the daemon, in the page's words where it has some. */
  function finding({ code, message, remedy }) {
    const [title, advice] = [`finding.${code}`, `finding.${code}.remedy`];
    return h("li", { class: "card problem", "data-finding": code },
      h("p", null, h("strong", null, has(title) ? t(title) : iso(message))),
      has(title) ? h("p", { class: "sub" }, iso(message)) : null,
      h("p", null, h("span", { class: "remedy" }, t("problems.remedy")), " ", has(advice) ? t(advice) : remedy));
  }

  function render() {
    const now = troubles(state);
    for (const { id } of now) seen.add(id);
    eventsSeen = state.problemsEver;
    badge();
    const section = (title, list, none) => [h("h3", null, t(title)), list.length > 0 ? h("ul", { class: "stack" }, list) : h("p", { class: "fine" }, t(none))];
    root.replaceChildren(h("h2", { id: "problems-title", class: "unseen" }, t("tab.problems")),
      ...section("problems.now", [...now.map((entry) => item(entry, t(`${entry.key}.remedy`))), ...findings(state).map(finding)], "problems.none"),
      ...section("problems.past", state.problems.map((entry) => item(entry, remedyOf(entry))), "problems.none.past"));
  }

  function badge() {
    const unseen = troubles(state).filter(({ id }) => !seen.has(id)).length + state.problemsEver - eventsSeen;
    const count = Math.min(unseen, 99);
    byId("badge").replaceChildren(h("span", { "aria-hidden": "true" }, String(count)), h("span", { class: "unseen" }, t("tab.problems.new", { n: count })));
    setAttr(byId("badge"), "hidden", unseen === 0);
  }

  return { render, badge, relabel: () => badge() };
}
