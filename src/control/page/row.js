// One game as a row of the list: cover, name, state, progress, sources, and its buttons.

import { button, h, setAttr, setText, svg } from "./dom.js";
import { clean, duration, iso, percent, rate, size } from "./format.js";
import { primary, secondary, sources, stateOf } from "./actions.js";
import { t } from "./words.js";

/** The picture of a game: initials on a colour that the id gives. */
export function placeholder(id, name) {
  let hash = 7;
  for (const letter of id) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  const words = clean(name).split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const initials = (words.length > 1 ? [...words[0]][0] + [...words[1]][0] : [...(words[0] ?? "?")].slice(0, 2).join("")).toUpperCase();
  const hue = hash % 360;
  return svg("svg", { viewBox: "0 0 48 48", class: "cover", "aria-hidden": "true", focusable: "false" },
    svg("rect", { width: 48, height: 48, fill: `hsl(${hue} 45% 38%)` }),
    svg("circle", { cx: 8 + (hash % 32), cy: 6, r: 22, fill: `hsl(${(hue + 40) % 360} 50% 46%)`, opacity: 0.6 }),
    svg("text", { x: 24, y: 30, "text-anchor": "middle", fill: "#fff", "font-size": 17, "font-weight": 700 }, initials));
}

export function createRow(id) {
  const parts = {
    cover: h("div", { class: "cover-box" }),
    name: h("bdi", { class: "name" }),
    sub: h("span", { class: "sub" }),
    state: h("span", { class: "state" }),
    detail: h("span", { class: "detail" }),
    bar: h("div", { class: "progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, hidden: true }, h("span")),
    from: h("div", { class: "c-from", role: "gridcell" }),
    second: button("quiet", null, "", null, { hidden: true }),
    first: button("primary", null, "", null, { hidden: true }),
    more: button("icon-button", "more", "⋯", null, { "aria-haspopup": "menu" }),
  };
  const row = h("div", { class: "row", role: "row", "data-game": id },
    h("div", { class: "c-game", role: "gridcell" }, parts.cover, h("div", { class: "title" }, parts.name, parts.sub)),
    h("div", { class: "c-state", role: "gridcell" }, parts.state, parts.detail, parts.bar),
    parts.from,
    h("div", { class: "c-actions", role: "gridcell" }, parts.second, parts.first, parts.more));
  row.parts = parts;
  return row;
}

export function fillRow(row, state, game) {
  if (!game) return;
  const { parts } = row;
  const name = iso(game.name);
  if (parts.look !== game.name) {
    parts.look = game.name;
    parts.cover.replaceChildren(placeholder(game.id, game.name));
  }
  setText(parts.name, clean(game.name));
  setAttr(parts.name, "title", clean(game.name));
  const about = [game.size > 0 && size(game.size), game.version && t("version", { version: iso(game.version) }), game.genre && iso(game.genre)];
  setText(parts.sub, about.filter(Boolean).join(" · "));
  const { word, detail, part } = describe(state, game);
  setText(parts.state, word);
  setAttr(row, "data-state", stateOf(state, game));
  setText(parts.detail, detail);
  setAttr(parts.detail, "title", detail);
  setAttr(parts.bar, "hidden", part === null);
  if (part !== null) {
    setAttr(parts.bar, "aria-valuenow", Math.floor(part * 100));
    setAttr(parts.bar, "aria-label", t("progress", { game: name }));
    parts.bar.firstChild.style.setProperty("transform", `scaleX(${part})`);
  }
  const many = state.progress.get(game.id)?.sources > 0 ? 0 : sources(game).length;
  setText(parts.from, many > 0 ? t("sources", { n: many }) : "");
  label(parts.first, primary(state, game), name);
  label(parts.second, secondary(state, game), name);
  setAttr(parts.first, "class", primary(state, game) === "cancel" ? "quiet" : "primary");
  setAttr(parts.more, "aria-label", t("more", { game: name }));
}

function label(element, action, name) {
  setAttr(element, "hidden", action === null);
  if (action === null) return;
  const what = t(`do.${action}`);
  setAttr(element, "data-action", action);
  setText(element, what);
  setAttr(element, "aria-label", t("do.label", { what, game: name }));
}

/** The state in words, what there is to say about it, and how far it is (0 to 1, or null). */
export function describe(state, game) {
  const now = stateOf(state, game);
  const run = state.progress.get(game.id);
  if (!game.operation) return { word: t(`state.${now}`), detail: notes(state, game).join(" · "), part: null };
  if (now === "queued") return { word: t("state.queued"), detail: "", part: null };
  const part = run ? (run.total > 0 ? Math.min(1, run.bytes / run.total) : 0) : game.progress ?? null;
  const held = state.status?.paused && now === "downloading";
  const word = held ? t("state.paused") : t(`state.${run?.phase === "checking" ? "checking" : now}`);
  const detail = [part === null ? "" : percent(part)];
  if (run?.rate > 0 && !held) detail.push(t("left", { time: duration((run.total - run.bytes) / run.rate) }), rate(run.rate));
  if (run?.sources > 0) detail.push(t("sources", { n: run.sources }));
  return { word, detail: detail.filter(Boolean).join(" · "), part };
}

/** Everything a person may wonder about a game. */
export function notes(state, game) {
  const list = [];
  if (!game.downloaded && state.damaged.has(game.id)) list.push(t("note.damaged", { n: state.damaged.get(game.id) }));
  if (game.unavailable_reason) list.push(iso(game.unavailable_reason));
  if (game.local_only_reason) list.push(t("note.local-only", { reason: iso(game.local_only_reason) }));
  if (game.newest_version && game.version && game.newest_version !== game.version) {
    list.push(t("note.newer", { version: iso(game.newest_version) }));
  }
  if (game.other_content_peers > 0) list.push(t("note.other-content"));
  if (game.changed) list.push(t("note.changed"));
  if (game.installed && game.installed_by === "somebody-else") list.push(t("note.foreign"));
  if (game.leaves_out) list.push(t("note.leaves-out", { n: game.leaves_out.count, first: iso(game.leaves_out.first) }));
  return list;
}
