// Vercel's AI SDK: `openai(model)` is the Responses API, `openai.chat(model)` chat completions.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [name, HELLO, MORE, DIM, AS_JSON] = process.argv.slice(2);
const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const responses = process.env.API === "responses";
const model = responses ? openai(name) : openai.chat(name);
const Light = z.object({ room: z.string(), brightness: z.number().int() });
const user = (content) => ({ role: "user", content });

const first = await generateText({ model, maxRetries: 0, messages: [user(HELLO)] });
const turns = [user(HELLO), ...first.response.messages, user(MORE)];
const second = await generateText({ model, maxRetries: 0, messages: turns });
let streamed = "";
for await (const piece of streamText({ model, maxRetries: 0, prompt: HELLO }).textStream) streamed += piece;
const calls = [];
const set_light = tool({ inputSchema: Light, execute: async (args) => (calls.push(args), "done") });
const house = await generateText({ model, maxRetries: 0, prompt: DIM, tools: { set_light }, stopWhen: stepCountIs(3) });
const output = Output.object({ schema: Light });
const parsed = await generateText({ model, maxRetries: 0, prompt: AS_JSON, output });
const heard = { first: first.text, second: second.text, streamed, called: calls.pop(), answer: house.text };
if (responses) {
  await generateText({ model, maxRetries: 0, prompt: process.env.DIM_BOTH, tools: { set_light } });
  heard.both = calls;
}
console.log(JSON.stringify({ ...heard, parsed: parsed.output }));
