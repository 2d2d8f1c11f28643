"""The server's OpenAPI document, and answers to requests made from it: no 5xx, nothing that departs from its schema."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server.serving import Bare, bare_server, until
from store.test_store import JOB
from through_api import upload

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
KEY = "sk-document"
AUTHORIZATION = {"authorization": f"Bearer {KEY}"}
WRONG = "nobody-has-this"


@pytest.fixture(scope="module")
def bare(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """Without a worker, so that nothing is trained. With a key: on a server without one the first key that is created
    would shut out every request after it.
    """
    options = {"default_max_tokens": 8, "precision": "float32", "api_keys": KEY, "webhook_hosts": "localhost"}
    with bare_server(tmp_path_factory.mktemp("document"), tiny_base, **options) as running:
        yield running


def document(bare: Bare) -> dict[str, Any]:
    return httpx.get(f"{bare.url}/openapi.json", headers=AUTHORIZATION, timeout=60).raise_for_status().json()


def _known(bare: Bare) -> dict[str, list[str]]:
    client = bare.client(api_key=KEY)
    files = [upload(client) for _ in range(3)]
    jobs = [bare.store.jobs.create(**{**JOB, "training_file": files[0]}).id for _ in range(4)]
    uploads = [client.uploads.create(bytes=4, filename="a", mime_type="a", purpose="assistants").id for _ in range(4)]
    responses = [client.responses.create(model="gpt-4o-mini", input="a").id for _ in range(3)]
    conversations = [client.conversations.create().id for _ in range(3)]
    items = client.conversations.items.create(conversations[0], items=[{"role": "user", "content": "a"}] * 3).data
    criterion = {"type": "string_check", "name": "a", "input": "", "reference": "", "operation": "eq"}
    config = {"type": "custom", "item_schema": {}}
    evals = [client.evals.create(data_source_config=config, testing_criteria=[criterion]).id for _ in range(3)]
    source = {"type": "jsonl", "source": {"type": "file_content", "content": [{"item": {}}]}}
    runs = [client.evals.runs.create(evals[0], data_source=source).id for _ in range(3)]
    until(lambda: client.evals.runs.retrieve(runs[0], eval_id=evals[0]).status == "completed")
    [item] = client.evals.runs.output_items.list(runs[0], eval_id=evals[0])
    hook = {"name": "a", "url": "http://localhost:9/", "event_types": ["batch.failed"]}
    return {
        "webhook_endpoint_id": [client.webhooks.create(**hook).id for _ in range(3)],
        "response_id": responses,
        "previous_response_id": responses,
        "conversation_id": conversations,
        "item_id": [str(item.id) for item in items],
        "eval_id": evals[:2],
        "run_id": runs[:2],
        "output_item_id": [item.id],
        "file_id": files[1:],
        "training_file": files,
        "validation_file": files,
        "job_id": jobs,
        "upload_id": uploads,
        "model": ["gpt-4o-mini", "gpt-3.5-turbo"],
    }


def _with_known(whole: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    """In parameters and in request bodies; what is answered stays as it is documented."""
    for path in whole["paths"].values():
        for parameter in (entry for operation in path.values() for entry in operation.get("parameters", [])):
            if parameter["name"] in names:
                parameter["schema"] = {"enum": [*names[parameter["name"]], WRONG]}
    for name, schema in whole["components"]["schemas"].items():
        for field in names.keys() & (schema["properties"].keys() if name.endswith("Request") else ()):
            schema["properties"][field] = {"enum": [*names[field], WRONG]}
    return whole


@settings(
    max_examples=10,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=strategies.data())
def _probe(operation: APIOperation, bare: Bare, data: strategies.DataObject) -> None:
    mode = data.draw(strategies.sampled_from(GenerationMode))
    case = data.draw(operation.as_strategy(generation_mode=mode))
    response = case.call(base_url=bare.url, headers=AUTHORIZATION, timeout=120)
    assert response.status_code < 500, response.text
    streamed = response.headers.get("content-type", [""])[0].startswith("text/event-stream")
    case.validate_response(response, checks=CHECKS[:-1] if streamed else CHECKS)  # an event's data is a string to it


def test_answers_are_as_documented(bare: Bare) -> None:
    """With ids in the document that exist: made-up ones would be answered with 404 and nothing else."""
    schema = schemathesis.openapi.from_dict(_with_known(document(bare), _known(bare)))
    failed = []
    for match in schema.get_all_operations():
        operation = match.ok()
        try:
            _probe(operation, bare)
        except (AssertionError, FailureGroup) as error:
            failed.append(f"{operation.label}: {error}")
    assert not failed, "\n\n".join(failed)


def test_bodies_are_documented(bare: Bare) -> None:
    """Also those that routes read by hand. Every request with a body has its fields in the document."""
    without = ("/cancel", "/pause", "/resume", "/repair", "/rotate", "/runs/{run_id}")
    for path, operations in document(bare)["paths"].items():
        if "post" in operations and not path.endswith(without):
            [content] = operations["post"]["requestBody"]["content"].values()
            assert content["schema"].keys() & {"$ref", "properties"}, path
