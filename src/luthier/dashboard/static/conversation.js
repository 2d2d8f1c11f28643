/** A conversation as a person reads it: messages, calls pretty-printed, tool results; and its trained tokens. */

import { html } from "./preact.js";
import { t } from "./i18n.js";

/** Arguments, indented where they are JSON. @param {unknown} text */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(String(text)), null, 2);
  } catch {
    return String(text);
  }
}

/** @param {unknown} content @returns {string} */
function plain(content) {
  if (typeof content === "string") return content;
  if (Array.isArray(content)) return content.map((part) => part?.text ?? JSON.stringify(part)).join("");
  return content === null || content === undefined ? "" : JSON.stringify(content);
}

/** @param {{ call: any }} props */
export const Call = ({ call }) => html`<div class="call"><code>${call?.name}</code><pre>${pretty(call?.arguments)}</pre></div>`;

/** @param {{ message: any }} props */
function Message({ message }) {
  const calls = [...(Array.isArray(message?.tool_calls) ? message.tool_calls.map((/** @type {any} */ call) => call?.function) : []),
    ...(message?.function_call ? [message.function_call] : [])];
  const text = plain(message?.content);
  return html`<div class=${`message ${message?.role}`}><div class="role">${message?.role}${message?.name ? ` · ${message.name}` : ""}
      ${message?.weight === 0 ? " · weight 0" : ""}</div>
    ${text && html`<div class="text">${text}</div>`}${calls.map((call) => html`<${Call} call=${call} />`)}</div>`;
}

/** @param {{ example: any }} props */
export function Conversation({ example }) {
  const parts = /** @type {[string, any[]][]} */ ([["", example.messages], ["input", example.input?.messages],
    ["preferred_output", example.preferred_output], ["non_preferred_output", example.non_preferred_output]]);
  const shown = parts.filter(([, messages]) => Array.isArray(messages));
  const tools = example.tools ?? example.input?.tools ?? example.functions;
  const rest = Object.keys(example).filter((key) => !["messages", "input", "preferred_output", "non_preferred_output", "tools", "functions"].includes(key));
  return html`${Array.isArray(tools) && html`<details><summary>${t("functionsSent")}: ${tools.map((tool) => tool?.function?.name ?? tool?.name).join(", ")}</summary>
      <pre>${JSON.stringify(tools, null, 2)}</pre></details>`}
    ${shown.map(([name, messages]) => html`${name && html`<div class="part">${name}</div>`}${messages.map((message) => html`<${Message} message=${message} />`)}`)}
    ${rest.map((key) => html`<div class="muted id">${key}: ${plain(example[key])}</div>`)}`;
}

/** @param {{ segments: { text: string, trained: boolean }[][] }} props */
export const Tokens = ({ segments }) => html`${segments.map((conversation) => html`<pre class="tokens">${conversation.map(
  ({ text, trained }) => (trained ? html`<mark>${text}</mark>` : html`<span>${text}</span>`))}</pre>`)}`;
