// Everything about one game: description, notes, who has it, what it waits for, and all that can be done with it.

import { bdi, button, h, setText } from "./dom.js";
import { command } from "./api.js";
import { clean, iso, rate, size } from "./format.js";
import { DANGEROUS, more, perform, primary, secondary, sources, waits } from "./actions.js";
import { describe, notes, placeholder } from "./row.js";
import { peerName } from "./store.js";
import { reason, settle } from "./toast.js";
import { has, t } from "./words.js";

let open = null;

/** Shows a game; `part` (details, explain, sources) is what is looked for. */
export function openGame(state, id, part) {
  const game = state.games.get(id);
  const heading = (text, name) => h("h3", { tabindex: -1, "data-part": name }, text);
  const parts = {
    facts: h("dl", { class: "facts" }),
    state: h("p", { class: "lead" }),
    notes: h("ul", { class: "notes" }),
    who: h("ul", { class: "notes" }),
    why: h("div", null, h("p", null, t("dialog.why.loading"))),
    actions: h("div", { class: "dialog-actions" }),
  };
  const close = button("icon-button close", "close", "×", () => dialog.close(), { "aria-label": t("close") });
  const dialog = h("dialog", { class: "game", "aria-labelledby": "game-title", "data-game-dialog": id },
    h("header", null, h("div", { class: "cover-box large" }, placeholder(game.id, game.name)), h("div", {},
      h("h2", { id: "game-title" }, bdi(game.name))), close),
    parts.state,
    game.description ? h("p", null, bdi(game.description)) : null,
    parts.actions, parts.facts, parts.notes,
    heading(t("dialog.who"), "sources"), parts.who,
    waits(game) ? [heading(t("dialog.why"), "explain"), parts.why] : null);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    settle();
    dialog.remove();
    open = null;
  });
  document.body.append(dialog);
  open = { state, id, parts, dialog, names: "" };
  refreshGame();
  dialog.showModal();
  dialog.querySelector(`[data-part="${part}"]`)?.focus();
  if (waits(game)) explain(id, parts.why);
}

/** Brings an open dialog up to date. */
export function refreshGame() {
  if (!open) return;
  const { state, id, parts, dialog } = open;
  const game = state.games.get(id);
  if (!game) return dialog.close();
  const { word, detail } = describe(state, game);
  setText(parts.state, game.operation && detail ? `${word} – ${detail}` : word);
  const fact = (key, value) => (value ? [h("dt", null, t(`dialog.${key}`)), h("dd", null, bdi(value))] : []);
  parts.facts.replaceChildren(...[
    fact("version", game.version), fact("size", game.size > 0 ? size(game.size) : ""), fact("genre", game.genre),
    fact("players", game.players), fact("id", game.id),
  ].flat());
  parts.notes.replaceChildren(...notes(state, game).map((text) => h("li", null, text)));
  const who = sources(game).map((peer) => h("li", null, bdi(peerName(state, peer))));
  if (game.downloaded) who.unshift(h("li", null, t("about.title")));
  parts.who.replaceChildren(...(who.length > 0 ? who : [h("li", null, t("dialog.who.none"))]));
  buttons(state, game, parts.actions);
}

function buttons(state, game, place) {
  const main = [primary(state, game), secondary(state, game)].filter(Boolean);
  const others = more(state, game).filter((name) => !["details", "explain", "sources"].includes(name));
  const names = [...main, ...others];
  if (open.names === names.join()) return;
  open.names = names.join();
  const kind = (name) => (DANGEROUS.has(name) ? "quiet danger-text" : name === main[0] && name !== "cancel" ? "primary" : "quiet");
  const had = place.contains(document.activeElement);
  place.replaceChildren(...names.map((name) =>
    button(kind(name), name, t(`do.${name}`), (event) => event.detail < 2 && perform(name, state.games.get(game.id) ?? game))));
  if (had) place.firstElementChild?.focus();
}

/** What `explain` calls the states of a download, as the list calls them. */
const WHY = { queued: "queued", preparing: "checking", fetching: "downloading" };

async function explain(id, place) {
  try {
    const why = await command("explain", { game: id });
    const known = WHY[why.state] ? t(`state.${WHY[why.state]}`) : "";
    const rows = (why.sources ?? []).map((row) => {
      const name = row.url ?? row.hostname ?? row.peer_id.slice(0, 12);
      const doing = has(`source.${row.state}`) ? t(`source.${row.state}`) : iso(row.reason);
      const speed = row.bytes_per_second > 0 ? `, ${rate(row.bytes_per_second)}` : "";
      return h("li", { title: clean(row.reason) }, `${iso(name)}: ${doing}${speed}`);
    });
    place.replaceChildren(h("p", null, known), h("p", { class: "sub" }, clean(why.reason)),
      h("ul", { class: "notes" }, rows));
  } catch (error) {
    place.replaceChildren(h("p", { class: "sub" }, reason(error.code, error.message)));
  }
}
