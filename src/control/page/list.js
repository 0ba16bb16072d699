// A grid that holds only the rows in view: all rows have one height, the window scrolls, arrow keys move the focus.

import { setAttr } from "./dom.js";

const SPARE = 5;

/**
 * `root` gets the rows. `create(id)` makes a row, `fill(row, id)` brings it up to date. A row or control in it has the focus;
 * only one row is reached by Tab.
 */
export class VirtualList {
  #ids = [];
  #rows = new Map();
  #current = null;
  #frame = 0;

  constructor(root, create, fill) {
    this.root = root;
    this.create = create;
    this.fill = fill;
    const later = () => (this.#frame ||= requestAnimationFrame(() => this.draw()));
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later, { passive: true });
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("focusin", (event) => {
      const row = event.target.closest("[role=row]");
      if (row) this.#choose(row.dataset.game);
    });
  }

  /** Shows these rows, in this order. */
  set(ids) {
    this.#ids = ids;
    if (!ids.includes(this.#current)) this.#current = ids[0] ?? null;
    setAttr(this.root, "aria-rowcount", ids.length);
    this.draw(true);
  }

  /** Brings the rows in view up to date. */
  refresh() {
    for (const [id, row] of this.#rows) this.fill(row, id);
  }

  #height() {
    const style = getComputedStyle(this.root);
    return parseFloat(style.getPropertyValue("--row")) * parseFloat(getComputedStyle(document.documentElement).fontSize);
  }

  draw(all = false) {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.root.offsetParent === null) return;
    const height = this.#height();
    this.root.style.setProperty("height", `${this.#ids.length * height}px`);
    const above = -this.root.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(above / height) - SPARE);
    const last = Math.min(this.#ids.length, Math.ceil((above + innerHeight) / height) + SPARE);

    const focused = this.root.contains(document.activeElement) ? document.activeElement : null;
    const kept = focused?.closest("[role=row]")?.dataset.game;
    const shown = [];
    for (let n = first; n < last; n += 1) shown.push(n);
    const at = kept === undefined ? -1 : this.#ids.indexOf(kept);
    if (at >= 0 && at < first) shown.unshift(at);
    if (at >= last) shown.push(at);

    const wanted = new Set(shown.map((n) => this.#ids[n]));
    for (const [id, row] of this.#rows) {
      if (wanted.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    let place = this.root.firstElementChild;
    for (const n of shown) {
      const id = this.#ids[n];
      let row = this.#rows.get(id);
      if (!row || all) {
        row ??= this.create(id);
        this.#rows.set(id, row);
        this.fill(row, id);
      }
      row.style.setProperty("transform", `translateY(${n * height}px)`);
      setAttr(row, "aria-rowindex", n + 1);
      if (row === place) place = place.nextElementSibling;
      else this.root.insertBefore(row, place);
    }
    this.#reach(wanted.has(this.#current) ? this.#current : this.#ids[shown[0]]);
    // Where a row was moved within the document it lost the focus.
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
  }

  #choose(id) {
    this.#current = id;
    this.#reach(id);
  }

  /** Lets Tab reach this row and what is in it, and no other. */
  #reach(id) {
    for (const [other, row] of this.#rows) {
      const index = other === id ? "0" : "-1";
      if (row.getAttribute("tabindex") === index) continue;
      row.setAttribute("tabindex", index);
      for (const button of row.querySelectorAll("button")) button.setAttribute("tabindex", index);
    }
  }

  /** Scrolls to a row and puts the focus on it. */
  focus(n) {
    const id = this.#ids[n];
    if (id === undefined) return;
    const height = this.#height();
    const top = this.root.getBoundingClientRect().top + n * height;
    const free = Math.max(0, document.getElementById("top").getBoundingClientRect().bottom);
    if (top < free) scrollBy(0, top - free);
    else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight);
    this.#current = id;
    this.draw();
    this.#rows.get(id)?.focus({ preventScroll: true });
  }

  #key(event) {
    const row = event.target.closest("[role=row]");
    if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
    const n = this.#ids.indexOf(row.dataset.game);
    const page = Math.max(1, Math.floor(innerHeight / this.#height()) - 2);
    const last = this.#ids.length - 1;
    const to = { ArrowDown: n + 1, ArrowUp: n - 1, PageDown: n + page, PageUp: n - page, Home: 0, End: last }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      this.focus(Math.min(last, Math.max(0, to)));
    } else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      const stops = [row, ...row.querySelectorAll("button:not([hidden])")];
      const next = stops[stops.indexOf(event.target) + (event.key === "ArrowRight" ? 1 : -1)];
      event.preventDefault();
      next?.focus();
    }
  }
}
