// The organiser's table: which PC has which game; made only when it is opened, whole as a CSV file.

import { bdi, button, h } from "./dom.js";
import { clean, collator } from "./format.js";
import { peerName } from "./store.js";
import { sources } from "./actions.js";
import { t } from "./words.js";

const MOST_GAMES = 200;

/** All PCs (id, name) and all games by name. */
function gathered(state) {
  const ids = new Set(state.peers.filter((peer) => peer.connected).map((peer) => peer.peer_id));
  for (const game of state.games.values()) for (const id of sources(game)) ids.add(id);
  const { compare } = collator();
  const peers = [...ids].map((id) => ({ id, name: clean(peerName(state, id)) })).sort((a, b) => compare(a.name, b.name));
  const games = [...state.games.values()].sort((a, b) => compare(a.name, b.name));
  return { peers, games };
}

/** A cell of a CSV file. A spreadsheet must not take text for a formula. */
export function cell(value) {
  const text = clean(value);
  const safe = /^[=+\-@]/.test(text) ? `'${text}` : text;
  return /[",;\r\n']/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function toCsv(state) {
  const { peers, games } = gathered(state);
  const yes = (has) => (has ? "1" : "0");
  const lines = [["id", "name", "version", "bytes", t("about.title"), ...peers.map((peer) => peer.name)]];
  for (const game of games) {
    const at = new Set(sources(game));
    lines.push([game.id, game.name, game.version ?? "", game.size, yes(game.downloaded), ...peers.map((peer) => yes(at.has(peer.id)))]);
  }
  return `\ufeff${lines.map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;
}

function save(state) {
  const url = URL.createObjectURL(new Blob([toCsv(state)], { type: "text/csv;charset=utf-8" }));
  h("a", { href: url, download: "lanspread-games.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function matrixView(root, state) {
  const place = h("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": t("matrix.title") });
  const rest = h("p", { class: "sub" });
  const details = h("details", { on: { toggle: () => render() } },
    h("summary", null, h("h3", { id: "matrix-title" }, t("matrix.title"))),
    button("quiet", "csv", t("matrix.csv"), () => save(state)),
    place, rest);
  root.replaceChildren(details);

  function render() {
    if (!details.open) return;
    const { peers, games } = gathered(state);
    const mark = (has) => h("td", { class: has ? "yes" : "no" }, h("span", { "aria-hidden": "true" }, has ? "✓" : "·"), h("span", { class: "unseen" }, t(has ? "matrix.yes" : "matrix.no")));
    const head = h("tr", null, h("th", { scope: "col" }, t("matrix.game")), h("th", { scope: "col" }, t("about.title")),
      peers.map((peer) => h("th", { scope: "col" }, h("bdi", null, peer.name))));
    const rows = games.slice(0, MOST_GAMES).map((game) => {
      const at = new Set(sources(game));
      return h("tr", null, h("th", { scope: "row" }, bdi(game.name)), mark(game.downloaded), peers.map((peer) => mark(at.has(peer.id))));
    });
    place.replaceChildren(h("table", null, h("thead", null, head), h("tbody", null, rows)));
    rest.textContent = games.length > MOST_GAMES ? t("matrix.more", { n: games.length - MOST_GAMES }) : "";
  }

  return { render };
}
