// What is known of the daemon: a snapshot, and what each event changes in it. Pure: no network, no document, no clock.

/** Plot samples are kept for so long. */
export const HISTORY_MS = 600_000;
const MOST_PROBLEMS = 50;

export function create() {
  return {
    status: null,
    peers: [],
    names: new Map(),
    games: new Map(),
    operations: new Map(),
    peersAt: 0,
    progress: new Map(),
    damaged: new Map(),
    leftovers: new Set(),
    traffic: { down: 0, up: 0 },
    history: [],
    problems: [],
    problemsEver: 0,
    findings: [],
  };
}

/** The rows of an answer by id. What runs is told by the events alone: an answer may be older than they are. */
export const gamesOf = (state, answer) => new Map((answer.games ?? answer).map((row) => [row.id, rowOf(state, row)]));

export const rowOf = (state, row) => ({ ...row, operation: state.operations.get(row.id) });

/** The peers of an answer. Their names are kept: one that is blocked is not listed any more. */
export function setPeers(state, answer, now) {
  state.peers = answer.peers ?? answer;
  state.peersAt = now;
  for (const { peer_id: id, hostname } of state.peers) if (hostname) state.names.set(id, hostname);
}

/**
 * Applies an event. Answers what has to be drawn (`dirty`), fetched (`fetch`: games, peers, status; `rows`: single games), and
 * told (`news`: key, game, code?, message?, values?).
 */
export function apply(state, event, now) {
  const name = String(event.event);
  const fetch = Object.hasOwn(FETCHES, name) ? FETCHES[name] : [];
  const out = { dirty: new Set(), fetch: new Set(fetch), rows: new Set(), news: [] };
  if (Object.hasOwn(HANDLERS, name)) HANDLERS[name](state, event, out, now);
  else ended(state, event, out, now);
  return out;
}

/** What an event only announces. */
const FETCHES = {
  "local-library-changed": ["games", "status"],
  "catalog-changed": ["games", "status"],
  "game-directory-gone": ["games", "status"],
  "game-directory-back": ["games", "status"],
  "peer-discovered": ["peers"],
  "peer-library-changed": ["peers", "games"],
  "peer-connected": ["peers", "games", "status"],
  "peer-lost": ["peers", "games", "status"],
  "peer-refused": ["peers", "status"],
  "download-source-banned": ["status"],
};

const HANDLERS = {
  "snapshot": (state, event, out, now) => {
    state.status = event.status;
    setPeers(state, event.peers, now);
    state.operations = new Map((event.status.operations ?? []).map((row) => [row.game, row.operation]));
    state.games = gamesOf(state, event.games);
    // While something flows the next report comes within a second.
    state.traffic = { down: 0, up: 0 };
    for (const id of state.progress.keys()) if (!state.operations.has(id)) state.progress.delete(id);
    for (const area of ["games", "peers", "status", "traffic", "problems"]) out.dirty.add(area);
  },
  "active-operations-changed": (state, event, out) => {
    const running = new Map(event.operations.map((row) => [row.game, row.operation]));
    state.operations = new Map(running);
    for (const [id, row] of state.games) {
      const operation = running.get(id);
      running.delete(id);
      if (row.operation === operation) continue;
      state.progress.delete(id);
      state.games.set(id, { ...row, operation, progress: undefined });
      if (!operation) out.rows.add(id);
    }
    // Games that are not listed yet.
    if (running.size > 0) out.fetch.add("games");
    out.dirty.add("games").add("status");
  },
  "download-checking": (state, event, out) => moves(state, event, out, "checking"),
  "download-begin": (state, event, out) => moves(state, { ...event, bytes: 0, total: event.bytes }, out, "downloading"),
  "download-progress": (state, event, out) => moves(state, event, out, "downloading"),
  "install-progress": (state, event, out) => moves(state, event, out, "installing"),
  "verify-progress": (state, event, out) => moves(state, event, out, "verifying"),
  "peer-refused": (state, event, out, now) => {
    problem(state, out, now, { key: "problem.peer-refused", values: { addr: event.addr }, message: event.reason });
  },
  "game-directory-gone": (state, event, out, now) => {
    problem(state, out, now, { key: "problem.directory-gone", values: { path: event.path }, message: event.reason });
  },
  "game-directory-back": (state, event, out) => {
    out.news.push({ kind: "good", key: "news.directory-back", values: { path: event.path } });
  },
  "download-source-banned": (state, event, out, now) => {
    const peer = event.url ?? peerName(state, event.peer_id);
    problem(state, out, now, { key: "problem.banned", game: event.game, values: { peer }, message: event.reason });
  },
  "runtime-error": (state, event, out, now) =>
    problem(state, out, now, { key: "problem.runtime", code: event.code, message: event.message }),
  "settings-changed": (state, event, out) => {
    if (!state.status) return;
    state.status.limits = { max_upload: event.max_upload, max_download: event.max_download };
    state.status.paused = event.paused;
    state.status.peers_blocked = event.peers_blocked;
    out.fetch.add("peers");
    out.dirty.add("status").add("problems");
  },
  "traffic": (state, event, out, now) => {
    const [down, up] = [event.receiving ?? 0, event.sending ?? 0];
    const last = state.history.at(-1);
    // Nothing is sent while nothing flows: the line goes along the bottom until a moment ago.
    if (last && now - last.at > 2500) state.history.push({ at: now - 1000, down: 0, up: 0 });
    state.history.push({ at: now, down, up });
    while (state.history.length > 0 && state.history[0].at < now - HISTORY_MS) state.history.shift();
    state.traffic = { down, up };
    if (state.status) {
      state.status.bytes_received = event.bytes_received ?? state.status.bytes_received;
      state.status.bytes_sent = event.bytes_sent ?? state.status.bytes_sent;
    }
    out.dirty.add("traffic");
  },
};

function moves(state, event, out, phase) {
  const { bytes, total, bytes_per_second: rate, sources } = event;
  state.progress.set(event.game, { phase, bytes, total, rate, sources });
  out.dirty.add("progress");
}

/** The end of an operation: `WHAT-finished` or `WHAT-failed`. */
function ended(state, event, out, now) {
  const [, what, how] = /^(download|install|uninstall|adopt|remove|verify)-(finished|failed)$/.exec(event.event) ?? [];
  if (!what) return;
  const { game, code, message } = event;
  state.progress.delete(game);
  out.rows.add(game);
  out.dirty.add("games");
  if (what === "download" || what === "remove") {
    if (how === "finished") state.leftovers.delete(game);
    else if (code !== "cancelled") state.leftovers.add(game);
  }
  if (how === "failed" && code !== "cancelled") {
    problem(state, out, now, { key: `news.${what}-failed`, game, code, message });
  } else if (how === "failed") {
    out.news.push({ kind: "info", key: "news.cancelled", game });
  } else if (what === "verify" && (event.bad_chunks > 0 || event.missing_dirs > 0)) {
    state.damaged.set(game, event.bad_chunks + (event.missing_dirs ?? 0));
    problem(state, out, now, { key: "news.verify-bad", game, values: { count: event.bad_chunks, of: event.chunks } });
  } else {
    if (what !== "install" && what !== "adopt") state.damaged.delete(game);
    out.news.push({ kind: "good", key: `news.${what}-finished`, game });
  }
  for (const { file, kept_as: as } of (event.kept_aside ?? []).slice(0, 1)) {
    out.news.push({ kind: "info", key: "news.kept-aside", game, values: { file, as, more: event.kept_aside.length - 1 } });
  }
  if (event.kept_in) out.news.push({ kind: "info", key: "news.kept-in", game, values: { folder: event.kept_in } });
}

function problem(state, out, now, entry) {
  state.problems.unshift({ ...entry, at: now });
  state.problems.length = Math.min(state.problems.length, MOST_PROBLEMS);
  state.problemsEver += 1;
  out.news.push({ kind: "bad", ...entry });
  out.dirty.add("problems");
}

/** What people call a peer or mirror. */
export function peerName(state, id) {
  const mirror = state.status?.mirrors?.find((row) => row.peer_id === id);
  return state.names.get(id) ?? mirror?.url ?? id.slice(0, 12);
}

/** Findings of the daemon that the status does not show by itself. */
const IN_STATUS = new Set(["game-directory-gone", "no-watches", "library-too-large", "other-version", "paused"]);

export const findings = (state) => state.findings.filter(({ code }) => !IN_STATUS.has(code));

/** Everything that is wrong now, by the status: key, values, message. */
export function troubles(state) {
  const status = state.status;
  if (!status) return [];
  const list = [];
  const add = (key, id, values = {}, message = "") => list.push({ key: `trouble.${key}`, id: `${key} ${id}`, values, message });
  if (status.game_dir_gone) add("directory-gone", "", { path: status.game_dir }, status.game_dir_gone);
  if (status.watch === "polling") add("polling", "");
  for (const row of status.libraries_too_large ?? []) {
    const peer = row.hostname ?? row.addr ?? row.peer_id.slice(0, 12);
    add("too-large", row.peer_id, { peer });
  }
  const others = status.peers_incompatible ?? [];
  if (others.length > 0) add("incompatible", others.length, { n: others.length });
  for (const row of status.mirrors ?? []) if (!row.reachable) add("mirror", row.url, { url: row.url });
  for (const id of status.peers_blocked ?? []) add("blocked", id, { peer: peerName(state, id) });
  for (const row of status.sources_banned ?? []) {
    const message = row.chunk === undefined ? row.reason : `${row.reason} (chunk ${row.chunk})`;
    const name = state.games.get(row.game)?.name ?? row.game;
    add("banned", `${row.game} ${row.peer_id}`, { peer: peerName(state, row.peer_id), game: name }, message);
  }
  return list;
}
