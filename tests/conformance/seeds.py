"""Real resources for the suites' literal ids: what a literal stands for is made on the server under test.

Through the API wherever it has a way. What a test cannot wait for, a job in the middle of its training or a model to
delete, is put into the server's store as a worker of its own would leave it there.
"""

import hashlib
import json
import shutil
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
from openai import OpenAI

from luthier.store import Store
from luthier.types.fine_tuning import FINAL
from luthier.types.names import checkpoint_name
from store.test_store import JOB
from through_api import create, finished, upload

KEYS = ("My API Key", "My Admin API Key")  # what the suites send
BASE = "gpt-4o-mini"
_CONTENT = b"Example data of some length"


class Seeds:
    """Each public name is what a literal stands for, as an id. `data`: the folder of the server at `url`."""

    def __init__(self, url: str, data: Path) -> None:
        self._store, self._data = Store(data), data
        self._client = OpenAI(base_url=url, api_key=KEYS[0], max_retries=0)
        self._http = httpx.Client(base_url=url, headers={"authorization": f"Bearer {KEYS[0]}"}, timeout=60)
        self._steps = 0

    def close(self) -> None:
        self._http.close()
        self._client.close()
        self._store.close()

    def after(self, answer: httpx.Response) -> None:
        """What a suite has done with is cancelled: no job is trained for it, and none stays `paused`, a status that
        the strict client does not know.
        """
        request = answer.request
        if request.method == "POST" and "/fine_tuning/jobs" in request.url.path and answer.is_success:
            job = answer.json()
            if job["status"] not in FINAL:
                self._client.fine_tuning.jobs.cancel(job["id"])

    # -- files, uploads and models ------------------------------------------------------------------------------------

    @cached_property
    def file(self) -> str:
        return self.new_file

    @property
    def new_file(self) -> str:
        return self._client.files.create(file=("upload", _CONTENT), purpose="assistants").id

    @cached_property
    def training_file(self) -> str:
        return upload(self._client)

    @property
    def upload(self) -> str:
        """Waits for parts."""
        size = len(_CONTENT)
        return self._client.uploads.create(bytes=size, filename="f", mime_type="text/plain", purpose="assistants").id

    @property
    def full_upload(self) -> str:
        """Has all of its parts, which is `parts` from then on."""
        upload_id = self.upload
        self.parts = [self._client.uploads.parts.create(upload_id, data=_CONTENT).id]
        return upload_id

    @property
    def md5(self) -> str:
        return hashlib.md5(_CONTENT, usedforsecurity=False).hexdigest()

    @property
    def model(self) -> str:
        return BASE

    @property
    def new_model(self) -> str:
        """A copy of a trained adapter, taken over as a worker takes over a checkpoint."""
        job, self._steps = self._store.jobs.get(self._held_job), self._steps + 1
        trained = self._store.models.find(self.fine_tuned_model)
        assert trained
        source = self._data / "adapter-to-delete"
        shutil.copytree(trained.adapter, source)
        name = checkpoint_name(JOB["model"], "personal", None, self._steps)
        result = self._store.models.add_checkpoint(
            job, name=name, step=self._steps, metrics={}, source=source, call_form=None, event=None, keep=10**6
        )
        assert result
        return result

    # -- stored chat completions -----------------------------------------------------------------------------

    @cached_property
    def stored(self) -> str:
        return self.new_stored

    @property
    def new_stored(self) -> str:
        """Of one message by an assistant: strict mode knows no other role in a stored message."""
        messages = [{"role": "assistant", "content": "Hello"}]
        return self._client.chat.completions.create(model=BASE, messages=messages, store=True, max_tokens=4).id

    # -- responses and conversations ---------------------------------------------------------------------------

    @cached_property
    def response(self) -> str:
        return self.new_response

    @property
    def new_response(self) -> str:
        return self._client.responses.create(model=BASE, input="Hello", max_output_tokens=4).id

    @property
    def background_response(self) -> str:
        return self._client.responses.create(model=BASE, input="Hello", background=True).id

    @cached_property
    def conversation(self) -> str:
        return self.new_conversation

    @property
    def new_conversation(self) -> str:
        return self._client.conversations.create().id

    @cached_property
    def item(self) -> str:
        return self.new_item

    @property
    def new_item(self) -> str:
        added = self._client.conversations.items.create(self.conversation, items=[{"role": "user", "content": "Hello"}])
        return str(added.data[0].id)

    # -- batches ---------------------------------------------------------------------------------------------

    @cached_property
    def batch_file(self) -> str:
        return self._batch_file(1)

    @cached_property
    def batch(self) -> str:
        return self._batch(self.batch_file)

    @property
    def long_batch(self) -> str:
        """Takes long enough to be cancelled."""
        return self._batch(self._long_batch_file)

    @cached_property
    def _long_batch_file(self) -> str:
        return self._batch_file(100)

    def _batch_file(self, requests: int) -> str:
        body = {"model": BASE, "messages": [{"role": "user", "content": "Hello"}]}
        line = {"method": "POST", "url": "/v1/chat/completions", "body": body}
        lines = "".join(json.dumps({"custom_id": str(at), **line}) + "\n" for at in range(requests))
        return self._client.files.create(file=("requests.jsonl", lines.encode()), purpose="batch").id

    def _batch(self, file: str) -> str:
        return self._client.batches.create(
            input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h"
        ).id

    # -- evals -----------------------------------------------------------------------------------------------

    @cached_property
    def eval(self) -> str:
        return self.new_eval

    @property
    def new_eval(self) -> str:
        criterion = {"type": "string_check", "name": "x", "input": "", "reference": "", "operation": "eq"}
        config = {"type": "custom", "item_schema": {}}
        return self._client.evals.create(data_source_config=config, testing_criteria=[criterion]).id

    @property
    def new_run(self) -> str:
        """Takes long enough to be cancelled."""
        return self._run(self.eval, "Hello", items=100)

    @cached_property
    def failed_eval(self) -> str:
        return self.new_eval

    @cached_property
    def failed_run(self) -> str:
        """With an error: the suites' types have one on every run, and no file with the purpose `evals`."""
        file = self._client.files.create(file=("items.jsonl", b"{}"), purpose="user_data").id
        source = {"type": "jsonl", "source": {"type": "file_id", "id": file}}
        return self._ended(self.failed_eval, self._client.evals.runs.create(self.failed_eval, data_source=source).id)

    @cached_property
    def graded_eval(self) -> str:
        return self.new_eval

    @cached_property
    def graded_run(self) -> str:
        """Of an item with an error, a prompt beyond the context: the suites' types have one on every item."""
        return self._ended(self.graded_eval, self._run(self.graded_eval, "Hello" * 10_000, items=1))

    @cached_property
    def output_item(self) -> str:
        items = self._client.evals.runs.output_items.list(self.graded_run, eval_id=self.graded_eval)
        return items.data[0].id

    def _run(self, eval_id: str, text: str, items: int) -> str:
        content = [{"item": {"text": text}}] * items
        template = {"type": "template", "template": [{"role": "user", "content": "{{item.text}}"}]}
        source = {"type": "file_content", "content": content}
        data_source = {"type": "completions", "source": source, "model": BASE, "input_messages": template}
        return self._client.evals.runs.create(eval_id, data_source=data_source).id

    def _ended(self, eval_id: str, run_id: str) -> str:
        while self._client.evals.runs.retrieve(run_id, eval_id=eval_id).status in ("queued", "in_progress"):
            time.sleep(0.1)
        return run_id

    # -- webhooks --------------------------------------------------------------------------------------------

    @property
    def webhook_url(self) -> str:
        """The server under test answers events with status 404, which a test of an endpoint reports."""
        return f"http://localhost:{self._http.base_url.port}/hook"

    @cached_property
    def webhook_endpoint(self) -> str:
        return self.new_webhook_endpoint

    @property
    def new_webhook_endpoint(self) -> str:
        return self._client.webhooks.create(name="x", url=self.webhook_url, event_types=["batch.completed"]).id

    # -- jobs ------------------------------------------------------------------------------------------------

    @cached_property
    def finished_job(self) -> str:
        """Trained for real, on this server."""
        job = create(self._client, self.training_file, model=BASE, hyperparameters={"n_epochs": 1, "batch_size": 4})
        return finished(self._client, job.id).id

    @property
    def fine_tuned_model(self) -> str:
        return str(self._client.fine_tuning.jobs.retrieve(self.finished_job).fine_tuned_model)

    @property
    def permission(self) -> str:
        result = self._client.fine_tuning.checkpoints.permissions.create(self.fine_tuned_model, project_ids=["string"])
        return next(iter(result)).id

    @cached_property
    def _held_job(self) -> str:
        return self.running_job

    @property
    def running_job(self) -> str:
        return self._job(status="running")

    @property
    def paused_job(self) -> str:
        return self._job(status="paused")

    def _job(self, **values: Any) -> str:
        """In the hands of a worker of ours, so that no other takes it."""
        lease = {"owner": "conformance", "lease_until": time.time() + 3600}
        return self._store.jobs.create(**{**JOB, "training_file": self.training_file, **lease, **values}).id
