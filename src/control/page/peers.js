// The PCs view: who is on the network and how, blocking, connecting by address, and the organiser's table.

import { bdi, button, h, setText } from "./dom.js";
import { command } from "./api.js";
import { clean, clock, collator, iso, number } from "./format.js";
import { matrixView } from "./matrix.js";
import { peerName } from "./store.js";
import { failed, say } from "./toast.js";
import { has, t } from "./words.js";

const COLUMNS = ["name", "address", "link", "trip", "games", "seen", "action"];

/** `want(kind)` asks for a fresh answer of the daemon. */
export function peersView(root, state, want) {
  let parts = {};
  let matrix = null;

  function build() {
    const address = h("input", { id: "address", autocomplete: "off", spellcheck: "false", required: true, placeholder: "192.168.0.10:47000" });
    const form = h("form", { class: "inline", on: { submit: connect } },
      h("label", { for: "address" }, t("connect.label")), address,
      button("primary", "connect", t("connect.do"), null, { type: "submit" }));
    parts = { tally: h("p", { class: "tally" }), body: h("div", { role: "rowgroup", class: "rows" }), empty: h("div", { class: "empty" }), address };
    parts.table = h("div", { class: "table peers", role: "table", "aria-label": t("peers.title") },
      h("div", { role: "rowgroup", class: "head" }, h("div", { role: "row" }, COLUMNS.map((name) => h("span", { role: "columnheader" }, t(`peers.${name}`))))),
      parts.body);
    const matrixPlace = h("div", { class: "card" });
    root.replaceChildren(h("h2", { id: "peers-title" }, t("peers.title")), parts.tally, parts.table, parts.empty,
      h("section", { class: "card", "aria-labelledby": "connect-title" }, h("h3", { id: "connect-title" }, t("connect.title")), h("p", null, t("connect.text")), form),
      matrixPlace);
    matrix = matrixView(matrixPlace, state);
  }

  function render() {
    if (!root.firstChild) build();
    const blocked = new Set(state.status?.peers_blocked ?? []);
    const listed = new Set(state.peers.map((peer) => peer.peer_id));
    const rows = [...state.peers, ...[...blocked].filter((id) => !listed.has(id)).map((id) => ({ peer_id: id, connected: false }))];
    const { compare } = collator();
    rows.sort((a, b) => b.connected - a.connected || compare(nameOf(a), nameOf(b)));
    setText(parts.tally, rows.length > 0 ? t("peers.count", { n: rows.filter((row) => row.connected).length }) : "");
    const focused = parts.body.contains(document.activeElement) ? document.activeElement.closest("[data-peer]")?.dataset.peer : null;
    parts.body.replaceChildren(...rows.map((peer) => row(peer, blocked.has(peer.peer_id))));
    if (focused) parts.body.querySelector(`[data-peer="${CSS.escape(focused)}"] button`)?.focus({ preventScroll: true });
    parts.table.hidden = rows.length === 0;
    parts.empty.hidden = rows.length > 0;
    if (rows.length === 0 && !parts.empty.firstChild) {
      parts.empty.append(h("div", { class: "radar", "aria-hidden": "true" }), h("h3", null, t("peers.none")), h("p", null, t("peers.none.text")));
    }
    matrix.render();
  }

  function row(peer, blocked) {
    const name = nameOf(peer);
    const cell = (key, ...content) => h("span", { role: "cell", class: `c-${key}`, "data-label": t(`peers.${key}`) }, ...content);
    const status = blocked ? "blocked" : peer.connected ? "connected" : "away";
    const link = peer.interface && has(`link.${peer.interface}`) ? t(`link.${peer.interface}`) : "–";
    const trip = peer.rtt_ms === undefined ? "–" : t("ms", { value: number(peer.rtt_ms, peer.rtt_ms < 10 ? 2 : 0) });
    const seen = peer.connected ? t("peers.now") : typeof peer.last_seen_ms === "number" ? clock(state.peersAt - peer.last_seen_ms) : "–";
    const action = blocked ? "unblock" : "block";
    return h("div", { role: "row", "data-peer": peer.peer_id, "data-state": status },
      cell("name", h("bdi", { title: peer.peer_id }, clean(name)), " ", h("span", { class: "tag" }, t(`peers.${status}`))),
      cell("address", bdi(peer.addr ?? "–")),
      cell("link", link), cell("trip", trip), cell("games", peer.game_count === undefined ? "–" : number(peer.game_count)), cell("seen", seen),
      cell("action", button("quiet", action, t(`peers.${action}`), () => block(peer.peer_id, name, action),
        { "aria-label": t("do.label", { what: t(`peers.${action}`), game: iso(name) }) })));
  }

  const nameOf = (peer) => peer.hostname || peerName(state, peer.peer_id);

  async function block(id, name, action) {
    try {
      await command(`${action}-peer`, { peer_id: id });
      say(t(action === "block" ? "said.blocked" : "said.unblocked", { peer: iso(name) }));
    } catch (error) {
      failed(t("failed", { what: iso(name) }), error);
    }
    for (const kind of ["status", "peers"]) want(kind);
  }

  async function connect(event) {
    event.preventDefault();
    const addr = parts.address.value.trim();
    if (!addr) return;
    try {
      const answer = await command("connect", { addr });
      say(t("said.connected", { addr: iso(answer.addr) }));
      parts.address.value = "";
    } catch (error) {
      failed(t("failed", { what: iso(addr) }), error);
    }
  }

  return { render, relabel: () => root.replaceChildren() };
}
