// OpenAI's Node client, by the Responses API.
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const [model, HELLO, MORE, DIM, AS_JSON] = process.argv.slice(2);
const Light = z.object({ room: z.string(), brightness: z.number().int() });
const client = new OpenAI({ maxRetries: 0 });
const ask = (input, more) => client.responses.create({ model, input, ...more });
const callsOf = (response) => response.output.filter((item) => item.type === "function_call");

const first = await ask(HELLO);
const second = await ask(MORE, { previous_response_id: first.id });
let streamed = "";
const stream = client.responses.stream({ model, input: HELLO });
for await (const event of stream) if (event.type === "response.output_text.delta") streamed += event.delta;
const final = await stream.finalResponse();
if (final.output_text !== streamed) throw new Error(`${final.output_text} is not ${streamed}`);
const parameters = {
  type: "object",
  properties: { room: { type: "string" }, brightness: { type: "integer" } },
  required: ["room", "brightness"],
  additionalProperties: false,
};
const tools = [{ type: "function", name: "set_light", parameters, strict: true }];
const turns = [{ role: "user", content: DIM }];
const called = await ask(turns, { tools });
const [call] = callsOf(called);
const result = { type: "function_call_output", call_id: call.call_id, output: "done" };
const answer = await ask([...turns, ...called.output, result], { tools });
const both = callsOf(await ask(process.env.DIM_BOTH, { tools })).map((each) => JSON.parse(each.arguments));
const parsed = await client.responses.parse({ model, input: AS_JSON, text: { format: zodTextFormat(Light, "light") } });
const heard = { first: first.output_text, second: second.output_text, streamed, called: JSON.parse(call.arguments) };
console.log(JSON.stringify({ ...heard, answer: answer.output_text, both, parsed: parsed.output_parsed }));
