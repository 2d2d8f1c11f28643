"""The dashboard as people manage with it: names, groups, overlays, repairs, lineage, exports, keys."""

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser_visit import Visit
from dashboard_jobs import INJECTED
from openai import OpenAI
from playwright.sync_api import BrowserContext, Dialog, Page, expect
from seeded_jobs import BEST_STEP, MODEL, SeededJobs
from threaded_server import threaded_server

from luthier.runtime import LuthierServer
from through_api import client_of

pytestmark = pytest.mark.browser


@pytest.fixture
def jobs(seeded: tuple[LuthierServer, SeededJobs]) -> SeededJobs:
    return seeded[1]


def _answer(page: Page, text: str | None = None) -> list[str]:
    """Accepts the page's questions, with `text` where they ask for one; what they said."""
    message: list[str] = []

    def accept(dialog: Dialog) -> None:
        message.append(dialog.message)
        dialog.accept(text) if dialog.type == "prompt" and text is not None else dialog.accept()

    page.on("dialog", accept)
    return message


def test_jobs_get_names_and_groups(managed: Visit) -> None:
    page = managed.open("jobs")
    expect(page.locator("tr", has_text="waiting").get_by_text("no worker is running")).to_be_visible()
    _answer(page, f"renamed {INJECTED}")
    page.get_by_role("button", name="Rename demo").click()
    expect(page.get_by_role("link", name=f"renamed {INJECTED}")).to_be_visible()
    page.get_by_label("Search by name").fill("RENAMED <IMG")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Search by name").fill("")
    page.get_by_label("Groups").select_option("team")
    expect(page.locator("details.group")).to_have_count(3)
    page.locator("summary", has_text="blue").click()
    expect(page.locator("details", has_text="blue").get_by_role("link", name="renamed")).to_be_visible()
    page.get_by_label("Status", exact=True).select_option("failed")
    page.get_by_label("Groups").select_option("")
    expect(page.get_by_role("link", name="yesterday")).to_be_visible()
    expect(page.get_by_role("link", name="renamed")).to_have_count(0)


def test_a_long_run_beside_another_with_every_step_on_zoom(managed: Visit, jobs: SeededJobs) -> None:
    page = managed.open(f"job/{jobs.done}")
    expect(page.get_by_text(f"the checkpoint of step {BEST_STEP} is the best so far")).to_be_visible()
    page.get_by_label("Compare with another job").select_option(jobs.long)
    expect(page.locator(".wide").get_by_role("row", name=re.compile("Seed"))).to_contain_text("7")
    page.get_by_role("button", name="Hide yesterday").click()
    expect(page.get_by_text("Settings that differ")).to_have_count(0)
    managed.open(f"job/{jobs.long}")
    page.get_by_label("Log steps").check()
    page.get_by_label("Log steps").uncheck()
    page.get_by_label("From step").fill("2000")
    page.get_by_label("From step").press("Tab")
    with page.expect_response(lambda response: "until=2600" in response.url) as response:
        page.get_by_label("to step", exact=True).fill("2600")
        page.get_by_label("to step", exact=True).press("Tab")
    assert response.value.json()["series"]["train_loss"]["step"] == list(range(2000, 2601))
    page.get_by_role("button", name="Whole run").click()
    expect(page.get_by_label("From step")).to_have_value("1")
    chart = page.locator(".u-over")  # is drawn anew, which hover waits for
    chart.hover(position={"x": 200, "y": 50})
    page.mouse.down()
    chart.hover(position={"x": 400, "y": 60})
    page.mouse.up()
    expect(page.get_by_label("From step")).not_to_have_value("1")
    assert page.title() == "yesterday · Luthier"


def test_a_file_is_repaired_and_split(managed: Visit, jobs: SeededJobs) -> None:
    page = managed.open(f"file/{jobs.broken}")
    expect(page.locator(".example")).to_have_count(20)
    lines = page.get_by_role("combobox", name="Lines")
    lines.select_option("trailing_comma")
    expect(page.locator(".example")).to_have_count(1)
    lines.select_option("")
    page.get_by_role("button", name="Use a repaired copy").click()
    expect(page.locator(".change")).to_contain_text("Line 25")
    expect(page.locator(".change del")).to_have_text(",")
    page.get_by_role("button", name="Save as a new file of 25 examples").click()
    expect(page.get_by_role("heading", name="broken.repaired.jsonl")).to_be_visible()
    page.get_by_role("button", name="Split").click()
    page.get_by_label("Held out for validation").fill("25")
    page.locator("form").get_by_role("button", name="Split").click()
    expect(page.get_by_role("link", name="broken.repaired.valid.jsonl")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert len(download.value.path().read_text(encoding="utf-8").splitlines()) == 25


def test_a_model_with_its_lineage_files_and_sharing(managed: Visit) -> None:
    page = managed.open("models")
    page.get_by_role("link", name=MODEL, exact=True).click()
    expect(page.get_by_role("link", name="hostile.jsonl")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the model").click()
    assert zipfile.ZipFile(download.value.path()).namelist() == ["adapter_config.json"]
    page.get_by_label("Project").fill("proj_other")
    page.get_by_role("button", name="Share").click()
    expect(page.get_by_role("row", name=re.compile("proj_other"))).to_be_visible()
    page.get_by_label("Base model's id on a hub").fill("org/tiny")
    page.get_by_role("button", name="Start export").click()
    expect(page.get_by_role("row", name=re.compile("peft"))).to_be_visible()


def test_two_checkpoints_side_by_side_and_kept_prompts(managed: Visit, jobs: SeededJobs) -> None:
    page = managed.open(f"job/{jobs.done}")
    page.get_by_role("link", name="Compare with the best").first.click()
    chunks = [
        {"choices": [{"delta": {"content": "five"}}]},
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}},
    ]
    answer = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    page.route("**/chat/completions", lambda route: route.fulfill(content_type="text/event-stream", body=answer))
    tool = {"type": "function", "function": {"name": "look_up", "description": "Finds.", "parameters": {}}}
    page.get_by_label("Message", exact=True).fill("say 5")
    page.get_by_role("combobox", name="Functions").select_option("functionsSlim")
    page.get_by_label("Definitions").fill(json.dumps([tool]))
    page.get_by_label("Hide which model is which").check()
    page.get_by_role("button", name="Save this prompt").click()
    with page.expect_request("**/chat/completions") as request:
        page.get_by_role("button", name="Send").click()
    assert request.value.post_data_json["tools"] == [{"type": "function", "function": {"name": "look_up"}}]
    expect(page.get_by_role("heading", name="Left")).to_be_visible()
    page.get_by_role("button", name="Better").first.click()
    expect(page.get_by_role("heading", name=f"{MODEL}:ckpt-step-{BEST_STEP}")).to_be_visible()
    page.get_by_role("button", name="Save as a training file").click()
    expect(page.get_by_role("heading", name="preferences.jsonl")).to_be_visible()
    expect(page.get_by_text("preferred_output", exact=True)).to_be_visible()
    expect(page.get_by_text("look_up").first).to_be_visible()
    managed.open("playground")
    page.get_by_role("combobox", name="Saved prompts").select_option("0")
    expect(page.get_by_label("Message", exact=True)).to_have_value("say 5")


def test_evals_with_their_runs(managed: Visit, seeded: tuple[LuthierServer, SeededJobs]) -> None:
    api = client_of(seeded[0])
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    check = {"type": "string_check", "name": "exact", "operation": "eq", "reference": "{{item.answer}}"}
    created = api.evals.create(
        name=f"weather {INJECTED}",
        data_source_config={"type": "custom", "item_schema": schema, "include_sample_schema": True},
        testing_criteria=[{**check, "input": "{{sample.output_text}}"}],  # type: ignore[list-item]
    )
    items = {"type": "file_content", "content": [{"item": {"answer": "five"}}]}
    prompt = {"type": "template", "template": [{"role": "user", "content": "two and three"}]}
    source = {"type": "completions", "model": "gpt-4o-mini", "input_messages": prompt, "source": items}
    api.evals.runs.create(created.id, name="first run", data_source=source)  # type: ignore[arg-type]
    page = managed.open("evaluations")
    expect(page.get_by_text(f"weather {INJECTED}")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("first run.*queued"))).to_be_visible()


def test_keys_are_made_and_end_on_the_settings_page(context: BrowserContext, tiny_base: Path, tmp_path: Path) -> None:
    with threaded_server(tmp_path, tiny_base, api_keys="sk-secret-of-the-operator", worker=False) as keyed:
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
        message = _answer(page)
        keys.get_by_role("button", name="Revoke weather team").click()
        expect(keys.locator(".status.revoked")).to_be_visible()
        assert "weather team" in message[0]
        expect(page.get_by_text("none: jobs wait")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_first_key_opens_the_server_that_it_closes(
    context: BrowserContext, tiny_base: Path, tmp_path: Path
) -> None:
    with threaded_server(tmp_path, tiny_base, worker=False) as server:
        page = context.new_page()
        page.goto(f"{server.endpoint.base_url.removesuffix('/v1')}/#/settings")
        keys = page.locator("section", has=page.get_by_role("heading", name="Keys and projects"))
        expect(keys.get_by_label("Role")).to_have_value("admin")
        keys.get_by_label("Name").fill("operator")
        keys.get_by_role("button", name="Create key").click()
        expect(keys.get_by_role("button", name="Revoke operator")).to_be_visible()  # the page goes on with the key
        secret = keys.locator("code").inner_text()
        page.reload()
        page.get_by_label("API key").fill(secret)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Settings")).to_be_visible()


# What a stranger asks, the links from the root, and a pattern that the answer has.
QUESTIONS = {
    "is it still running": ([], r"waiting[\s\S]*(queued|validating files)"),
    "when is it done": ([], r"30/30 · took \d+ (s|min)"),
    "is it getting better": (["demo|renamed"], rf"validation loss has risen since step {BEST_STEP}"),
    "which checkpoint is best": (["demo|renamed"], rf"Best so far: the checkpoint of step {BEST_STEP}"),
    "what did it cost": (["demo|renamed"], r"12,345 tokens trained, took \d+ (s|min)"),
    "what went wrong, and on which line": (["wrong"], r"broken\.jsonl[\s\S]*line 25"),
    "how do I use it": (["demo|renamed", "Use the model"], rf"Playground[\s\S]*{MODEL}"),
}


def test_a_strangers_questions_are_answered_within_two_clicks(managed: Visit, jobs: SeededJobs) -> None:
    for question, (links, pattern) in QUESTIONS.items():
        page = managed.open("")
        for name in links:
            page.get_by_role("link", name=re.compile(name)).first.click()
        expect(page.locator("main"), question).to_contain_text(re.compile(pattern))
    page = managed.open("")  # how does it compare with yesterday's
    page.get_by_role("link", name=re.compile("demo|renamed")).first.click()
    page.get_by_label("Compare with another job").select_option(jobs.long)
    expect(page.locator(".u-legend")).to_contain_text("yesterday · training loss")
    expect(page.locator(".wide").get_by_role("row", name=re.compile("Seed"))).to_contain_text("7")


PAGES = {
    "jobs": "jobs",
    "new-job": "new-job?file=FILE",
    "job": "job/DONE",
    "job-failed": "job/WRONG",
    "job-waiting": "job/WAITING",
    "files": "files",
    "file": "file/BROKEN?findings=1",
    "playground": "playground?model=MODEL",
    "models": "models",
    "model": "model/MODEL",
    "evaluations": "evaluations",
    "migration": "migration",
    "settings": "settings",
}


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where the pictures go: DASHBOARD_SCREENSHOTS names a folder that is kept."""
    folder = Path(os.environ.get("DASHBOARD_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# Every pair of a language, a width and a scheme.
@pytest.mark.parametrize(
    ("language", "width", "scheme"),
    [("en", 390, "light"), ("en", 1440, "dark"), ("zh", 390, "dark"), ("zh", 1440, "light")],
)
def test_every_page_is_accessible_and_fits(
    managed: Visit, jobs: SeededJobs, screenshots: Path, language: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    values = {"DONE": jobs.done, "WRONG": jobs.wrong, "WAITING": jobs.waiting, "FILE": jobs.file}
    values |= {"BROKEN": jobs.broken, "MODEL": MODEL}
    page = managed.page
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    page.add_init_script(f"localStorage.setItem('luthier-language', '{language}')")
    for name, address in PAGES.items():
        managed.open_whole(re.sub("[A-Z]{4,}", lambda word: values[word[0]], address))
        page.screenshot(path=screenshots / f"{name}-{language}-{width}-{scheme}.png", full_page=True)
        assert page.locator("html").get_attribute("lang") == ("zh-CN" if language == "zh" else "en")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), name
        assert page.title() != "broken in"
        rules = [rule for rule in Axe().run(page).response["violations"] if rule["impact"] in ("serious", "critical")]
        serious = [(rule["id"], rule["nodes"][0]["html"]) for rule in rules]
        assert serious == [], name
        if language == "zh":
            _check_chinese(page)


def _check_chinese(page: Page) -> None:
    """Headings, buttons and table heads are Chinese, names and ids aside."""
    texts = page.locator("button, thead th, label.check, nav a").all_inner_texts()
    english = [text for text in texts if re.fullmatch(r"[A-Za-z ]{4,}", text.strip()) and text.strip() != "English"]
    assert english == []


def test_a_job_is_deleted_with_what_it_trained(managed: Visit, jobs: SeededJobs) -> None:
    """The last test on these jobs."""
    page = managed.open(f"job/{jobs.done}")
    message = _answer(page)
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    assert f"{MODEL}:ckpt-step-{BEST_STEP}" in message[0]
    managed.open("models")
    expect(page.get_by_text("No fine-tuned models yet.")).to_be_visible()
