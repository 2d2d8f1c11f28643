"""`/metrics`: requests by route, jobs by status, what engines do; and who may read it."""

import sys
from types import SimpleNamespace

import httpx
import pytest
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families
from serving import Bare

from luthier.devices import gpu_memory
from luthier.runtime import LuthierServer
from luthier.store import Event
from luthier.store.trainer_usage import Usage


def _samples(url: str, key: str = "none-needed") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    response = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"})
    assert response.status_code == 200, response.text
    families = text_string_to_metric_families(response.text)
    return {(row.name, frozenset(row.labels.items())): row.value for family in families for row in family.samples}


def _value(url: str, name: str, **labels: str) -> float:
    return _samples(url).get((name, frozenset(labels.items())), 0.0)


def test_requests_are_counted_by_route_and_status(bare: Bare, bare_client: OpenAI) -> None:
    def count(route: str, status: str) -> float:
        labels = {"method": "GET", "route": route, "status": status, "origin": "client"}
        return _value(bare.url, "luthier_requests_total", **labels)

    route, before = "/v1/files/{file_id}", count("/v1/files/{file_id}", "404")
    for _ in range(2):
        httpx.get(f"{bare.url}/v1/files/file-{'x' * 24}")
    assert count(route, "404") == before + 2
    httpx.get(f"{bare.url}/v1/no/such/route")
    assert count("none", "404") >= 1
    assert not any("no/such" in str(labels) for _, labels in _samples(bare.url))


def test_jobs_are_counted_by_status(bare: Bare, bare_client: OpenAI) -> None:
    before = _value(bare.url, "luthier_jobs", status="validating_files")
    file = bare_client.files.create(file=("x.jsonl", b'{"messages": []}\n'), purpose="fine-tune")
    bare_client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id)
    assert _value(bare.url, "luthier_jobs", status="validating_files") == before + 1
    assert _value(bare.url, "process_resident_memory_bytes") > 1e6


def test_a_running_job_has_its_speed_and_memory(
    bare: Bare, bare_client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bare_client.files.create(file=("x.jsonl", b'{"messages": []}\n'), purpose="fine-tune")
    running, waiting = (
        bare_client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id).id for _ in range(2)
    )
    bare.store.jobs.transition(running, ("validating_files",), "running", Event("started"))
    for job_id in (running, waiting):
        bare.store.trainer_usage.write(job_id, Usage(None, 1, None))
        bare.store.trainer_usage.write(job_id, Usage(812.5, 3 * 1024**3, None))
    gpu = SimpleNamespace(is_initialized=lambda: True, mem_get_info=lambda: (30, 80), memory_reserved=lambda: 20)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=gpu))
    samples = _samples(bare.url)
    assert samples["luthier_job_tokens_per_second", frozenset({("job", running)})] == 812.5
    assert samples["luthier_trainer_resident_memory_bytes", frozenset({("job", running)})] == 3 * 1024**3
    assert not any(("job", waiting) in labels or name == "luthier_trainer_gpu_memory_bytes" for name, labels in samples)
    of_gpu = [samples[f"luthier_gpu_memory_{name}", frozenset()] for name in ("bytes", "free_bytes", "held_bytes")]
    assert of_gpu == [80, 30, 20]
    assert samples["luthier_data_free_bytes", frozenset()] > 0
    bare.store.jobs.cancel(running)
    bare.store.trainer_usage.delete_ended()
    assert not bare.store.trainer_usage.of_running()


def test_without_a_gpu_in_use_nothing_is_said_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for torch in (None, SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: False))):
        monkeypatch.setitem(sys.modules, "torch", torch)
        assert gpu_memory() is None


def test_an_engine_reports_tokens_and_its_cache(server: LuthierServer, client: OpenAI) -> None:
    url, labels = server.endpoint.base_url.removesuffix("/v1"), {"base": "tiny"}
    before = _value(url, "luthier_engine_generated_tokens_total", **labels)
    answer = client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}], max_tokens=5, temperature=0
    )
    assert answer.usage
    generated = _value(url, "luthier_engine_generated_tokens_total", **labels) - before
    assert generated == pytest.approx(answer.usage.completion_tokens, abs=1)  # the end of the turn is no token
    assert _value(url, "luthier_engine_time_to_first_token_seconds_count", **labels) >= 1
    assert _value(url, "luthier_engine_prompt_tokens_total", **labels) >= answer.usage.prompt_tokens
    assert _value(url, "luthier_engine_running_sequences", **labels) == 0


def test_a_key_of_the_whole_organization_is_needed(keyed: Bare) -> None:
    assert httpx.get(f"{keyed.url}/metrics").status_code == 401
    of_a_project = httpx.get(f"{keyed.url}/metrics", headers={"Authorization": "Bearer sk-key-of-a"})
    assert of_a_project.status_code == 403
    assert _samples(keyed.url, "sk-key-of-all")
