/** The language of the person: texts, dates, durations and numbers. */

import { TEXTS } from "./texts.js";
import { SERVER_TEXTS } from "./texts_server.js";

/** @type {Record<string, [string, string]>} */
const texts = { ...TEXTS, ...SERVER_TEXTS };

/** @type {"en" | "zh"} */
let language = stored("luthier-language") === "zh" || (!stored("luthier-language") && navigator.language.startsWith("zh"))
  ? "zh" : "en";

/** A preference of this browser; null where storage is off. @param {string} name */
export function stored(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string} value */
export function store(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch { /* a browser without storage forgets the preference */ }
}

export const currentLanguage = () => language;

/** @param {"en" | "zh"} value */
export function setLanguage(value) {
  language = value;
  store("luthier-language", value);
  document.documentElement.lang = value === "zh" ? "zh-CN" : "en";
}

/** `{name}` in a text is replaced by a value, `{name:one|many}` by a word for its number. @param {string} key @param {Record<string, string | number>} [values] */
export function t(key, values = {}) {
  const text = texts[key]?.[language === "zh" ? 1 : 0] ?? key;
  return text.replace(/\{(\w+):([^|}]*)\|([^}]*)\}/g, (_, name, one, many) => (String(values[name]) === "1" ? one : many)).replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

const locale = () => (language === "zh" ? "zh-CN" : "en-GB");

/** @param {number | null | undefined} seconds Unix time */
export function date(seconds) {
  if (!seconds) return "–";
  const options = /** @type {Intl.DateTimeFormatOptions} */ ({ dateStyle: "medium", timeStyle: "short" });
  return new Date(seconds * 1000).toLocaleString(locale(), options);
}

/** @param {number} seconds */
export function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString(locale());
}

/** @param {number} seconds */
export function duration(seconds) {
  const units = language === "zh" ? [" 秒", " 分钟", " 小时", " 天"] : [" s", " min", " h", " days"];
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))}${units[0]}`;
  if (seconds < 5400) return `${Math.round(seconds / 60)}${units[1]}`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)}${units[2]}`;
  return `${(seconds / 86400).toFixed(1)}${units[3]}`;
}

/** @param {number | null | undefined} value */
export const number = (value) => (value === null || value === undefined ? "–" : value.toLocaleString(locale()));

/** @param {string[]} words */
export const listed = (...words) => words.join(language === "zh" ? "，" : ", ");

/** @param {number} value */
export function bytes(value) {
  if (value < 1000) return `${value} B`;
  if (value < 1e6) return `${(value / 1e3).toFixed(1)} kB`;
  return value < 1e9 ? `${(value / 1e6).toFixed(1)} MB` : `${(value / 1e9).toFixed(1)} GB`;
}
