// What can be done with a game in its state, and doing it. Pure at the top; `perform` talks to the daemon.

import { command } from "./api.js";
import { confirm, chooseProgram } from "./dialogs.js";
import { failed, say } from "./toast.js";
import { iso, size } from "./format.js";
import { t } from "./words.js";

const CANCELLABLE = new Set(["queued", "downloading", "installing", "updating", "verifying"]);

export const sources = (game) => game.sources ?? [];

export const hasUpdate = (game) =>
  Boolean(game.other_content_peers > 0 || (game.newest_version && game.version && game.newest_version !== game.version));

/** Where a game stands, in one word: the key of its text, and its place in the list. */
export function stateOf(state, game) {
  if (game.operation) return game.operation;
  if (game.arriving) return "arriving";
  if (state.damaged.has(game.id) && !game.downloaded) return "damaged";
  if (game.installed) return "installed";
  if (game.downloaded) return "downloaded";
  if (game.unavailable_reason) return "unavailable";
  return sources(game).length > 0 ? "available" : "absent";
}

const ORDER = ["damaged", "arriving", "installed", "downloaded", "available", "unavailable", "absent"];

/** Running first, then what can be played, installed, fetched, and the rest. */
export function rank(state, game) {
  const now = stateOf(state, game);
  if (game.operation) return now === "queued" ? 1 : 0;
  return ORDER.indexOf(now) + 2;
}

/** The one thing a person most likely wants. */
export function primary(state, game) {
  switch (stateOf(state, game)) {
    case "damaged": return "repair";
    case "installed": return "play";
    case "downloaded": return "install";
    case "available": return "get";
    default: return CANCELLABLE.has(game.operation) ? "cancel" : null;
  }
}

/** Whether there is something to say about what it waits for. */
export const waits = (game) => !game.downloaded || Boolean(game.operation);

/** A second button beside it. */
export function secondary(state, game) {
  if (game.operation === "queued") return "prioritise";
  return !game.operation && game.downloaded && hasUpdate(game) ? "update" : null;
}

/** Everything else, for the menu. */
export function more(state, game) {
  const list = ["details"];
  const [first, second] = [primary(state, game), secondary(state, game)];
  const add = (when, ...names) => when && list.push(...names.filter((name) => name !== first && name !== second));
  const idle = !game.operation && !game.arriving;
  const has = sources(game).length > 0;
  add(idle && game.installed, "play", "choose-program");
  add(idle && game.installed, "open-folder");
  add(idle && first === "get", "download-only");
  add(idle && game.downloaded, "install", "verify");
  add(idle && game.downloaded && has, "check-update", "again");
  add(idle && game.installed && !game.downloaded && has, "repair");
  add(idle && game.installed && game.installed_by === "somebody-else", "adopt");
  add(waits(game), "explain");
  list.push("sources");
  add(idle && game.installed && game.installed_by !== "somebody-else", "uninstall");
  add(idle && !game.installed && (game.brought || state.damaged.has(game.id) || state.leftovers.has(game.id)), "remove");
  return list;
}

export const DANGEROUS = new Set(["uninstall", "remove", "again"]);

/** Games whose next download is to be installed over an older installation. */
const updating = new Set();

/** The command of an action, its fields, and the state that it leads to. */
const COMMANDS = {
  "get": ["download", {}, "downloading"],
  "download-only": ["download", { install: false }, "downloading"],
  "install": ["install", {}, "installing"],
  "cancel": ["cancel-download", {}, ""],
  "prioritise": ["prioritise", {}, "next"],
  "update": ["download", {}, "updating"],
  "check-update": ["fetch-latest", {}, "checking"],
  "again": ["download", { again: true }, "downloading"],
  "repair": ["download", { install: false }, "checking"],
  "verify": ["verify", {}, "verifying"],
  "uninstall": ["uninstall", {}, "uninstalling"],
  "adopt": ["adopt", {}, "adopting"],
  "remove": ["remove", {}, "removing"],
  "open-folder": ["open-folder", {}, "opened"],
};

/** Carries out an action by its name; results and failures are told aloud. */
export async function perform(name, game) {
  const values = { game: iso(game.name), size: size(game.size) };
  if (DANGEROUS.has(name) && !(await confirm(t(`ask.${name}`, values), t(`ask.${name}.text`, values), t(`do.${name}`)))) return;
  try {
    if (name === "play") return await play(game);
    if (name === "choose-program") return void (await choose(game, false));
    const [cmd, fields, then] = COMMANDS[name];
    // Before the answer: the download may have ended by then.
    updating.delete(game.id);
    if (name === "check-update" && game.installed) updating.add(game.id);
    const answer = await command(cmd, { game: game.id, ...fields });
    if (then) say(`${values.game}: ${t(`state.${answer.queued ? "queued" : then}`)}`);
  } catch (error) {
    updating.delete(game.id);
    if (error.code === "own-content" && name !== "again") return perform("again", game);
    failed(t("failed", { what: t("do.label", { what: t(`do.${name}`), ...values }) }), error);
  }
}

/** Installs what an update brought; called at the end of each download. */
export async function afterDownload(game, worked) {
  if (!updating.delete(game) || !worked) return;
  // Where the version did not change there is nothing to install.
  await command("install", { game }).catch(() => {});
}

async function play(game) {
  try {
    await command("play", { game: game.id });
  } catch (error) {
    if (error.code !== "choose-program" || !(await choose(game, true))) {
      if (error.code !== "choose-program") throw error;
      return;
    }
    await command("play", { game: game.id });
  }
  say(t("said.play", { game: iso(game.name) }));
}

/** Asks which program starts the game; whether one was chosen. */
async function choose(game, toPlay) {
  const { programs = [], chosen, launch } = await command("list-programs", { game: game.id });
  if (programs.length === 0) {
    failed(t("programs.none", { game: iso(game.name) }));
    return false;
  }
  const program = await chooseProgram(game.name, programs, chosen ?? launch, toPlay);
  if (program === null) return false;
  await command("choose-program", { game: game.id, program });
  if (!toPlay) say(`${iso(game.name)}: ${iso(program)}`);
  return true;
}
