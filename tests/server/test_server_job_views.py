"""`/v1/luthier/jobs`: progress, place in the queue and curves of one's own jobs."""

from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from serving import Bare

from luthier.store import Event


def _job(client: OpenAI) -> str:
    file = client.files.create(file=("train.jsonl", b'{"messages": []}\n'), purpose="fine-tune")
    return client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id).id


def _get(bare: Bare, path: str, key: str = "none-needed", **query: object) -> httpx.Response:
    with bare.http() as http:
        return http.get(f"/luthier/jobs{path}", params=query, headers={"Authorization": f"Bearer {key}"})


def test_a_job_with_its_progress_and_curves(bare: Bare, bare_client: OpenAI) -> None:
    job_id = _job(bare_client)
    waiting = _get(bare, f"/{job_id}").json()
    assert (waiting["id"], waiting["job"]["status"], waiting["progress"]) == (job_id, "validating_files", None)
    assert waiting["queue"]["ahead"] >= 0
    assert "/" not in waiting["base"]
    for step in (1, 2, 3):
        data = {"step": step, "total_steps": 8, "train_loss": 4.0 - step}
        bare.store.jobs.record(job_id, Event(f"Step {step}", type="metrics", data=data, step=step))
    newest = _get(bare, "", limit=1).json()["data"][0]
    assert newest["progress"] == {"step": 3, "total_steps": 8, "losses": [3.0, 2.0, 1.0]}
    assert _get(bare, "", limit=1, points=1).json()["data"][0]["progress"]["losses"] == [1.0]
    curves = _get(bare, f"/{job_id}/metrics", points=2).json()
    assert curves["series"]["train_loss"] == {
        "step": [2, 3],
        "value": [2.0, 1.0],
        "minimum": [2.0, 1.0],
        "maximum": [3.0, 1.0],
    }
    assert _get(bare, f"/{job_id}/metrics", after=3).json()["series"] == {}
    bare_client.fine_tuning.jobs.cancel(job_id)
    assert _get(bare, f"/{job_id}").json()["queue"] is None


def test_events_and_failures_in_chinese(bare: Bare, bare_client: OpenAI) -> None:
    job_id = _job(bare_client)
    error = {"code": "invalid_training_file", "message": "Line 2 has no answer", "param": "training_file"}
    event = Event("The job failed: Line 2 has no answer", level="error")
    bare.store.jobs.transition(job_id, ("validating_files",), "failed", event, error=error)
    assert _get(bare, f"/{job_id}").json()["failure"] == "Line 2 has no answer"
    assert "训练文件" in _get(bare, f"/{job_id}", lang="zh").json()["failure"]
    first = _get(bare, f"/{job_id}/events", lang="zh").json()["data"][0]
    assert first["message"] == f"已创建微调任务：{job_id}"
    assert _get(bare, f"/{job_id}/events", after=first["id"]).json()["data"][0]["message"] == event.message


def test_a_priority_above_zero_is_an_admins(keyed: Bare, a: OpenAI, everybody: OpenAI) -> None:
    """It passes the jobs of other projects."""
    first, second = _job(a), _job(a)

    def set_priority(client: OpenAI, priority: object) -> dict[str, Any]:
        path, body = f"/luthier/jobs/{second}/priority", {"priority": priority}
        return dict(client.post(path, body=body, cast_to=httpx.Response).json())

    assert set_priority(a, -2)["job"]["metadata"] == {"luthier:priority": "-2"}
    assert _get(keyed, f"/{first}", "sk-key-of-a").json()["queue"]["ahead"] == 0
    with pytest.raises(openai.PermissionDeniedError, match="other projects"):
        set_priority(a, 1)
    job = a.fine_tuning.jobs.retrieve(first)
    with pytest.raises(openai.PermissionDeniedError, match="other projects"):
        a.fine_tuning.jobs.create(
            model="gpt-4o-mini", training_file=job.training_file, metadata={"luthier:priority": "1"}
        )
    assert set_priority(everybody, 1)["queue"]["ahead"] == 0
    assert _get(keyed, f"/{first}", "sk-key-of-a").json()["queue"]["ahead"] == 1
    for wrong in (11, -11, "high", None):
        with pytest.raises(openai.BadRequestError, match="priority"):
            set_priority(everybody, wrong)


def test_jobs_of_another_project_do_not_exist(keyed: Bare, a: OpenAI) -> None:
    job_id = _job(a)
    for path in (f"/{job_id}", f"/{job_id}/metrics"):
        assert _get(keyed, path, "sk-key-of-a").status_code == 200
        assert _get(keyed, path, "sk-key-of-b==").status_code == 404
    assert _get(keyed, "", "sk-key-of-b==").json()["data"] == []


def test_what_is_new_of_a_job_comes_in_one_answer(bare: Bare, bare_client: OpenAI) -> None:
    job_id = _job(bare_client)
    for step in (1, 2, 3):
        data = {"step": step, "total_steps": 8, "train_loss": 4.0 - step}
        bare.store.jobs.record(job_id, Event(f"Step {step}", type="metrics", data=data, step=step))
    first_update = _get(bare, f"/{job_id}/updates").json()
    assert first_update["view"]["progress"]["step"] == 3
    assert first_update["series"] == _get(bare, f"/{job_id}/metrics").json()["series"]
    assert first_update["events"] == _get(bare, f"/{job_id}/events").json()["data"]
    assert not first_update["has_more"]
    bare.store.jobs.record(job_id, Event("Step 4", type="metrics", data={"step": 4, "train_loss": 0.5}, step=4))
    bare.store.jobs.record(job_id, Event("Fine-tuning job started"))
    second_update = _get(
        bare, f"/{job_id}/updates", after=3, after_event=first_update["events"][-1]["id"], lang="zh"
    ).json()
    assert second_update["series"]["train_loss"]["step"] == [4]
    assert [event["message"] for event in second_update["events"]] == ["微调任务已开始"]
    nothing = _get(bare, f"/{job_id}/updates", after=4, after_event=second_update["events"][-1]["id"]).json()
    assert (nothing["series"], nothing["events"], nothing["view"]["progress"]["step"]) == ({}, [], 4)


def test_errors_are_in_chinese_where_the_request_asks(bare: Bare, keyed: Bare) -> None:
    english = "Could not find fine tune: ftjob-x"
    for path in ("/ftjob-x", "/ftjob-x/updates"):
        assert _get(bare, path).json()["error"]["message"] == english

        chinese = _get(bare, path, lang="zh").json()["error"]
        assert chinese == _get(bare, path).json()["error"] | {"message": "没有任务 ftjob-x。"}
    assert _get(bare, "", limit=-1, lang="zh").json()["error"]["message"] == "“limit”的值 '-1' 太小：应当 >= 0。"
    response = _get(keyed, "", key="sk-wrong", lang="zh")
    assert (response.status_code, response.json()["error"]["message"][:13]) == (401, "API 密钥不正确：***")
    with pytest.raises(openai.NotFoundError, match=english):
        bare.client().fine_tuning.jobs.retrieve("ftjob-x")
    with pytest.raises(openai.NotFoundError, match="没有任务 ftjob-x。"):
        bare.client().fine_tuning.jobs.retrieve("ftjob-x", extra_query={"lang": "zh"})
