"""Jobs that the dashboard's tests look at, made through the API."""

import json
import time
from pathlib import Path

from openai import OpenAI

EXAMPLES = [
    {"messages": [{"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": f"it is {n}"}]}
    for n in range(24)
]
INJECTED = "<img src=x onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>"


def jsonl(folder: Path, *lines: object, name: str = "examples.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def create_job(api: OpenAI, path: Path, **fields: object) -> str:
    file = api.files.create(file=path.open("rb"), purpose="fine-tune")
    settings = {"model": "gpt-4o-mini", "hyperparameters": {"n_epochs": 1, "batch_size": 4}, **fields}
    return api.fine_tuning.jobs.create(training_file=file.id, **settings).id


def until_over(api: OpenAI, job_id: str) -> str:
    while (job := api.fine_tuning.jobs.retrieve(job_id)).status not in ("succeeded", "failed", "cancelled"):
        time.sleep(0.1)
    return job.status
