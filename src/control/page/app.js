// The start of the page: language, tabs, connection, header; draws what changed, once a frame, and only what is in view.

import { command, listen, onLocked } from "./api.js";
import { afterDownload } from "./actions.js";
import { byId, setAttr, setText } from "./dom.js";
import { number, rate } from "./format.js";
import { refreshGame } from "./game-dialog.js";
import { gamesView } from "./games.js";
import { startMenu } from "./menu.js";
import { networkView } from "./network.js";
import { peersView } from "./peers.js";
import { problemsView, sentence } from "./problems.js";
import { create } from "./store.js";
import { sync } from "./sync.js";
import { failed, note, say } from "./toast.js";
import { chooseLanguage, lang, startLanguage, t, translate } from "./words.js";

const TABS = ["games", "peers", "network", "problems"];
/** Events after which the daemon may find something else to be wrong. */
const CONCERNS_FINDINGS = /^(snapshot|peer-|settings-|game-directory-|remove-finished|download-failed)/;
const page = document.documentElement;
const state = create();
const dirty = new Set();
let frame = 0;
let tab = "";

startLanguage();
const live = sync(state, changed);
const games = gamesView(state);
const views = {
  games,
  peers: peersView(byId("view-peers"), state, live.want),
  network: networkView(byId("view-network"), state, live.want),
  problems: problemsView(byId("view-problems"), state),
};

function changed(areas, news) {
  for (const area of areas) dirty.add(area);
  for (const entry of news) tell(entry);
  frame ||= requestAnimationFrame(draw);
}

function tell(entry) {
  const text = sentence(state, entry);
  if (entry.kind === "bad") failed(text, entry);
  else if (entry.kind === "info") note(text);
  else say(text);
}

/** Which areas of the state each view shows. */
const SHOWS = { games: ["games", "status"], peers: ["peers", "games", "status"], network: ["status", "games"], problems: ["problems", "status"] };

function draw() {
  frame = 0;
  const has = (...areas) => areas.some((area) => dirty.has(area));
  if (has("status", "traffic", "peers")) header();
  if (has(...SHOWS[tab])) views[tab].render();
  else if (tab === "games" && has("progress")) games.progress();
  else if (tab === "network" && has("traffic")) views.network.flow();
  if (has("problems", "status")) views.problems.badge();
  if (has("games", "progress", "status")) refreshGame();
  dirty.clear();
}

function header() {
  const { status, traffic } = state;
  setText(byId("rate-down"), rate(traffic.down));
  setText(byId("rate-up"), rate(traffic.up));
  const paused = Boolean(status?.paused);
  setAttr(byId("playing"), "aria-checked", String(paused));
  byId("paused").hidden = !paused;
  setText(byId("peer-count"), status ? number(status.peers_connected) : "");
}

function connection(now) {
  if (page.dataset.state === "locked" && now !== "live") return;
  page.dataset.state = now;
  byId("locked").hidden = now !== "locked";
  for (const element of [byId("top"), byId("content"), byId("skip")]) element.hidden = now === "locked";
  if (now === "locked") byId("paused").hidden = true;
  else setText(byId("link-text"), t(`link.${now}`));
}

async function pause(on) {
  try {
    await command(on ? "pause" : "resume");
    if (state.status) state.status.paused = on;
  } catch (error) {
    failed(t("failed", { what: t("playing") }), error);
  }
  changed(new Set(["status"]), []);
  live.want("status");
}

function route() {
  const wanted = location.hash.slice(1);
  const next = TABS.includes(wanted) ? wanted : tab || "games";
  if (next === tab) return;
  tab = next;
  for (const name of TABS) {
    byId(`view-${name}`).hidden = name !== tab;
    setAttr(document.querySelector(`[data-tab=${name}]`), "aria-current", name === tab ? "page" : null);
  }
  scrollTo(0, 0);
  // They are all in the list now.
  if (tab === "problems") byId("alerts").replaceChildren();
  views[tab].render();
  // Round trips, limits and the like change without an event.
  if (page.dataset.state === "live" && tab !== "games") for (const kind of ["status", "peers"]) live.want(kind);
  if (page.dataset.state === "live" && tab === "problems") live.want("findings");
}

function relabel() {
  translate(document);
  document.title = t("title");
  byId("language").value = lang();
  for (const view of Object.values(views)) view.relabel();
  connection(page.dataset.state);
  header();
  if (tab) views[tab].render();
}

onLocked(() => connection("locked"));
startMenu();
relabel();
addEventListener("hashchange", route);
route();
byId("language").addEventListener("change", (event) => {
  chooseLanguage(event.target.value);
  relabel();
});
byId("playing").addEventListener("click", () => pause(!state.status?.paused));
byId("resume").addEventListener("click", () => pause(false));
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("content").focus();
});

const again = listen({
  event(event) {
    if (event.event === "snapshot") connection("live");
    live.event(event);
    if (tab === "problems" && CONCERNS_FINDINGS.test(event.event)) live.want("findings");
    const [, how] = /^download-(finished|failed)$/.exec(event.event) ?? [];
    if (how) afterDownload(event.game, how === "finished");
  },
  broken: () => connection("offline"),
});
// Another tab may have brought a new cookie, or the PC was asleep.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible") return;
  again();
  if (page.dataset.state === "live") live.want("status");
});
