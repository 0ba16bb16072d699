// The Games view: search, filters, order, the list, and what a click on it does.

import { button, byId, h, setAttr, setText } from "./dom.js";
import { clean, collator, iso, number } from "./format.js";
import { DANGEROUS, hasUpdate, more, perform, rank, sources } from "./actions.js";
import { createRow, fillRow } from "./row.js";
import { VirtualList } from "./list.js";
import { openGame } from "./game-dialog.js";
import { openMenu } from "./menu.js";
import { t } from "./words.js";

const FILTERS = {
  all: () => true,
  here: (game) => game.downloaded || game.installed || game.arriving || Boolean(game.operation),
  installable: (game) => game.downloaded && !game.installed,
  elsewhere: (game) => !game.downloaded && sources(game).length > 0,
  updates: (game) => game.downloaded && hasUpdate(game),
};

const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

export function gamesView(state) {
  const list = new VirtualList(byId("list"), createRow, (row, id) => fillRow(row, state, state.games.get(id)));
  const search = byId("search");
  let filter = "all";
  let names = new Map();
  let byName = [];
  const keys = new WeakMap();

  const chips = new Map(Object.keys(FILTERS).map((name) => {
    const count = h("span", { class: "count" });
    const label = h("span", {});
    const chip = button("chip", "filter", label, () => show(name), { "data-filter": name });
    chip.append(" ", count);
    byId("filters").append(chip);
    return [name, { chip, label, count }];
  }));

  function show(name) {
    filter = name;
    render();
  }

  function wanted(game, words) {
    if (words.length === 0) return true;
    if (!keys.has(game)) keys.set(game, plain(`${game.name} ${game.id} ${game.genre ?? ""}`));
    return words.every((word) => keys.get(game).includes(word));
  }

  /** By name; sorted again only when a name changed, because that is slow for thousands. */
  function ordered() {
    const same = names.size === state.games.size && byName.every((id) => names.get(id) === state.games.get(id)?.name);
    if (!same) {
      names = new Map([...state.games].map(([id, game]) => [id, game.name]));
      const { compare } = collator();
      byName = [...names.keys()].sort((a, b) => compare(names.get(a), names.get(b)) || (a < b ? -1 : 1));
    }
    const ranks = new Map(byName.map((id) => [id, rank(state, state.games.get(id))]));
    return byName.toSorted((a, b) => ranks.get(a) - ranks.get(b));
  }

  function render() {
    const words = plain(search.value).split(/\s+/).filter(Boolean);
    const found = ordered().map((id) => state.games.get(id)).filter((game) => wanted(game, words));
    for (const [name, { chip, label, count }] of chips) {
      setText(label, t(`filter.${name}`));
      setText(count, number(found.filter(FILTERS[name]).length));
      setAttr(chip, "aria-pressed", name === filter ? "true" : "false");
    }
    const shown = found.filter(FILTERS[filter]).map((game) => game.id);
    setText(byId("tally"), shown.length > 0 ? t("games.count", { n: shown.length }) : "");
    setAttr(byId("list"), "hidden", shown.length === 0);
    list.set(shown);
    empty(shown.length === 0);
  }

  function empty(none) {
    const place = byId("empty");
    setAttr(place, "hidden", !none || !state.status);
    if (place.hidden) return;
    if (state.games.size > 0) {
      const all = button("quiet", "show-all", t("games.show-all"), () => {
        search.value = "";
        show("all");
        search.focus();
      });
      place.replaceChildren(h("h3", null, t("games.none.match")), all);
      return;
    }
    const peers = state.status.peers_connected;
    place.replaceChildren(
      h("div", { class: peers > 0 ? "radar still" : "radar", "aria-hidden": "true" }),
      h("h3", null, t("games.none")),
      h("p", null, peers > 0 ? t("games.none.peers") : t("peers.none")),
      h("p", null, t("games.none.own")),
      h("p", null, h("code", null, clean(state.status.game_dir))),
      h("p", { class: "sub" }, t("games.none.form")));
  }

  function act(name, id, opener) {
    const game = state.games.get(id);
    if (!game) return;
    if (name === "more") {
      const items = more(state, game).map((action) => ({ action, text: t(`do.${action}`), danger: DANGEROUS.has(action) }));
      openMenu(opener, t("more", { game: iso(game.name) }), items, (action) => act(action, id, opener));
    } else if (name === "details" || name === "explain" || name === "sources") {
      openGame(state, id, name);
    } else {
      perform(name, game);
    }
  }

  byId("list").addEventListener("click", (event) => {
    const row = event.target.closest("[data-game]");
    const pressed = event.target.closest("button[data-action]");
    // The second click of a double click would hit what the button has become.
    if (!row || event.detail > 1) return;
    if (pressed) act(pressed.dataset.action, row.dataset.game, pressed);
    else if (event.target.closest(".c-game")) act("details", row.dataset.game);
  });
  byId("list").addEventListener("keydown", (event) => {
    if (!event.target.matches("[role=row]") || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    act("details", event.target.dataset.game);
  });
  search.addEventListener("input", () => {
    render();
    // The first hits are what is looked for.
    if (scrollY > byId("view-games").offsetTop) scrollTo(0, 0);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown") return;
    event.preventDefault();
    list.focus(0);
  });

  return { render, progress: () => list.refresh(), relabel: () => (names = new Map()) };
}
