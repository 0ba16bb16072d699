// The curve of the last ten minutes: game data in and out. Drawn when something changed; no clock of its own.

import { h, setText, svg } from "./dom.js";
import { clock, rate } from "./format.js";
import { HISTORY_MS } from "./store.js";
import { t } from "./words.js";

const [WIDTH, HEIGHT] = [600, 160];

/** The next round number above, so that the scale does not dance. */
export function scale(peak) {
  const least = Math.max(peak, 1_000_000);
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= least);
}

/** The points of a line through the samples, oldest first. */
export function points(history, key, now, top) {
  return history.map((sample) => {
    const x = WIDTH * (1 - (now - sample.at) / HISTORY_MS);
    const y = HEIGHT * (1 - Math.min(1, sample[key] / top));
    return [Math.max(0, x).toFixed(1), y.toFixed(1)];
  });
}

export function plot() {
  const line = (name) => ({ area: svg("path", { class: `area ${name}` }), line: svg("path", { class: `line ${name}`, "vector-effect": "non-scaling-stroke" }) });
  const curves = { down: line("down"), up: line("up") };
  const grid = [0.25, 0.5, 0.75].map((part) =>
    svg("path", { class: "rule", d: `M0 ${HEIGHT * part}H${WIDTH}`, "vector-effect": "non-scaling-stroke" }));
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", class: "plot" },
    grid, curves.down.area, curves.up.area, curves.down.line, curves.up.line);
  const [highest, from, to, none] = [h("span"), h("span"), h("span"), h("p", { class: "plot-none" })];
  const root = h("div", { class: "plot-box" }, h("div", { class: "plot-top" }, highest), picture, none, h("div", { class: "plot-time" }, from, to));

  function draw(state) {
    const { history, traffic } = state;
    const now = history.at(-1)?.at ?? 0;
    const peak = history.reduce((most, { down, up }) => Math.max(most, down, up), 0);
    const top = scale(peak);
    for (const [key, { area, line }] of Object.entries(curves)) {
      const at = points(history, key, now, top);
      const path = at.map(([x, y]) => `${x} ${y}`).join("L");
      line.setAttribute("d", path ? `M${path}` : "");
      area.setAttribute("d", path ? `M${at[0][0]} ${HEIGHT}L${path}L${at.at(-1)[0]} ${HEIGHT}Z` : "");
    }
    setText(highest, history.length > 0 ? rate(top) : "");
    setText(from, history.length > 0 ? clock(now - HISTORY_MS) : "");
    setText(to, history.length > 0 ? clock(now) : "");
    setText(none, history.length > 0 ? "" : t("plot.none"));
    picture.setAttribute("aria-label", t("plot.label", { down: rate(traffic.down), up: rate(traffic.up), peak: rate(peak) }));
  }

  return { root, draw };
}
