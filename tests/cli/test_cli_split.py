"""Splitting from the command line: the files, the proof, the refusal to overwrite."""

import json
from pathlib import Path

import pytest
from command_line import run


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    path = tmp_path / "all.jsonl"
    lines = []
    for n in range(40):
        messages = [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "ab"[n % 2]}]
        lines.append(json.dumps({"messages": messages}) + "\n")
    path.write_text("".join(lines))
    return path


def test_files_and_proof(examples: Path) -> None:
    result = run("split", examples)
    assert result.exit_code == 0
    assert "40 groups" in result.stdout
    assert "0 examples in two files" in result.stdout
    train, valid = (examples.with_name(f"all.{side}.jsonl") for side in ("train", "valid"))
    assert f"luthier tune {train} --validation {valid}" in result.stdout
    lines = train.read_text().splitlines() + valid.read_text().splitlines()
    assert sorted(lines) == sorted(examples.read_text().splitlines())
    assert run("check", train, "--validation", valid).exit_code == 0


def test_json_and_a_third_file_elsewhere(examples: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    result = json.loads(run("split", examples, "--test", "0.1", "--out", out, "--json").stdout)
    assert [result["files"][name]["examples"] for name in ("train", "validation", "test")] == [28, 8, 4]
    assert (result["overlap"], result["groups"], result["seed"], result["by"]) == (0, 40, 42, "label")
    assert result["strata"] == {"a": [14, 4, 2], "b": [14, 4, 2]}
    assert len((out / "all.test.jsonl").read_text().splitlines()) == 4


def test_nothing_is_replaced_unasked(examples: Path) -> None:
    assert run("split", examples).exit_code == 0
    again = run("split", examples)
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert run("split", examples, "--force").exit_code == 0


def test_chinese(examples: Path) -> None:
    output = run("split", examples, "--lang", "zh").stdout
    assert "跨文件的样本 0 个" in output
    assert "groups" not in output


@pytest.mark.parametrize(
    "arguments", [("--validation", "1"), ("--by", "absent"), ("--validation", "0.6", "--test", "0.6")]
)
def test_what_cannot_be_done_is_exit_code_2(examples: Path, arguments: tuple[str, ...]) -> None:
    assert run("split", examples, *arguments).exit_code == 2


WORDS = "amber basil cedar delta ember fjord grove heron iris jade kelp lotus maple nectar opal"
ROWS = [{"instruction": f"What is {word}?", "output": f"{word.title()} is a word."} for word in WORDS.split()]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
def test_other_formats_are_converted(tmp_path: Path, suffix: str, language: str) -> None:
    path = tmp_path / f"all.{suffix}"
    texts = {
        "jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
        "json": json.dumps(ROWS, indent=1),
        "csv": "instruction,output\n" + "".join(",".join(row.values()) + "\n" for row in ROWS),
    }
    path.write_text(texts[suffix])
    result = run("split", path, "--lang", language)
    assert result.exit_code == 0
    assert {"en": "converted", "zh": "转换"}[language] in result.stderr
    train, valid = (path.with_name(f"all.{side}.jsonl") for side in ("train", "valid"))
    assert f"luthier tune {train} --validation {valid}" in result.stdout
    assert all(set(json.loads(line)) == {"messages"} for line in [*train.open(), *valid.open()])


@pytest.mark.parametrize(
    ("language", "words"), [("en", "3 of 18 examples have errors"), ("zh", "18 个样本中有 3 个有错误")]
)
def test_faulty_lines_come_before_the_training(tmp_path: Path, language: str, words: str) -> None:
    path = tmp_path / "all.jsonl"
    questions = [*(row["instruction"] for row in ROWS), "Who is Ann?", "Who is Ben?", "Who is Cleo?"]
    messages = [[{"role": "user", "content": question}] for question in questions]
    for turns, row in zip(messages, ROWS, strict=False):
        turns.append({"role": "assistant", "content": row["output"]})
    path.write_text("".join(json.dumps({"messages": turns}) + "\n" for turns in messages))
    result = run("split", path, "--lang", language)
    assert result.exit_code == 0
    assert words in result.stdout
    assert "luthier check" in result.stdout
    assert "luthier tune" not in result.stdout


@pytest.mark.parametrize(("language", "words"), [("en", "nothing is left for validation"), ("zh", "没有样本")])
def test_a_side_that_would_be_empty_is_refused(tmp_path: Path, language: str, words: str) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}))
    result = run("split", path, "--lang", language)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "one.train.jsonl").exists()
    assert str(path) in result.stderr


@pytest.mark.parametrize(
    ("language", "words"), [("en", "(by label): awful; the examples"), ("zh", "（按 label 划分）的样本：awful；")]
)
def test_a_class_that_would_not_be_trained_is_refused(tmp_path: Path, language: str, words: str) -> None:
    path = tmp_path / "films.csv"
    path.write_text("question,answer\n" + "a great film,good\n" * 15 + "boring from start to end,awful\n" * 12)
    result = run("split", path, "--lang", language)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "films.train.jsonl").exists()
    assert run("split", path, "--by", "none").exit_code == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"%PDF-1.7\n", {"en": "Unsupported file format: PDF", "zh": "不支持的文件格式：PDF"}),
        (
            b"name;note,remark\na;b,c\n",
            {"en": "several characters could be the separator", "zh": "几种符号都可能是分隔符"},
        ),
        (
            b'{"text": "a"}\n{"text": "b"}\n',
            {"en": "these are conversations written as one text", "zh": "整段对话写成的文本"},
        ),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_cannot_be_split_is_sent_to_the_check(
    tmp_path: Path, content: bytes, words: dict[str, str], language: str
) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    result = run("split", path, "--lang", language)
    assert result.exit_code == 2
    assert words[language] in result.stderr
    assert f"luthier check {path}" in result.stderr
    assert "--encoding" not in result.stderr
