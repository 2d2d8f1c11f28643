"""The README.md of a recording, which describes its format to people and programs without Luthier."""

README = """\
# Recording of a fine-tuning account

Written by `luthier migrate record`. Everything is JSON, JSON lines (one object per line, UTF-8) or the files as they
were; nothing here needs Luthier to be read.

| path | content |
|---|---|
| `manifest.json` | the account, counts, the SHA-256 of each file and document, what is missing and why |
| `inventory.json` | the account on the day of recording: models, shutdown dates, jobs, files |
| `files.jsonl` | metadata of every file; `path` is null and `error` says why where there is no content |
| `files/` | the files' bytes, named by their id |
| `jobs.jsonl` | fine-tuning jobs as the service returned them |
| `events/ID.jsonl`, `checkpoints/ID.jsonl` | events and checkpoints of a job |
| `stored_completions.jsonl` | stored chat completions, each with its `messages` |
| `batches.jsonl` | batches; their files are in `files/` |
| `answers/MODEL.jsonl` | questions put to an old model and its answers |
| `journal.sqlite` | for resuming; may be deleted once the recording is complete |

Result files of OpenAI (`fine-tune-results`) are CSV in Base64, as the service sends them.

A line of `answers/` has `custom_id` (equal for equal questions), `model`, `source` (`validation`, `training`,
`prompts` or `stored_completions`), `definitions` (`full`: the model saw the function definitions; `none`: the same
question without them; null: the question has none), `url` (`/v1/chat/completions`, or `/v1/completions` for models
that complete texts), `request` and `response` (its bodies, with log-probabilities and usage), `reference` (the answer
of the data set, as a message), `error` (why there is no response), `recorded_at` (Unix seconds) and `latency_s`
(seconds until the response; null if it is not known). Questions with source `training` were seen in training: answers
to them flatter the model.

Characters other than letters, digits, `_`, `.` and `-` in an id become `_` in a file name, which then ends in a hash
of the id.
"""
