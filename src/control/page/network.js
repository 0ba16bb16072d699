// The Network view: the curve, limits, facts about this PC, mirrors.

import { bdi, button, h, setText } from "./dom.js";
import { command } from "./api.js";
import { clean, number, rate, size } from "./format.js";
import { plot } from "./plot.js";
import { failed, say } from "./toast.js";
import { t } from "./words.js";

const MEGA = 1_000_000;

export function networkView(root, state, want) {
  let parts = null;

  function build() {
    const curve = plot();
    const legend = (name, arrow) => {
      const [now, total] = [h("strong"), h("span", { class: "sub" })];
      parts[name] = { now, total };
      return h("li", { class: name }, h("span", { class: "swatch", "aria-hidden": "true" }), `${t(`plot.${name}`)} ${arrow} `, now, " ", total);
    };
    const field = (name) => {
      const input = h("input", { id: `limit-${name}`, type: "number", min: 1, step: "any", inputmode: "decimal", placeholder: t("limits.none") });
      input.addEventListener("input", () => (parts.edited = true));
      parts[`limit-${name}`] = input;
      return h("div", null, h("label", { for: `limit-${name}` }, t(`limits.${name}`)), input);
    };
    parts = { curve, edited: false, about: h("dl", { class: "facts" }), mirrors: h("ul", { class: "notes" }) };
    const card = (name, ...content) => h("section", { class: "card", "aria-labelledby": `${name}-title` }, h("h3", { id: `${name}-title` }, t(`${name}.title`)), ...content);
    root.replaceChildren(h("h2", { id: "network-title", class: "unseen" }, t("tab.network")),
      card("plot", h("ul", { class: "legend" }, legend("down", "↓"), legend("up", "↑")), curve.root),
      h("div", { class: "columns" },
        card("limits", h("p", { class: "sub" }, t("limits.text")),
          h("form", { class: "limits", on: { submit: save } }, field("down"), field("up"),
            button("primary", "limits", t("save"), null, { type: "submit" }))),
        card("about", parts.about),
        (parts.card = card("mirrors", parts.mirrors))));
  }

  function render() {
    if (!parts) build();
    const { status } = state;
    parts.curve.draw(state);
    traffic();
    if (!status) return;
    if (!parts.edited) {
      const shown = (limit) => (typeof limit === "number" ? String(Math.round(limit / 10_000) / 100) : "");
      parts["limit-down"].value = shown(status.limits?.max_download);
      parts["limit-up"].value = shown(status.limits?.max_upload);
    }
    const facts = [
      ["about.games", number(status.games)], ["about.listed", number(state.games.size)],
      ["about.hashing", status.hash_queue > 0 ? t("games.count", { n: status.hash_queue }) : ""],
      ["about.listen", (status.listen_addrs ?? []).join("\n")], ["about.folder", status.game_dir],
      ["about.version", status.version],
    ];
    parts.about.replaceChildren(...facts.filter(([, value]) => value).flatMap(([key, value]) =>
      [h("dt", null, t(key)), h("dd", null, value.split("\n").map((line) => h("bdi", { class: "block" }, clean(line))))]));
    const mirrors = (status.mirrors ?? []).map((row) => h("li", null, bdi(row.url), " – ",
      t(row.reachable ? "mirrors.reachable" : "mirrors.unreachable"), ", ", t("games.count", { n: row.games })));
    parts.mirrors.replaceChildren(...mirrors);
    parts.card.hidden = mirrors.length === 0;
  }

  function traffic() {
    for (const [name, key] of [["down", "bytes_received"], ["up", "bytes_sent"]]) {
      setText(parts[name].now, rate(state.traffic[name]));
      setText(parts[name].total, state.status ? `(${t("plot.total", { size: size(state.status[key]) })})` : "");
    }
  }

  async function save(event) {
    event.preventDefault();
    const value = (name) => {
      const text = parts[`limit-${name}`].value;
      return text === "" ? null : Math.round(Number(text) * MEGA);
    };
    try {
      const limits = await command("set-limits", { max_download: value("down"), max_upload: value("up") });
      if (state.status) state.status.limits = limits;
      parts.edited = false;
      say(t("said.limits"));
    } catch (error) {
      failed(t("failed", { what: t("limits.title") }), error);
    }
    want("status");
  }

  function flow() {
    if (!parts) return render();
    parts.curve.draw(state);
    traffic();
  }

  return { render, flow, relabel: () => (parts = null) };
}
