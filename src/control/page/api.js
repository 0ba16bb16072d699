// Calls to the daemon: state by GET, commands by POST, events as a stream that heals itself.

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The daemon itself ends a command after a minute. */
const PATIENCE_MS = 90_000;
const HIDDEN_MS = 60_000;

let locked = () => {};

/** `listener` is told when the daemon no longer knows this browser. */
export const onLocked = (listener) => (locked = listener);

async function call(path, options) {
  let response;
  try {
    response = await fetch(`/api/v1/${path}`, { credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS), ...options });
  } catch (error) {
    throw new ApiError(0, "unreachable", String(error.message ?? error));
  }
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  if (response.status === 401) locked();
  throw new ApiError(response.status, String(body.code ?? "io"), String(body.message ?? response.statusText));
}

export const get = (path) => call(path);

/** Sends one command and resolves with its data. */
export function command(cmd, fields = {}) {
  const body = JSON.stringify({ cmd, ...fields });
  return call("command", { method: "POST", headers: { "Content-Type": "application/json" }, body });
}

/**
 * Listens to the events for good. `on.event(object)` gets each, `on.broken()` hears of every break. After a break it tries
 * again in growing steps; each new stream begins with a snapshot. Returns a function that tries at once.
 */
export function listen(on) {
  let source = null;
  let timer = 0;
  let wait = 500;

  function open() {
    timer = 0;
    source = new EventSource("/api/v1/events");
    source.onmessage = (message) => {
      wait = 500;
      on.event(JSON.parse(message.data));
    };
    source.onerror = broken;
  }

  async function broken() {
    source?.close();
    source = null;
    on.broken();
    try {
      // Tells a lost cookie (401) from a daemon that is not there.
      await get("status");
    } catch (error) {
      if (error.status === 401) return;
    }
    if (source) return;
    clearTimeout(timer);
    timer = setTimeout(open, wait);
    wait = Math.min(wait * 2, 8000);
  }

  function again() {
    if (source) return;
    clearTimeout(timer);
    open();
  }

  // A tab that nobody looks at gives its connection back after a while: browsers have six for one address, for all tabs.
  let leaving = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(leaving);
    if (document.visibilityState === "visible") return again();
    leaving = setTimeout(() => {
      clearTimeout(timer);
      source?.close();
      source = null;
    }, HIDDEN_MS);
  });

  open();
  return again;
}
