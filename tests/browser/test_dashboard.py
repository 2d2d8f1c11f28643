"""The dashboard as people use it: the whole loop by clicking, by keyboard, in both languages, on phones."""

import json
import re
import zipfile
from pathlib import Path

import pytest
from browser_visit import Visit
from dashboard_jobs import EXAMPLES, create_job, jsonl, until_over
from openai import OpenAI
from playwright.sync_api import BrowserContext, Page, expect
from threaded_server import threaded_server

pytestmark = pytest.mark.browser


def test_the_whole_loop_by_clicking(visit: Visit, tmp_path: Path) -> None:
    page = visit.open("jobs")
    page.get_by_role("link", name="New job").first.click()
    page.locator(".drop input").set_input_files(jsonl(tmp_path, *EXAMPLES))
    expect(page.get_by_text("24 examples, no errors.")).to_be_visible()
    expect(page.get_by_text("Tokens × Epochs")).to_be_visible()
    page.get_by_role("button", name="Hold out 20 %").click()
    expect(page.get_by_text(re.compile("examples to train, .* held out"))).to_be_visible()
    page.get_by_label("Epochs").fill("2")
    page.get_by_label("Name (suffix)").fill("clicked")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("heading", name="clicked")).to_be_visible()
    expect(page.locator(".status.succeeded").first).to_be_visible()
    expect(page.locator(".chart canvas")).to_be_visible()
    expect(page.get_by_text("The job has successfully completed")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Result file (CSV)").click()
    rows = download.value.path().read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("step,train_loss")
    assert len(rows) > 4
    page.get_by_role("link", name="Use the model").click()
    page.get_by_label("Message", exact=True).fill("say 3")
    page.get_by_label("Maximum tokens").fill("8")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text(re.compile(r"\d s · \d+ \+ \d+ tokens"))).to_have_count(2)
    page.get_by_role("button", name="Better").first.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download pairs (JSONL)").click()
    pair = json.loads(download.value.path().read_text(encoding="utf-8"))
    assert pair["input"]["messages"] == [{"role": "user", "content": "say 3"}]


def test_a_curve_grows_while_it_is_watched(visit: Visit, api: OpenAI, tmp_path: Path) -> None:
    """A job that does not end by itself meanwhile: its place while it waits, its steps, pause, resume and cancel."""
    running = create_job(
        api, jsonl(tmp_path, *EXAMPLES * 10), suffix="long", hyperparameters={"n_epochs": 50, "batch_size": 1}
    )
    waiting = create_job(api, jsonl(tmp_path, *EXAMPLES), suffix="waiting")
    page = visit.open(f"job/{running}")
    steps = page.get_by_text(re.compile(r"Step \d+ of 12000"))
    expect(steps).to_be_visible()
    first = steps.inner_text()
    expect(steps).not_to_have_text(first)
    visit.open("jobs")
    expect(page.locator("tr", has_text="waiting").get_by_text(re.compile("Starts (after|next)"))).to_be_visible()
    visit.open(f"job/{running}")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("h1 .status")).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("h1 .status")).not_to_have_text("paused")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1 .status")).to_have_text("cancelled")
    assert until_over(api, waiting) == "succeeded"


def test_a_failed_job_leads_to_its_line(visit: Visit, api: OpenAI, tmp_path: Path) -> None:
    unanswered = {"messages": [{"role": "user", "content": "nobody answers"}]}
    job_id = create_job(api, jsonl(tmp_path, *EXAMPLES[:11], unanswered, name="broken.jsonl"))
    assert until_over(api, job_id) == "failed"
    page = visit.open(f"job/{job_id}")
    expect(page.get_by_text("The job failed", exact=True)).to_be_visible()
    expect(page.locator(".notice.bad")).to_contain_text(re.compile(r"broken\.jsonl\s*line 12"))
    page.get_by_role("link", name="Show the file's findings").click()
    expect(page.get_by_text("Line 12", exact=True)).to_be_visible()
    expect(page.get_by_text("nobody answers")).to_be_visible()
    page.get_by_role("button", name="Use a repaired copy").click()
    page.get_by_role("button", name="Save as a new file of 11 examples").click()
    expect(page.get_by_role("heading", name="broken.repaired.jsonl")).to_be_visible()


def test_a_file_line_by_line(visit: Visit, api: OpenAI, finished: str) -> None:
    page = visit.open(f"file/{api.fine_tuning.jobs.retrieve(finished).training_file}")
    page.get_by_label("Trained tokens").check()
    expect(page.locator("mark").first).to_contain_text("it is 0")
    page.get_by_role("button", name="Next").first.click()
    expect(page.get_by_text("21–25 of 25").first).to_be_visible()
    assert page.title() == "hostile.jsonl · Luthier"


def test_a_model_is_exported_verified_and_downloaded(visit: Visit, api: OpenAI, finished: str) -> None:
    model = str(api.fine_tuning.jobs.retrieve(finished).fine_tuned_model)
    page = visit.open("models")
    page.get_by_role("link", name=model, exact=True).click()
    page.get_by_label("Base model's id on a hub").fill("org/tiny")
    page.get_by_role("button", name="Start export").click()
    page.get_by_role("combobox", name="Format").select_option("gguf:q8_0")
    expect(page.get_by_label("Base model's id on a hub")).to_have_count(0)
    page.get_by_role("button", name="Start export").click()
    exports = page.locator("section", has=page.get_by_role("heading", name="Exports"))
    for target, runtime, file in (("peft", "transformers", "adapter_config.json"), ("gguf:q8_0", "llama.cpp", "q8_0")):
        row = exports.locator("tr", has=page.get_by_text(target, exact=True))
        expect(row.locator(".status.succeeded")).to_be_visible()
        expect(row.get_by_text(re.compile(rf"Verified in .*{runtime}.*: \d+ of \d+ answers exact"))).to_be_visible()
        with page.expect_download() as download:
            row.get_by_role("button", name="Download").click()
        names = zipfile.ZipFile(download.value.path()).namelist()
        assert "README.md" in names
        assert any(file in name for name in names)


def test_an_export_says_what_it_does(visit: Visit, api: OpenAI, finished: str) -> None:
    model = str(api.fine_tuning.jobs.retrieve(finished).fine_tuned_model)
    fields = {"model": model, "created_at": 1, "bytes": None, "trained_exact": None, "error": None}
    refused = {"artefact": "model-q4_0.gguf", "type": "q4_0", "form": "gguf", "failure": "too far"}
    unknown = {"artefact": "merged", "type": None, "form": "merged", "failure": None, "unverified": "no examples"}
    exports = [
        {**fields, "id": "a", "to": "gguf", "status": "running", "stage": {"stage": "verifying", "name": "q8_0"}},
        {**fields, "id": "b", "to": "merged", "status": "succeeded", "stage": None, "artefacts": [unknown]},
        {**fields, "id": "c", "to": "gguf:q4_0", "status": "failed", "stage": None, "artefacts": [refused]},
    ]
    exports = [{"artefacts": [], **export} for export in exports]
    exports[2]["error"] = "1 of 1 artefacts do not reproduce the trained model; they were deleted.\nq4_0: too far"
    visit.page.route("**/exports", lambda route: route.fulfill(json={"data": exports}))
    page = visit.open(f"model/{model}")
    expect(page.get_by_text("Loading q8_0 in its own runtime")).to_be_visible()
    expect(page.get_by_text("merged Not verified: no examples.")).to_be_visible()
    expect(page.locator("pre.finding.error")).to_contain_text("q4_0: too far")


def test_what_a_base_can_do_is_said_where_it_is_chosen(visit: Visit) -> None:
    page = visit.open("new-job")
    for name, text in (("Training", "packed"), ("Calls", "at once"), ("Reasoning", "yes"), ("Context", "2,048 tokens")):
        expect(page.locator("dl.facts div", has=page.get_by_text(name, exact=True))).to_contain_text(text)


INTERACTIVE = "a[href], button:not(:disabled), input:not(:disabled), select, textarea, summary"


def _unreached(page: Page) -> list[str]:
    """Interactive elements that the tabulator key does not reach."""
    page.evaluate(
        "() => { window.reached = new Set(); addEventListener('focusin', (event) => window.reached.add(event.target));"
        " document.querySelector('.skip').focus(); }"
    )
    for _ in range(page.locator(INTERACTIVE).count() + 10):
        page.keyboard.press("Tab")
    unreached: list[str] = page.evaluate(
        "(selector) => [...document.querySelectorAll(selector)].filter((element) => element.checkVisibility()"
        " && !window.reached.has(element)).map((element) => element.outerHTML.slice(0, 100))",
        INTERACTIVE,
    )
    return unreached


def test_the_keyboard_is_enough(visit: Visit, finished: str) -> None:
    page = visit.open("jobs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="New job")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="New job")).to_be_visible()
    expect(page.locator("#content")).to_be_focused()  # the link that was followed is gone
    for address in ("jobs", f"job/{finished}", "models", "settings", "playground"):
        visit.open_whole(address)
        assert _unreached(page) == [], address


def test_a_key_is_asked_for_and_forgotten_with_the_tab(
    context: BrowserContext, tiny_base: Path, tmp_path: Path
) -> None:
    with threaded_server(tmp_path, tiny_base, api_keys="sk-secret-of-the-operator") as keyed:
        page = context.new_page()
        page.goto(keyed.endpoint.base_url.removesuffix("/v1"))
        page.get_by_label("API key").fill("sk-wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("Incorrect API key")
        page.get_by_role("button", name="中文").click()
        page.get_by_role("button", name="登录").click()
        expect(page.get_by_role("alert")).to_contain_text("API 密钥不正确")
        page.get_by_role("button", name="English").click()
        page.get_by_label("API key").fill("sk-secret-of-the-operator")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        storage = page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
        )
        assert "secret" not in storage
        page.reload()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
