"""From 25 questions and answers to a model of one's own: the fine-tuning loop, through the official client alone.

luthier serve                                           # in another terminal
export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=luthier
python examples/finance.py                              # or with files of your own: TRAIN.jsonl VALIDATION.jsonl
"""

import base64
import json
import sys
import time
from collections import Counter
from pathlib import Path

from openai import OpenAI

DATA = Path(__file__).with_name("finance_qa_data.jsonl")
ROLES = ("system", "user", "assistant", "function")


def check(path: Path) -> Counter[str]:
    """The checks that everybody makes before an upload, by name."""
    errors: Counter[str] = Counter()
    for example in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        messages = example.get("messages")
        if not messages:
            errors["missing_messages_list"] += 1
            continue
        errors["unrecognized_role"] += sum(message.get("role") not in ROLES for message in messages)
        errors["missing_content"] += sum(not message.get("content") for message in messages)
        errors["example_missing_assistant_message"] += all(message["role"] != "assistant" for message in messages)
    return +errors


def main() -> str:
    client = OpenAI()

    files = []
    for path in map(Path, sys.argv[1:] or [DATA]):
        errors = check(path)
        print("errors found:", dict(errors) if errors else "none")
        with path.open("rb") as content:
            files.append(client.files.create(file=content, purpose="fine-tune"))
        print(files[-1])

    job = client.fine_tuning.jobs.create(
        training_file=files[0].id,
        validation_file=files[1].id if len(files) > 1 else None,
        model="gpt-3.5-turbo",
        hyperparameters={"n_epochs": 2},
    )
    print("job created:", job.id, job.model)

    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(2)
        job = client.fine_tuning.jobs.retrieve(job.id)
        print("status:", job.status)
    if job.status != "succeeded" or job.fine_tuned_model is None:
        raise SystemExit(f"the job {job.status}: {job.error}")

    for event in reversed(client.fine_tuning.jobs.list_events(job.id, limit=100).data):
        print(event.message)
    for checkpoint in client.fine_tuning.jobs.checkpoints.list(job.id):
        print("checkpoint:", checkpoint.step_number, checkpoint.fine_tuned_model_checkpoint)
    print(base64.b64decode(client.files.content(job.result_files[0]).read()).decode())

    completion = client.chat.completions.create(
        model=job.fine_tuned_model,
        messages=[
            {"role": "system", "content": "你是我的财务小助理"},
            {"role": "user", "content": "如何分析一支股票的基本面？"},
        ],
        max_tokens=120,
    )
    print(completion.choices[0].message)
    return job.fine_tuned_model


if __name__ == "__main__":
    main()
