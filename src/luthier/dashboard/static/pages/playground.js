/** Two models side by side on the same prompt; votes become preference pairs. */

import { html, useRef, useState } from "../preact.js";
import { get, save, stream, upload } from "../api.js";
import { store, stored, t } from "../i18n.js";
import { ErrorBox, usePolled, useTitle } from "../ui.js";
import { Call } from "../conversation.js";

const MAX_KEPT = 50;  // prompts, in this browser
const MODES = ["functionsFull", "functionsSlim", "functionsNone"];

/** Definitions without descriptions and parameters. @param {any[]} tools */
const slim = (tools) => tools.map((tool) => ({ type: "function", function: { name: tool.function?.name } }));

/** The tools of a request; null for definitions that are no JSON list. @param {string} mode @param {string} definitions @returns {any[] | null} */
function toolsToSend(mode, definitions) {
  if (mode === "functionsNone") return [];
  try {
    const tools = JSON.parse(definitions);
    return Array.isArray(tools) ? (mode === "functionsSlim" ? slim(tools) : tools) : null;
  } catch {
    return null;
  }
}

/** Prompts that the person kept, the newest first. */
function storedPrompts() {
  try {
    const prompts = JSON.parse(stored("luthier-prompts") ?? "[]");
    return Array.isArray(prompts) ? prompts : [];
  } catch {
    return [];
  }
}

/** @typedef {{ text: string, calls: any[], usage: any, seconds: number, done: boolean, error: Error | null }} Answer */

/** @param {any} delta @param {Answer} answer */
function add(delta, answer) {
  answer.text += delta?.content ?? "";
  for (const part of delta?.tool_calls ?? []) {
    const call = (answer.calls[part.index] ??= { name: "", arguments: "" });
    call.name += part.function?.name ?? "";
    call.arguments += part.function?.arguments ?? "";
  }
  if (delta?.function_call) {
    const call = (answer.calls[0] ??= { name: "", arguments: "" });
    call.name += delta.function_call.name ?? "";
    call.arguments += delta.function_call.arguments ?? "";
  }
}

/** The answer as a message of a training file. @param {Answer} answer */
const asMessage = (answer) => ({
  role: "assistant", ...(answer.text && { content: answer.text }),
  ...(answer.calls.length && { tool_calls: answer.calls.map((call, index) => ({ id: `call_${index + 1}`, type: "function", function: call })) }),
});

/** @param {{ query: URLSearchParams }} props */
export function PlaygroundPage({ query }) {
  useTitle(t("playground"));
  const { data: listed } = usePolled(() => get("/models"), []);
  const [models, setModels] = useState([query.get("model") ?? "", query.get("with") ?? (query.get("model") ? "gpt-4o-mini" : "")]);
  const [system, setSystem] = useState(stored("luthier-system") ?? "");
  const [text, setText] = useState(stored("luthier-prompt") ?? "");
  const [mode, setMode] = useState("functionsNone");
  const [definitions, setDefinitions] = useState(stored("luthier-tools") ?? "");
  const [maxTokens, setMaxTokens] = useState(256);
  const [temperature, setTemperature] = useState(0);
  const [blind, setBlind] = useState(false);
  const [swapped, setSwapped] = useState(false);
  const [answers, setAnswers] = useState(/** @type {(Answer | null)[]} */ ([null, null]));
  const [votes, setVotes] = useState(/** @type {any[]} */ ([]));
  const [voted, setVoted] = useState(false);
  const [sentTools, setSentTools] = useState(/** @type {any[]} */ ([]));
  const [kept, setKept] = useState(/** @type {any[]} */ (storedPrompts()));
  const [failure, setFailure] = useState("");
  const abort = useRef(/** @type {AbortController | null} */ (null));
  const names = [...new Set((listed?.data ?? []).map((/** @type {any} */ model) => model.id))].filter((name) => !/embedding/.test(String(name)));
  const chosen = models[0] || String(names.find((name) => String(name).startsWith("ft:")) ?? names[0] ?? "");
  const asked = [chosen, models[1]];
  const busy = answers.some((answer) => answer && !answer.done);

  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const tools = toolsToSend(mode, definitions);
    if (!tools) { setFailure(t("invalidJson")); return; }
    setFailure(""); setVoted(false); setSentTools(tools);
    setSwapped(blind && Math.random() < 0.5);
    store("luthier-system", system); store("luthier-prompt", text); store("luthier-tools", definitions);
    abort.current = new AbortController();
    const messages = [...(system ? [{ role: "system", content: system }] : []), { role: "user", content: text }];
    const current = asked.map((name) => (name ? { text: "", calls: [], usage: null, seconds: 0, done: false, error: null } : null));
    setAnswers(current);
    await Promise.all(asked.map((name, index) => name && one(name, messages, tools, /** @type {Answer} */ (current[index]), current)));
  };
  const one = async (/** @type {string} */ model, /** @type {any[]} */ messages, /** @type {any[]} */ tools, /** @type {Answer} */ answer, /** @type {any[]} */ current) => {
    const begun = performance.now();
    const body = { model, messages, max_tokens: maxTokens, temperature, stream: true, stream_options: { include_usage: true }, ...(tools.length && { tools }) };
    try {
      for await (const chunk of stream("/chat/completions", body, /** @type {AbortController} */ (abort.current).signal)) {
        add(chunk.choices?.[0]?.delta, answer);
        answer.usage = chunk.usage ?? answer.usage;
        answer.seconds = (performance.now() - begun) / 1000;
        setAnswers([...current]);
      }
    } catch (error) {
      if (/** @type {Error} */ (error).name !== "AbortError") answer.error = /** @type {Error} */ (error);
    }
    answer.done = true;
    setAnswers([...current]);
  };
  const vote = (/** @type {number} */ winner) => {
    const messages = [...(system ? [{ role: "system", content: system }] : []), { role: "user", content: text }];
    setVotes([...votes, { input: { messages, ...(sentTools.length && { tools: sentTools }) }, preferred_output: [asMessage(/** @type {Answer} */ (answers[winner]))], non_preferred_output: [asMessage(/** @type {Answer} */ (answers[1 - winner]))] }]);
    setVoted(true);
  };
  const keepPrompt = () => {
    const entry = { system, text, mode, definitions }, others = kept.filter((prompt) => prompt.text !== text || prompt.system !== system);
    const prompts = [entry, ...others].slice(0, MAX_KEPT);
    setKept(prompts);
    store("luthier-prompts", JSON.stringify(prompts));
  };
  const take = (/** @type {any} */ event) => {
    const prompt = kept[Number(event.target.value)];
    event.target.value = "";
    if (!prompt) return;
    setSystem(prompt.system); setText(prompt.text); setMode(prompt.mode); setDefinitions(prompt.definitions);
  };
  const pairs = `${votes.map((pair) => JSON.stringify(pair)).join("\n")}\n`;
  const saveVotes = async () => {
    try {
      const file = await upload(new File([pairs], "preferences.jsonl"), "fine-tune");
      location.hash = `#/file/${file.id}`;
    } catch (error) { setFailure(/** @type {Error} */ (error).message); }
  };
  const order = swapped ? [1, 0] : [0, 1];
  const hidden = blind && !voted;
  const both = answers.every((answer) => answer?.done && !answer.error);
  const picker = (/** @type {number} */ index) => html`<label>${index ? t("addModel") : t("model")}<select value=${asked[index]}
    onChange=${(/** @type {any} */ event) => setModels(models.map((name, other) => (other === index ? event.target.value : other === 0 ? chosen : name)))}>
    ${index === 1 && html`<option value="">${t("none")}</option>`}
    ${[...new Set([asked[index], ...names])].filter(Boolean).map((name) => html`<option value=${name}>${name}</option>`)}</select></label>`;
  return html`<h1>${t("playground")}</h1><form class="card" onSubmit=${send}><div class="grid">${picker(0)}${picker(1)}</div>
      <label>${t("systemPrompt")}<textarea rows="2" value=${system} onInput=${(/** @type {any} */ event) => setSystem(event.target.value)}></textarea></label>
      <label>${t("message")}<textarea rows="3" required value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)}></textarea></label>
      <div class="grid"><label>${t("functionsSent")}<select value=${mode} onChange=${(/** @type {any} */ event) => setMode(event.target.value)}>${MODES.map((name) => html`<option value=${name}>${t(name)}</option>`)}</select></label>
        <label>${t("maxTokens")}<input type="number" min="1" max="8192" value=${maxTokens} onInput=${(/** @type {any} */ event) => setMaxTokens(Number(event.target.value))} /></label>
        <label>${t("temperature")}<input type="number" min="0" max="2" step="0.1" value=${temperature} onInput=${(/** @type {any} */ event) => setTemperature(Number(event.target.value))} /></label></div>
      ${mode !== "functionsNone" && html`<label>${t("functionsJson")}<textarea class="code" rows="6" value=${definitions} onInput=${(/** @type {any} */ event) => setDefinitions(event.target.value)}></textarea></label>`}
      <label class="check"><input type="checkbox" checked=${blind} onChange=${() => setBlind(!blind)} /> ${t("blind")}</label>
      ${failure && html`<div class="notice bad" role="alert">${failure}</div>`}
      <div class="actions"><button disabled=${busy}>${t("send")}</button>${busy && html`<button type="button" class="ghost" onClick=${() => abort.current?.abort()}>${t("stop")}</button>`}
        <button type="button" class="ghost" disabled=${!text} onClick=${keepPrompt}>${t("keepPrompt")}</button>
        ${kept.length > 0 && html`<select class="kept" aria-label=${t("keptPrompts")} value="" onChange=${take}><option value="">${t("keptPrompts")}</option>
          ${kept.map((prompt, index) => html`<option value=${index}>${prompt.text.slice(0, 60)}</option>`)}</select>`}</div></form>
    <div class="columns" aria-live="polite">${order.map((index, place) => answers[index] && html`<section class="card answer" key=${index}>
      <h2 class="id">${hidden ? t(place ? "right" : "left") : asked[index]}</h2><${AnswerView} answer=${answers[index]} />
      ${both && !voted && html`<button class="small ghost" onClick=${() => vote(index)}>${t("better")}</button>`}</section>`)}</div>
    ${votes.length > 0 && html`<div class="notice">${t("votes", { n: votes.length })} ${t("votesHint")}
      <button class="small" onClick=${() => save(pairs, "preferences.jsonl")}>${t("downloadPairs")}</button>${" "}
      <button class="small ghost" onClick=${saveVotes}>${t("uploadPairs")}</button></div>`}`;
}

/** @param {{ answer: Answer }} props */
function AnswerView({ answer }) {
  return html`${answer.text && html`<div class="text">${answer.text}</div>`}${answer.calls.map((call) => html`<${Call} call=${call} />`)}
    <${ErrorBox} error=${answer.error} />
    ${answer.done && answer.usage && html`<p class="muted">${t("secondsTokens", { seconds: answer.seconds.toFixed(1), prompt: answer.usage.prompt_tokens, completion: answer.usage.completion_tokens })}</p>`}`;
}
