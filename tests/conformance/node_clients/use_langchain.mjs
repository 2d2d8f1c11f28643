// LangChain for JavaScript.
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";

const [name, HELLO, MORE, DIM, AS_JSON] = process.argv.slice(2);
const Light = z.object({ room: z.string(), brightness: z.number().int() });
const useResponsesApi = process.env.API === "responses";
const configuration = { baseURL: process.env.OPENAI_BASE_URL };
const model = new ChatOpenAI({ model: name, maxRetries: 0, useResponsesApi, configuration });

const first = await model.invoke([new HumanMessage(HELLO)]);
const second = await model.invoke([new HumanMessage(HELLO), first, new HumanMessage(MORE)]);
let streamed = "";
for await (const chunk of await model.stream(HELLO)) streamed += chunk.text;
let called;
const setLight = tool(async (args) => ((called = args), "done"), {
  name: "set_light",
  description: "Set the brightness of the lights in a room.",
  schema: Light,
});
const calling = model.bindTools([setLight]);
const turns = [new HumanMessage(DIM)];
turns.push(await calling.invoke(turns));
const [call] = turns[1].tool_calls;
turns.push(new ToolMessage({ content: await setLight.invoke(call.args), tool_call_id: call.id }));
const answer = await calling.invoke(turns);
const parsed = await model.withStructuredOutput(Light).invoke(AS_JSON);
const heard = { first: first.text, second: second.text, streamed, called, answer: answer.text };
if (useResponsesApi) heard.both = (await calling.invoke(process.env.DIM_BOTH)).tool_calls.map((call) => call.args);
console.log(JSON.stringify({ ...heard, parsed }));
