// Numbers, sizes, times and names as people read them, in the language of the page.

import { lang } from "./words.js";

const formats = new Map();

function format(options) {
  const key = lang() + JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(lang(), options));
  return formats.get(key);
}

const UNITS = ["kilobyte", "megabyte", "gigabyte", "terabyte"];

function scaled(bytes, per) {
  let step = 0;
  let value = Math.max(0, Number(bytes) || 0) / 1000;
  while (value >= 999.5 && step < UNITS.length - 1) {
    value /= 1000;
    step += 1;
  }
  const maximumFractionDigits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return format({ style: "unit", unit: UNITS[step] + per, unitDisplay: "short", maximumFractionDigits }).format(value);
}

/** `1.2 GB`: decimal units, as shops and browsers count. */
export const size = (bytes) => scaled(bytes, "");

/** `12.5 MB/s`. */
export const rate = (bytes) => scaled(bytes < 1000 ? 0 : bytes, "-per-second");

export const number = (value, digits = 0) => format({ maximumFractionDigits: digits }).format(value);

/** `45 %`; never 100 before the end. */
export const percent = (part) => format({ style: "percent" }).format(Math.floor(Math.min(1, Math.max(0, part)) * 100) / 100);

/** Seconds with one or two units. */
export function duration(seconds) {
  const unit = (value, name) => format({ style: "unit", unit: name, unitDisplay: "short" }).format(value);
  const s = Math.max(1, Math.round(seconds));
  if (s < 60) return unit(s, "second");
  if (s < 3600) return unit(Math.round(s / 60), "minute");
  if (s < 86400) return `${unit(Math.floor(s / 3600), "hour")} ${unit(Math.floor((s % 3600) / 60), "minute")}`;
  return unit(Math.floor(s / 86400), "day");
}

/** The time of day; with the date when it was another day. */
export function clock(ms) {
  const when = new Date(ms);
  const today = when.toDateString() === new Date().toDateString();
  return new Intl.DateTimeFormat(lang(), { timeStyle: "short", ...(today ? {} : { dateStyle: "short" }) }).format(when);
}

/** Text from elsewhere without control characters and without what turns the order of text around. */
export const clean = (text) =>
  String(text ?? "").replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, "\ufffd");

/** The same, isolated within a sentence where it could turn the order of the rest around. */
export const iso = (text) => (/^[ -~]*$/.test(text) ? String(text) : `\u2068${clean(text)}\u2069`);

/** Compares names as people sort them. */
export function collator() {
  return new Intl.Collator(lang(), { numeric: true, sensitivity: "base" });
}
