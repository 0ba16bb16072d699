// Keeps the store up to date: feeds it events, and fetches what they only announce — one call of each kind at a time, with
// pauses in between, and nothing while nothing happens.

import { command, get } from "./api.js";
import { apply, gamesOf, rowOf, setPeers } from "./store.js";

const PAUSE_MS = 300;
const RETRY_MS = 3000;
const MOST_ROWS = 8;

/** `changed(dirty, news)` is called after each change of the state. */
export function sync(state, changed) {
  const rows = new Set();
  const kinds = {
    games: async () => {
      rows.clear();
      state.games = gamesOf(state, await get("games"));
      return ["games"];
    },
    peers: async () => {
      setPeers(state, await get("peers"), Date.now());
      return ["peers"];
    },
    findings: async () => {
      state.findings = (await command("diagnose")).findings;
      return ["problems"];
    },
    status: async () => {
      state.status = await get("status");
      return ["status", "problems"];
    },
    rows: async () => {
      const [id] = rows;
      if (id === undefined) return [];
      rows.delete(id);
      try {
        const row = await get(`games/${encodeURIComponent(id)}`);
        if (row.id === id) state.games.set(id, rowOf(state, row));
      } catch (error) {
        if (error.code !== "unknown-game") {
          rows.add(id);
          throw error;
        }
        state.games.delete(id);
      }
      if (rows.size > 0) want("rows");
      return ["games"];
    },
  };
  const busy = new Set();
  const wanted = new Set();

  async function want(kind) {
    wanted.add(kind);
    if (busy.has(kind)) return;
    busy.add(kind);
    while (wanted.delete(kind)) {
      const began = performance.now();
      try {
        changed(new Set(await kinds[kind]()), []);
      } catch (error) {
        // The stream tells when the daemon is gone, and its next snapshot has everything. One that is only busy is asked again.
        if (error.status >= 500) setTimeout(want, RETRY_MS, kind);
      }
      // A list that takes long to make is asked for less often. Single rows follow one another faster.
      const took = performance.now() - began;
      await new Promise((done) => setTimeout(done, kind === "rows" && rows.size > 0 ? 20 : Math.max(PAUSE_MS, 4 * took)));
    }
    busy.delete(kind);
  }

  return {
    want,
    event(event) {
      const { dirty, fetch, rows: ids, news } = apply(state, event, Date.now());
      for (const id of ids) rows.add(id);
      // A list that is on its way may be older than this event.
      if (rows.size > MOST_ROWS || (ids.size > 0 && busy.has("games"))) fetch.add("games");
      for (const kind of fetch) want(kind);
      if (rows.size > 0 && !fetch.has("games")) want("rows");
      if (dirty.size > 0 || news.length > 0) changed(dirty, news);
    },
  };
}
