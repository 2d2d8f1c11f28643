// The whole loop with OpenAI's Node client: upload, job, events, checkpoint, chat, stream, delete.
// Usage: node loop.mjs TRAINING_FILE, with OPENAI_BASE_URL and OPENAI_API_KEY set. Prints what it saw as JSON.
import fs from "node:fs";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const seen = {};

const file = await client.files.create({ file: fs.createReadStream(process.argv[2]), purpose: "fine-tune" });
seen.file = await client.files.waitForProcessing(file.id, { pollInterval: 100 });

let job = await client.fineTuning.jobs.create({
  model: "gpt-4o-mini",
  training_file: file.id,
  suffix: "node",
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2, batch_size: 4 } } },
});
seen.created = job.status;
while (!["succeeded", "failed", "cancelled"].includes(job.status)) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  job = await client.fineTuning.jobs.retrieve(job.id);
}
seen.job = job;

seen.events = [];
for await (const event of client.fineTuning.jobs.listEvents(job.id, { limit: 3 })) seen.events.unshift(event.message);
seen.checkpoints = [];
for await (const checkpoint of client.fineTuning.jobs.checkpoints.list(job.id)) seen.checkpoints.unshift(checkpoint);

const asked = {
  messages: [{ role: "user", content: "number 3" }],
  max_completion_tokens: 8,
  temperature: 0,
};
const last = seen.checkpoints.at(-1).fine_tuned_model_checkpoint;
seen.of_checkpoint = await client.chat.completions.create({ ...asked, model: seen.checkpoints[0].fine_tuned_model_checkpoint });
seen.of_last = await client.chat.completions.create({ ...asked, model: last });
seen.whole = await client.chat.completions.create({ ...asked, model: job.fine_tuned_model });

seen.pieces = [];
const stream = await client.chat.completions.create({ ...asked, model: job.fine_tuned_model, stream: true });
for await (const chunk of stream) seen.pieces.push(chunk.choices[0].delta.content ?? "");
const runner = client.chat.completions.stream({ ...asked, model: job.fine_tuned_model });
seen.helper = await runner.finalContent();

seen.deleted = [await client.models.delete(job.fine_tuned_model), await client.files.delete(file.id)];
seen.after = await client.models.retrieve(job.fine_tuned_model).catch((error) => ({
  name: error.constructor.name,
  status: error.status,
  code: error.code,
}));
console.log(JSON.stringify(seen));
