// OpenAI's Node client.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [model, HELLO, MORE, DIM, AS_JSON] = process.argv.slice(2);
const Light = z.object({ room: z.string(), brightness: z.number().int() });
const client = new OpenAI({ maxRetries: 0 });
const user = (content) => ({ role: "user", content });
const ask = async (messages) => (await client.chat.completions.create({ model, messages })).choices[0].message;

const first = await ask([user(HELLO)]);
const second = await ask([user(HELLO), { role: "assistant", content: first.content }, user(MORE)]);
let streamed = "";
for await (const chunk of await client.chat.completions.create({ model, messages: [user(HELLO)], stream: true }))
  streamed += chunk.choices[0].delta.content ?? "";
let called;
const parameters = {
  type: "object",
  properties: { room: { type: "string" }, brightness: { type: "integer" } },
  required: ["room", "brightness"],
};
const setLight = (args) => ((called = args), "done");
const runner = client.chat.completions.runTools({
  model,
  messages: [user(DIM)],
  tools: [{ type: "function", function: { name: "set_light", parse: JSON.parse, function: setLight, parameters } }],
});
const answer = await runner.finalContent();
const response_format = zodResponseFormat(Light, "light");
const parsed = await client.chat.completions.parse({ model, messages: [user(AS_JSON)], response_format });
const heard = { first: first.content, second: second.content, streamed, called, answer };
console.log(JSON.stringify({ ...heard, parsed: parsed.choices[0].message.parsed }));
