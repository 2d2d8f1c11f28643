"""The dashboard as people manage with it: names, groups, overlays, repairs, lineage, exports, keys."""

import json
import os
import re
import zipfile
from pathlib import Path

import pytest
from browser_visit import Visit
from dashboard_jobs import EXAMPLES, INJECTED, create_job, jsonl, until_over
from openai import OpenAI
from playwright.sync_api import BrowserContext, Dialog, Page, expect

from luthier.runtime import LuthierServer
from luthier.store import Event, Store
from through_api import running_server

pytestmark = pytest.mark.browser
LONG_STEPS = 4000


@pytest.fixture(scope="session")
def long_job(dashboard: LuthierServer, api: OpenAI, finished: str) -> str:
    """A failed job of thousands of steps, as if it had been trained, whose name and events try to become markup."""
    store = Store(dashboard.data)
    job = store.jobs.get(finished)
    job_id = store.jobs.create(
        model=job.model, base=job.base, parent=None, training_file=job.training_file, validation_file=None, seed=7,
        suffix="yesterday", method=job.method, integrations=[], metadata={"team": INJECTED[:200]},
    ).id  # fmt: skip
    for first in range(1, LONG_STEPS, 1000):
        steps = range(first, first + 1000)
        metrics = [{"step": step, "total_steps": LONG_STEPS, "train_loss": 3 - step / LONG_STEPS} for step in steps]
        store.jobs.record(job_id, *(Event("step", type="metrics", data=data, step=data["step"]) for data in metrics))
    store.jobs.record(job_id, Event(INJECTED))
    error = {"code": "trainer_died", "message": INJECTED, "param": None}
    waiting = ("validating_files", "queued", "running")
    store.jobs.transition(job_id, waiting, "failed", Event(INJECTED, level="error"), error=error, finished_at=2)
    store.close()
    return job_id


def _answer(page: Page, text: str | None = None) -> list[str]:
    """Accepts the page's questions, with `text` where they ask for one; what they said."""
    said: list[str] = []

    def accept(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.accept(text) if dialog.type == "prompt" and text is not None else dialog.accept()

    page.on("dialog", accept)
    return said


def test_jobs_get_names_and_groups_and_are_deleted(visit: Visit, api: OpenAI, long_job: str, tmp_path: Path) -> None:
    doomed = create_job(api, jsonl(tmp_path, *EXAMPLES), suffix="doomed", metadata={"team": "blue"})
    assert until_over(api, doomed) == "succeeded"
    page = visit.open("jobs")
    said = _answer(page, f"renamed {INJECTED}")
    page.get_by_role("button", name="Rename doomed").click()
    expect(page.get_by_role("link", name=f"renamed {INJECTED}")).to_be_visible()
    page.get_by_label("Search by name").fill("RENAMED <IMG")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Search by name").fill("")
    page.get_by_label("Groups").select_option("team")
    expect(page.locator("details.group")).to_have_count(3)
    expect(page.locator("details", has_text="blue").get_by_role("link", name="renamed")).to_be_visible()
    page.locator("summary", has_text="without team").click()
    expect(page.locator("details", has_text="without team").get_by_role("link", name="demo")).to_be_visible()
    page.get_by_label("Status", exact=True).select_option("failed")
    page.get_by_label("Groups").select_option("")
    expect(page.get_by_role("link", name="yesterday")).to_be_visible()
    expect(page.get_by_role("link", name="renamed")).to_have_count(0)
    visit.open(f"job/{doomed}")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    assert "ft:" in said[-1]
    assert doomed not in [job.id for job in api.fine_tuning.jobs.list(limit=100).data]


def test_a_long_run_beside_another_with_every_step_on_zoom(visit: Visit, finished: str, long_job: str) -> None:
    page = visit.open(f"job/{finished}")
    page.get_by_label("Compare with another job").select_option(long_job)
    expect(page.get_by_text("Settings that differ")).to_be_visible()
    expect(page.locator(".wide").get_by_role("row", name=re.compile("Seed"))).to_contain_text("7")
    page.get_by_role("button", name="Hide yesterday").click()
    expect(page.get_by_text("Settings that differ")).to_have_count(0)
    visit.open(f"job/{long_job}")
    page.get_by_label("Log steps").check()
    page.get_by_label("Log steps").uncheck()
    page.get_by_label("From step").fill("2000")
    with page.expect_response(lambda response: "until=2600" in response.url) as response:
        page.get_by_label("to step", exact=True).fill("2600")
        page.get_by_label("to step", exact=True).press("Tab")
    series = response.value.json()["series"]["train_loss"]
    assert series["step"] == list(range(2000, 2601))
    page.get_by_role("button", name="Whole run").click()
    expect(page.get_by_label("From step")).to_have_value("1")
    assert page.title() == "yesterday · Luthier"


def test_a_file_is_repaired_and_split(visit: Visit, api: OpenAI, tmp_path: Path) -> None:
    path = jsonl(tmp_path, *EXAMPLES, name="commas.jsonl")
    unanswered = json.dumps({"messages": [{"role": "user", "content": "nobody answers"}]})
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps(EXAMPLES[0])[:-1] + ",}\n" + unanswered + "\n")
    file = api.files.create(file=path.open("rb"), purpose="fine-tune")
    page = visit.open(f"file/{file.id}")
    lines = page.get_by_label("Lines")
    lines.select_option(index=2)
    expect(page.locator(".example")).to_have_count(1)
    lines.select_option("")
    page.get_by_role("button", name="Use a repaired copy").click()
    expect(page.locator(".change")).to_contain_text("Line 25")
    expect(page.locator(".change del")).to_have_text(",")
    page.get_by_role("button", name="Save as a new file of 25 examples").click()
    expect(page.get_by_role("heading", name="commas.repaired.jsonl")).to_be_visible()
    page.get_by_role("button", name="Split").click()
    page.get_by_label("Held out for validation").fill("25")
    page.locator("form").get_by_role("button", name="Split").click()
    expect(page.get_by_role("link", name="commas.repaired.valid.jsonl")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert len(download.value.path().read_text(encoding="utf-8").splitlines()) == 25


def test_a_model_with_its_lineage_files_and_sharing(visit: Visit, api: OpenAI, finished: str) -> None:
    model = api.fine_tuning.jobs.retrieve(finished).fine_tuned_model
    page = visit.open("models")
    page.get_by_role("link", name=str(model)).click()
    expect(page.get_by_role("link", name="hostile.jsonl")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the model").click()
    assert "adapter_model.safetensors" in zipfile.ZipFile(download.value.path()).namelist()
    page.get_by_label("Project").fill("proj_other")
    page.get_by_role("button", name="Share").click()
    expect(page.get_by_role("row", name=re.compile("proj_other"))).to_be_visible()
    _answer(page)
    page.get_by_role("button", name="Start export").click()
    expect(page.locator(".status.completed, .status.succeeded, .status.failed")).to_be_visible()
    expect(page.locator(".status.succeeded")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    assert "README.md" in zipfile.ZipFile(download.value.path()).namelist()


def test_two_checkpoints_side_by_side_and_kept_prompts(visit: Visit, api: OpenAI, finished: str) -> None:
    (first, *_) = api.fine_tuning.jobs.checkpoints.list(finished).data
    name = first.fine_tuned_model_checkpoint
    page = visit.open(f"playground?model={name}&with={api.fine_tuning.jobs.retrieve(finished).fine_tuned_model}")
    tool = {"type": "function", "function": {"name": "look_up", "description": "Finds.", "parameters": {}}}
    page.get_by_label("Message", exact=True).fill("say 5")
    page.get_by_role("combobox", name="Functions").select_option("functionsSlim")
    page.get_by_label("Definitions").fill(json.dumps([tool]))
    page.get_by_label("Maximum tokens").fill("4")
    page.get_by_label("Hide which model is which").check()
    page.get_by_role("button", name="Keep this prompt").click()
    with page.expect_request("**/chat/completions") as request:
        page.get_by_role("button", name="Send").click()
    assert request.value.post_data_json["tools"] == [{"type": "function", "function": {"name": "look_up"}}]
    expect(page.get_by_role("heading", name="Left")).to_be_visible()
    page.get_by_role("button", name="Better").first.click()
    expect(page.get_by_role("heading", name=name).first).to_be_visible()
    page.get_by_role("button", name="Save as a training file").click()
    expect(page.get_by_role("heading", name="preferences.jsonl")).to_be_visible()
    expect(page.get_by_text("preferred_output", exact=True)).to_be_visible()
    expect(page.get_by_text("look_up").first).to_be_visible()
    visit.open("playground")
    page.get_by_label("Kept prompts").select_option("0")
    expect(page.get_by_label("Message", exact=True)).to_have_value("say 5")


def test_keys_are_made_and_end_on_the_settings_page(context: BrowserContext, tiny_base: Path, tmp_path: Path) -> None:
    with running_server(tmp_path, tiny_base, api_keys="sk-secret-of-the-operator", worker=False) as keyed:
        page = context.new_page()
        page.goto(f"{keyed.endpoint.base_url.removesuffix('/v1')}/#/settings")
        page.get_by_label("API key").fill("sk-secret-of-the-operator")
        page.get_by_role("button", name="Sign in").click()
        keys = page.locator("section", has=page.get_by_role("heading", name="Keys and projects"))
        keys.get_by_label("Name").fill("weather team")
        keys.get_by_label("Project").fill("proj_weather")
        keys.get_by_role("button", name="Create key").click()
        secret = keys.locator("code").inner_text()
        assert secret.startswith("sk-")
        member = OpenAI(base_url=keyed.endpoint.base_url, api_key=secret, max_retries=0)
        member.models.list()
        said = _answer(page)
        keys.get_by_role("button", name="Revoke weather team").click()
        expect(keys.locator(".status.revoked")).to_be_visible()
        assert "weather team" in said[0]
        expect(page.get_by_text("none: jobs wait")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


# What a stranger asks, the clicks from the root, and a pattern that the answer has.
QUESTIONS = {
    "is it still running": ([], r"succeeded"),
    "when is it done": ([], r"took \d|left"),
    "is it getting better": (["JOB"], r"training loss"),
    "which checkpoint is best": (["JOB"], r"Best so far: the checkpoint of step \d+"),
    "what did it cost": (["JOB"], r"[\d,]+ tokens trained, took \d+ (s|min)"),
    "what went wrong, and on which line": (["BROKEN"], r"broken\.jsonl[\s\S]*line 12"),
    "how do I use it": (["JOB", "Use the model"], r"Playground"),
    "how does it compare with yesterday's": (["JOB"], r"Compare with another job"),
}


def test_a_strangers_questions_are_answered_within_two_clicks(
    visit: Visit, api: OpenAI, long_job: str, tmp_path: Path
) -> None:
    validation = api.files.create(file=jsonl(tmp_path, *EXAMPLES[:12], name="v.jsonl").open("rb"), purpose="fine-tune")
    path = jsonl(tmp_path, *EXAMPLES)
    hyperparameters = {"n_epochs": 2, "batch_size": 8}
    asked = {"suffix": "questions", "validation_file": validation.id, "hyperparameters": hyperparameters}
    assert until_over(api, create_job(api, path, **asked)) == "succeeded"
    unanswered = {"messages": [{"role": "user", "content": "nobody answers"}]}
    broken = jsonl(tmp_path, *EXAMPLES[:11], unanswered, name="broken.jsonl")
    assert until_over(api, create_job(api, broken, suffix="wrong")) == "failed"
    names = {"JOB": "questions", "BROKEN": "wrong"}
    for question, (clicks, pattern) in QUESTIONS.items():
        page = visit.open("jobs")
        for click in clicks:
            page.get_by_role("link", name=names.get(click, click), exact=True).first.click()
            page.wait_for_load_state("networkidle")
        expect(page.locator("main"), question).to_contain_text(re.compile(pattern))


SCREENS = {"jobs": "jobs", "job": "job/JOB", "file": "file/FILE", "model": "model/MODEL", "settings": "settings"}


@pytest.mark.skipif("LUTHIER_SCREENSHOTS" not in os.environ, reason="LUTHIER_SCREENSHOTS names no folder")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screenshots(visit: Visit, api: OpenAI, finished: str, long_job: str, scheme: str) -> None:
    job = api.fine_tuning.jobs.retrieve(finished)
    values = {"JOB": finished, "FILE": job.training_file, "MODEL": str(job.fine_tuned_model)}
    visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for name, address in SCREENS.items():
        page = visit.open(re.sub("JOB|FILE|MODEL", lambda word: values[word[0]], address))
        page.wait_for_load_state("networkidle")
        page.screenshot(path=Path(os.environ["LUTHIER_SCREENSHOTS"]) / f"{name}-{scheme}.png", full_page=True)
