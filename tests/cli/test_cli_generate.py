"""Generating from the command line: files, exit codes, estimates, and a run that is killed and started again."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from command_line import run

import luthier
from generate.teacher_server import TeacherServer

pytestmark = pytest.mark.services

HOME = Path(luthier.__file__).parent / "examples" / "smart_home.tools.json"
Generate = Callable[..., Result]
TWO_TOPICS = ("--topic", "股票投资", "--topic", "银行理财", "--teacher", "t", "--batch", "2")


@pytest.fixture
def teacher() -> Iterator[TeacherServer]:
    with TeacherServer() as server:
        yield server


@pytest.fixture
def generate(teacher: TeacherServer, tmp_path: Path) -> Generate:
    """Runs `luthier generate` on two topics, two examples each, to data.jsonl."""

    def command(*args: object, per_topic: int = 2) -> Result:
        where = ("--out", tmp_path / "data.jsonl", "--per-topic", per_topic, "--base-url", teacher.base_url)
        return run("generate", *TWO_TOPICS, *where, *args)

    return command


def test_all_made_is_exit_code_0_and_the_file_checks_clean(generate: Generate, tmp_path: Path) -> None:
    result = generate(per_topic=5)
    assert result.exit_code == 0, result.output
    assert "10 examples" in result.stdout
    checked = run("check", tmp_path / "data.jsonl", "--json")
    assert checked.exit_code == 0
    (file,) = json.loads(checked.stdout)["files"]
    assert file["counts"] == {}
    report = json.loads((tmp_path / "data.report.json").read_text(encoding="utf-8"))
    assert (report["made"], report["wanted"]) == (10, 10)


def test_less_than_asked_is_exit_code_1_and_says_so(generate: Generate, teacher: TeacherServer, tmp_path: Path) -> None:
    teacher.fault(
        lambda body: body["messages"][-1]["content"].endswith("怎么办？"), times=99, text="抱歉，我不能回答。"
    )
    result = generate()
    assert result.exit_code == 1
    assert "0 of 4 examples were generated" in result.stdout
    assert "refusal" in (tmp_path / "data.rejects.jsonl").read_text(encoding="utf-8")


def test_a_refused_key_is_exit_code_2_and_leaves_no_output(
    generate: Generate, teacher: TeacherServer, tmp_path: Path
) -> None:
    teacher.fault(lambda body: True, times=99, status=401)
    result = generate()
    assert result.exit_code == 2
    assert "t cannot be used: 401: scripted 401" in result.stderr
    assert not (tmp_path / "data.jsonl").exists()


def served(root: str, owner: str = "luthier") -> dict[str, object]:
    return {"id": "t", "object": "model", "created": 0, "owned_by": owner, "root": root}


@pytest.mark.parametrize("root", ["smollm2-135m-instruct", "Qwen3-0.6B", "my_500M_model"])
def test_a_small_model_under_another_name_needs_a_yes(
    generate: Generate, teacher: TeacherServer, tmp_path: Path, root: str
) -> None:
    teacher.models["t"] = served(root)
    refused = generate()
    assert refused.exit_code == 2
    assert root in refused.stderr
    assert "--yes" in refused.stderr
    assert not teacher.requests
    assert not (tmp_path / "data.jsonl").exists()
    assert generate("--yes").exit_code == 0


def test_a_small_judge_needs_a_yes_too(generate: Generate, teacher: TeacherServer) -> None:
    teacher.models["j"] = served("smollm2-135m-instruct")
    assert "another --judge" in generate("--judge", "j").stderr
    assert not teacher.requests


@pytest.mark.parametrize(
    "model",
    [
        served("qwen3-8b"),
        served("qwen2.5-7b-instruct"),
        served("house-model"),
        served("t"),
        served("x-135m", "upstream"),
    ],
)
def test_other_teachers_need_none(generate: Generate, teacher: TeacherServer, model: dict[str, object]) -> None:
    teacher.models["t"] = model
    assert generate().exit_code == 0


def test_a_file_of_somebody_else_is_not_overwritten_and_nothing_is_asked(
    generate: Generate, teacher: TeacherServer, tmp_path: Path
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("mine\n")
    refused = generate()
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert path.read_text() == "mine\n"
    assert not teacher.requests
    assert generate("--force").exit_code == 0
    assert generate().exit_code == 0, "its own output may be written again"
    path.write_text("edited\n")
    assert generate().exit_code == 2


def test_a_larger_plan_pays_only_for_what_is_new(generate: Generate, teacher: TeacherServer, tmp_path: Path) -> None:
    assert generate(per_topic=2).exit_code == 0
    before = (tmp_path / "data.jsonl").read_text(encoding="utf-8").splitlines()
    first = teacher.paid
    assert generate(per_topic=4).exit_code == 0
    after = (tmp_path / "data.jsonl").read_text(encoding="utf-8").splitlines()
    assert set(before) <= set(after)
    assert len(after) == 8
    assert teacher.paid - first == 2 + 4, "a batch of questions per topic, and four answers"


def test_a_dry_run_asks_nothing_and_a_probe_is_not_paid_twice(generate: Generate, teacher: TeacherServer) -> None:
    dry = generate("--dry-run", "--price-in", 1, "--price-out", 2, "--json")
    assert dry.exit_code == 0
    estimate = json.loads(dry.stdout)
    assert estimate["requests"] == {"probe": 1, "sub-topics": 2, "questions": 2, "answers": 4}
    assert len(estimate["slots"]) == 4
    assert not teacher.requests
    probed = json.loads(generate("--probe", "--price-in", 1, "--price-out", 2, "--json", per_topic=20).stdout)
    assert probed["measured"] == ["answers", "probe", "questions", "sub-topics"]
    assert 0 < probed["usd"] < estimate["usd"] * 10
    assert teacher.paid == 12
    done = json.loads(generate("--json", per_topic=20).stdout)
    assert done["requests"]["from_journal"] == 11, "that schemas are taken is noted as a fact"
    assert done["requests"]["paid_in_all_runs"] == teacher.paid == sum(probed["requests"].values())


def test_the_judge_is_part_of_the_estimate(generate: Generate) -> None:
    priced = ("--price-in", 1, "--price-out", 2, "--json")
    judged = (*priced, "--judge", "j", "--judge-price-in", 100, "--judge-price-out", 1000)
    alone = json.loads(generate("--dry-run", *priced).stdout)
    both = json.loads(generate("--dry-run", *judged).stdout)
    completion = both["completion_tokens"] - alone["completion_tokens"]
    prompt = both["prompt_tokens"] - alone["prompt_tokens"]
    assert completion == 200 * both["requests"]["judge"] == 800
    assert prompt > 4 * 800, "a judge reads the answer"
    assert both["usd"] - alone["usd"] == pytest.approx((prompt * 100 + completion * 1000) / 1e6)
    assert json.loads(generate("--dry-run", *priced, "--judge", "j").stdout)["usd"] is None
    probed = json.loads(generate("--probe", *judged, per_topic=20).stdout)
    assert "judge" in probed["measured"]
    assert probed["usd"] > 40 * 50 * 1000 / 1e6, "the judge's replies have some 70 tokens each"


def test_a_cap_ends_the_run_with_what_was_made(generate: Generate, teacher: TeacherServer, tmp_path: Path) -> None:
    result = generate("--max-cost", "0.014", "--price-in", 1, "--price-out", 2, per_topic=10)
    assert result.exit_code == 1
    assert "The cap of $0.01 is reached" in result.stdout
    report = json.loads((tmp_path / "data.report.json").read_text())
    assert 0 < report["made"] < 20
    assert report["usd"]["spent_in_all_runs"] <= 0.014
    assert len((tmp_path / "data.jsonl").read_text().splitlines()) == report["made"]
    assert generate("--max-cost", "9", "--price-in", 1, "--price-out", 2, per_topic=10).exit_code == 0


def test_a_cap_without_a_price_is_refused_before_anything_is_asked(generate: Generate, teacher: TeacherServer) -> None:
    result = generate("--max-cost", "1")
    assert result.exit_code == 2
    assert "--price-in" in result.stderr
    assert not teacher.requests


@pytest.mark.parametrize("concurrency", [1, 4])
def test_killed_in_mid_run_it_goes_on_and_pays_for_nothing_twice(
    generate: Generate, teacher: TeacherServer, tmp_path: Path, concurrency: int
) -> None:
    """The server answers nine requests and then no more; what is under way at the kill was never answered."""
    teacher.answer_at_most = 9
    arguments = [*TWO_TOPICS, "--per-topic", "6", "--out", "data.jsonl", "--concurrency", str(concurrency)]
    program = [sys.executable, "-m", "luthier", "generate", *arguments, "--base-url", teacher.base_url]
    killed = subprocess.Popen(program, cwd=tmp_path, env=os.environ, stdout=subprocess.DEVNULL)
    try:
        _wait_for(lambda: _answered(tmp_path / "data.journal") == 9 and len(teacher.requests) == 9 + concurrency)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert teacher.paid == 9
    assert not (tmp_path / "data.jsonl").exists()
    teacher.answer_at_most = 10**9
    result = generate("--concurrency", concurrency, "--json", per_topic=6)
    assert result.exit_code == 0, result.output
    requests = json.loads(result.stdout)["requests"]
    # A probe, two lists of sub-topics, three batches of questions per topic, twelve answers.
    assert teacher.paid == 1 + 2 + 6 + 12
    assert (requests["from_journal"], requests["paid_in_this_run"], requests["lost"]) == (8, 12, concurrency), (
        "the probe is a fact"
    )


def _answered(journal: Path) -> int:
    try:
        with sqlite3.connect(f"file:{journal}?mode=ro", uri=True) as database:
            query = "SELECT count(*) FROM requests WHERE outcome = 'answered'"
            return int(database.execute(query).fetchone()[0])
    except sqlite3.Error:
        return 0


def _wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_chinese_and_a_bar_in_a_terminal(generate: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = generate("--lang", "zh")
    assert "4 个样本" in result.stdout
    assert "处理前 0.0%" in result.stdout
    assert "个回复，$0.0000" in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--teacher", "t"], "nothing to generate"),
        (["--topic", "a"], "no teacher model"),
        (["--topic", "a", "--teacher", "t", "--price-in", "1"], "--price-out"),
        (["--topic", "a", "--teacher", "t", "--without-definitions"], "--without-definitions has no effect here"),
        (["--functions", HOME, "--teacher", "t", "--judge", "j"], "--judge has no effect here"),
        (["--functions", HOME, "--teacher", "t", "--no-teacher"], "--teacher and --no-teacher cannot be combined"),
        (["--functions", HOME, "--topic", "a"], "--topic and --functions cannot be combined"),
    ],
)
def test_what_is_missing_or_idle_is_named(teacher: TeacherServer, args: list[object], said: str) -> None:
    result = run("generate", *args, "--out", "x.jsonl", "--base-url", teacher.base_url)
    assert result.exit_code == 2
    assert said in result.stderr


def test_calls_without_a_teacher_need_no_server(tmp_path: Path) -> None:
    out = tmp_path / "calls.jsonl"
    result = run("generate", "--functions", HOME, "--count", 40, "--no-teacher", "--out", out)
    assert result.exit_code == 0, result.output
    assert "set_light.room" in result.stdout
    assert "No teacher" in result.stdout
    assert run("check", out).exit_code == 0
    assert not (tmp_path / "calls.journal").exists()
    again = run("generate", "--functions", HOME, "--count", 40, "--no-teacher", "--out", out)
    assert again.exit_code == 2
    assert "--force" in again.stderr


def test_calls_with_a_teacher(teacher: TeacherServer, tmp_path: Path) -> None:
    arguments = ("--functions", HOME, "--count", 20, "--form", "functions", "--out", tmp_path / "calls.jsonl")
    output = run("generate", *arguments, "--dry-run", "--json")
    assert sum(json.loads(output.stdout)["by_kind"].values()) == 20
    result = run("generate", *arguments, "--teacher", "t", "--base-url", teacher.base_url, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["requests"]["paid_in_this_run"] == teacher.paid
    assert report["by_kind"]["several"] == {"wanted": 0, "made": 0}
    assert run("check", tmp_path / "calls.jsonl").exit_code == 0


def test_a_kind_that_misses_its_share_is_exit_code_1(teacher: TeacherServer, tmp_path: Path) -> None:
    teacher.fault("none of them should be called", times=99, status=400)
    arguments = ("--functions", HOME, "--count", 20, "--without-definitions", "--out", tmp_path / "calls.jsonl")
    result = run("generate", *arguments, "--teacher", "t", "--base-url", teacher.base_url)
    assert result.exit_code == 1
    assert "Only 0 of 2 are 'no call'" in result.stdout
    assert len((tmp_path / "calls.jsonl").read_text(encoding="utf-8").splitlines()) == 20
