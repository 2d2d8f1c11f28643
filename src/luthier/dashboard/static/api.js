/**
 * The API as the dashboard calls it. The key stays in this module's memory and is gone with the tab.
 */

import { currentLanguage } from "./i18n.js";

let apiKey = "";
let onRefusedKey = () => {};

/** An error response of the API, or a server that does not answer (`status` 0). */
export class ApiError extends Error {
  /** @param {number} status @param {string} message @param {string | null} [code] */
  constructor(status, message, code = null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** @param {string} key */
export function setKey(key) {
  apiKey = key;
}

/** @param {() => void} act called when the server asks for a key, or for another one */
export function whenKeyIsRefused(act) {
  onRefusedKey = act;
}

/** The address of a path below `/v1`; `lang` asks for what the server writes, errors too, in Chinese. @param {string} path */
function address(path) {
  const language = currentLanguage() === "en" ? "" : `${path.includes("?") ? "&" : "?"}lang=${currentLanguage()}`;
  return `/v1${path}${language}`;
}

/**
 * @param {string} path below `/v1`
 * @param {RequestInit} [options]
 * @returns {Promise<Response>} a response with a status below 400
 */
export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  if (apiKey) headers.set("authorization", `Bearer ${apiKey}`);
  let response;
  try {
    response = await fetch(address(path), { ...options, headers });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "");
  }
  if (response.ok) return response;
  if (response.status === 401) onRefusedKey();
  const body = await response.json().catch(() => null);
  throw new ApiError(response.status, body?.error?.message ?? response.statusText, body?.error?.code ?? null);
}

/** @param {string} path @param {Record<string, string | number | undefined>} [query] */
export async function get(path, query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined);
  const search = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)]));
  return (await request(search.size ? `${path}?${search}` : path)).json();
}

/** @param {string} path @param {unknown} [body] */
export async function post(path, body = undefined) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}) };
  return (await request(path, options)).json();
}

/** @param {string} path */
export async function remove(path) {
  return (await request(path, { method: "DELETE" })).json();
}

/** @param {File} file @param {string} purpose */
export async function upload(file, purpose) {
  const form = new FormData();
  form.set("purpose", purpose);
  form.set("file", file, file.name);
  return (await request("/files", { method: "POST", body: form })).json();
}

/**
 * Server-sent events of a streamed POST, parsed.
 * @param {string} path @param {unknown} body @param {AbortSignal} signal
 */
export async function* stream(path, body, signal) {
  const headers = { "content-type": "application/json" };
  const response = await request(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += decoder.decode(value, { stream: true });
    const events = buffer.split("\n\n");
    buffer = events.pop() ?? "";
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

/** Fetches a file with the person's key and saves it. @param {string} path @param {string} name */
export async function download(path, name) {
  save(await (await request(path)).blob(), name);
}

/** Saves a response's bytes as a file of the person's computer. @param {BlobPart} content @param {string} name */
export function save(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
