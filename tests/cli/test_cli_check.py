"""Checking a file: exit codes, what is shown of many findings, one JSON document, no server."""

import json
from pathlib import Path

import pytest
from command_line import run

from luthier.data.findings import all_kinds
from luthier.data.findings.names import NAMES, finding_name


def test_a_good_file(train: Path) -> None:
    result = run("check", train)
    assert result.exit_code == 0
    assert "12 examples, 0 errors, 0 warnings" in result.stdout
    assert f"Next: luthier split {train}" in result.stdout


def test_findings_are_told_by_code_and_cut_short(broken: Path) -> None:
    result = run("check", broken)
    assert result.exit_code == 1
    assert "json_invalid  ×5" in result.stdout
    assert "line 13: " in result.stdout
    assert "line 16: " not in result.stdout
    assert "… and 2 more" in result.stdout
    assert "5 errors" in result.stdout
    assert "Next:" not in result.stdout


def test_more_findings_than_a_report_keeps_are_still_counted(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text("[]\n" * 250)
    assert "data_type  ×250" in run("check", path).stdout


def test_one_code_with_two_severities_is_two_groups(tmp_path: Path) -> None:
    call = '{"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}'
    empty = '{"role": "function", "name": "f", "content": ""}, {"role": "assistant", "content": ""}'
    path = tmp_path / "both.jsonl"
    path.write_text(
        "".join(f'{{"messages": [{{"role": "user", "content": "{n}"}}, {call}, {empty}]}}\n' for n in range(12))
    )
    output = run("check", path).stdout
    assert "12 errors, 12 warnings" in output
    assert output.count("missing_content  ×12") == 2


def test_the_validation_file_counts_and_may_be_small(train: Path, broken: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.jsonl"
    small.write_text(train.read_text().splitlines()[0] + "\n")
    assert run("check", train, "--validation", small).exit_code == 0
    assert run("check", train, "--validation", broken).exit_code == 1


@pytest.mark.parametrize("path", ["absent.jsonl", "."])
def test_what_cannot_be_read_is_exit_code_2(path: str) -> None:
    assert run("check", path).exit_code == 2


def test_a_terminal_gets_a_bar(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = run("check", broken)
    assert "checking broken.jsonl" in result.stderr


def test_json_is_one_document(train: Path, broken: Path) -> None:
    result = run("check", train, "--validation", broken, "--json")
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert [(Path(file["path"]), file["ok"]) for file in document["files"]] == [(train, True), (broken, False)]
    assert result.stderr == ""


def test_chinese(broken: Path) -> None:
    result = run("check", broken, "--lang", "zh")
    assert "还有 2 处" in result.stdout
    assert "第 13 行" in result.stdout
    assert "examples" not in result.stdout


def test_what_is_converted_is_said_and_not_uploaded(train: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps([json.loads(line) for line in train.read_text().splitlines()], indent=1))
    result = run("check", path)
    assert result.exit_code == 0
    assert "converted_from  ×1" in result.stdout
    assert "JSON array" in result.stdout
    assert f"Next: luthier check {path} --fix train.fixed.jsonl" in result.stdout
    tuned = run("tune", path)
    assert tuned.exit_code == 2
    assert f"luthier check {path} --fix train.fixed.jsonl" in tuned.stderr


def test_what_cannot_be_told_names_the_flag(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n" + "x,y\n" * 12)
    result = run("check", path)
    assert result.exit_code == 1
    assert "--question COLUMN --answer COLUMN" in result.stdout
    assert run("check", path, "--question", "a", "--answer", "b").exit_code == 0
    assert run("check", path, "--encoding", "klingon").exit_code == 2


@pytest.fixture
def slips(train: Path, tmp_path: Path) -> Path:
    """Twelve good lines, one that can be repaired, one that cannot, one that can be guessed."""
    path = tmp_path / "slips.jsonl"
    good = train.read_text().splitlines()
    path.write_text("\n".join([*good, good[0][:-1] + ",}", "hello", good[1][:-1]]) + "\n")
    return path


def test_fix_writes_a_file_that_is_clean_and_sets_the_rest_aside(slips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = run("check", slips, "--fix", out, "--no-quality")
    assert result.exit_code == 0, result.output
    assert "line 13: trailing_comma" in result.stdout
    assert "--guess" in result.stdout
    assert "2 lines" in result.stdout
    assert len(out.read_text().splitlines()) == 13
    rejects = [json.loads(line) for line in (tmp_path / "out.rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == [14, 15]
    assert f"Next: luthier split {out}" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} >= {"out.jsonl", "out.rejects.jsonl", "slips.jsonl"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_fix_overwrites_only_if_forced(slips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    result = run("check", slips, "--fix", out)
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert out.read_text() == "mine"
    assert not (tmp_path / "out.rejects.jsonl").exists()
    assert run("check", slips, "--fix", out, "--force", "--guess").exit_code == 0
    assert len(out.read_text().splitlines()) == 14
    rejects = tmp_path / "out.rejects.jsonl"
    before = rejects.read_text()
    assert run("check", out, "--fix", out, "--force").exit_code == 0
    assert len(out.read_text().splitlines()) == 14
    assert rejects.read_text() == before  # repaired in place, this is the only copy
    out.write_text(out.read_text() + "nonsense\n")
    run("check", out, "--fix", out, "--force")
    assert rejects.read_text().startswith(before)
    assert "nonsense" in rejects.read_text().removeprefix(before)
    lines = [line for line in slips.read_text().splitlines(keepends=True) if "messages" in line][:10]
    slips.write_text("".join(lines))
    run("check", slips, "--fix", out, "--force")
    assert not rejects.exists()  # of another file


def test_a_diff_writes_nothing(slips: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    result = run("check", slips, "--diff")
    assert result.exit_code == 1
    assert "  - " in result.stdout
    assert ",}" in result.stdout
    assert sorted(tmp_path.iterdir()) == before


def test_fix_converts(tmp_path: Path) -> None:
    path, out = tmp_path / "table.csv", tmp_path / "out.jsonl"
    path.write_text("question,answer\n" + "".join(f"q{n},a{n}\n" for n in range(12)))
    document = json.loads(run("check", path, "--fix", out, "--json", "--no-quality").stdout)
    assert document["ok"]
    assert document["fix"]["examples"] == 12
    assert "converted_from (CSV table)" in document["fix"]["counts"]
    assert [file["path"] for file in document["files"]] == [str(out)]
    screen = run("check", path, "--fix", out, "--force", "--lang", "zh").stdout
    assert "格式已转换（converted_from）：CSV 表格 ×1" in screen
    assert "CSV table" not in screen


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_a_conversion_leaves_out_is_not_called_repaired(tmp_path: Path, language: str) -> None:
    path, out = tmp_path / "table.jsonl", tmp_path / "out.jsonl"
    lesson = "The Elbe rises in the Giant Mountains, passes Dresden and Hamburg, and ends in the North Sea."
    records = [{"question": f"q{n}", "answer": f"a{n}", "lesson": lesson, "id": n} for n in range(12)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    screen = run("check", path, "--fix", out, "--no-quality", "--lang", language).stdout
    repaired = next(line for line in screen.splitlines() if line.startswith(("Repaired:", "已修复：")))
    assert "converted_from" in repaired
    assert "lesson" not in repaired
    assert {"en": "Not used: lesson, id.", "zh": "未使用：lesson、id。"}[language] in screen
    assert {"en": "warning  column_unused  ×1", "zh": "警告  未使用的列（column_unused）  ×1"}[language] in screen
    assert "Giant Mountains" in screen
    document = json.loads(run("check", path, "--fix", out, "--force", "--json", "--no-quality").stdout)
    assert {"column_unused (lesson)", "column_unused (id)"} <= document["fix"]["counts"].keys()


def test_flags_that_mean_nothing_together(slips: Path) -> None:
    assert run("check", slips, "--guess").exit_code == 2
    assert run("check", slips, "--validation", slips, "--diff").exit_code == 2


def test_the_next_step_after_a_split_is_to_train(train: Path) -> None:
    part, held_out = train.with_name("all.train.jsonl"), train.with_name("all.valid.jsonl")
    part.write_bytes(train.read_bytes())
    assert f"Next: luthier split {part}" in run("check", part, "--no-quality").stdout
    held_out.write_bytes(train.read_bytes())
    assert f"Next: luthier tune {part} --validation {held_out}" in run("check", part, "--no-quality").stdout


def test_epochs_are_said_of_the_training_file_only(train: Path) -> None:
    result = run("check", train, "--validation", train.with_name("broken.jsonl"), "--no-quality")
    assert result.exit_code == 2
    valid = train.with_name("valid.jsonl")
    valid.write_bytes(train.read_bytes())
    assert run("check", train, "--validation", valid, "--no-quality").stdout.count("Epochs with") == 1


def test_finding_codes_have_chinese_names(broken: Path) -> None:
    assert set(all_kinds()) <= set(NAMES)
    assert "JSON 无效（json_invalid）  ×5" in run("check", broken, "--lang", "zh", "--no-quality").stdout
    assert finding_name("of_a_plugin") == "of_a_plugin"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_next_step_of_a_faulty_file_is_its_repair(tmp_path: Path, language: str) -> None:
    good = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]}
    repairable = {"messages": [{"role": "用户", "content": "Why?"}, {"role": "assistant", "content": 7}]}
    hopeless = {"messages": [{"role": "user", "content": "Why?"}]}
    path = tmp_path / "train.jsonl"

    def next_step(*examples: object) -> str:
        path.write_text("".join(json.dumps(example) + "\n" for example in examples))
        result = run("check", path, "--no-quality", "--lang", language)
        assert result.exit_code == 1
        return result.stdout.splitlines()[-1]

    step = next_step(*[good] * 12, repairable, repairable, hopeless)
    assert f"luthier check {path} --fix train.fixed.jsonl" in step
    assert {"en": "repairs 2 of 3 faulty examples", "zh": "3 个有错误的样本中的 2 个"}[language] in step
    assert "--fix" not in next_step(*[good] * 12, hopeless)
    assert "--fix" not in next_step(good)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"prompt": "a", "chosen": "b", "rejected": "c"}\n', "按“偏好对 (chosen, rejected)”读取"),
        ("question,answer\na,b\n", "按“CSV 表格”读取"),
        ('{"rows": [{"question": "a", "answer": "b"}]}', "按“一个对象里的列表 rows”读取"),
        ('{"dialog": [{"role": "user", "content": "a"}]}', "按“ShareGPT (conversations)”读取"),
    ],
)
def test_conversions_are_named_in_chinese(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "f").write_text(content)
    assert words in run("check", tmp_path / "f", "--no-quality", "--lang", "zh").stdout
