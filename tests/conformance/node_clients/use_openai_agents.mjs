// OpenAI's Agents SDK for JavaScript: its default is the Responses API, setOpenAIAPI selects chat completions.
import { Agent, run, setOpenAIAPI, setTracingDisabled, tool, user } from "@openai/agents";
import { z } from "zod";

const [model, HELLO, MORE, DIM, AS_JSON] = process.argv.slice(2);
const responses = process.env.API === "responses";
if (!responses) setOpenAIAPI("chat_completions");
setTracingDisabled(true);
const Light = z.object({ room: z.string(), brightness: z.number().int() });

const agent = new Agent({ name: "agent", model });
const first = await run(agent, HELLO);
const second = await run(agent, [...first.history, user(MORE)]);
let streamed = "";
const stream = await run(agent, HELLO, { stream: true });
for await (const piece of stream.toTextStream()) streamed += piece;
const calls = [];
const setLight = tool({
  name: "set_light",
  description: "Set the brightness of the lights in a room.",
  parameters: Light,
  execute: async (args) => (calls.push(args), "done"),
});
const house = await run(new Agent({ name: "house", model, tools: [setLight] }), DIM);
const parsed = await run(new Agent({ name: "parser", model, outputType: Light }), AS_JSON);
const heard = { first: first.finalOutput, second: second.finalOutput, streamed, answer: house.finalOutput };
heard.called = calls.pop();
if (responses) {
  await run(new Agent({ name: "house", model, tools: [setLight] }), process.env.DIM_BOTH);
  heard.both = calls;
}
console.log(JSON.stringify({ ...heard, parsed: parsed.finalOutput }));
