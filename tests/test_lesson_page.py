"""The page on the lesson: two languages alike, and its commands, run in order as a reader would, say what it shows.

The commands go to a server with a tiny random model and a scripted teacher, in a folder with the project's examples:
what is shown of texts and figures is not checked, every other word of the page's output is.
`PYTHONPATH=tests python tests/test_lesson_page.py` runs them with the real base model, at the size of the page, and
prints what they say, to be copied there.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from generate.teacher_server import TeacherServer
from luthier.cli import main
from through_api import running_server

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / name for name in ("lesson.md", "lesson.zh-CN.md")]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BASE = "smollm2-135m-instruct"
# What the test does with less of, to end in half a minute.
SMALLER = {
    "luthier estimate ": "luthier estimate --measure never ",
    "--learning-rate-multiplier 0.3,1,3": "--learning-rate-multiplier 1",
    "--count 800": "--count 120",
    "luthier tune leave.train.jsonl ": "luthier tune leave.train.jsonl --epochs 1 --batch-size 32 ",
    "--limit 16": "--limit 4",
    "--functions --definitions none": "--functions --definitions none --limit 4 --max-tokens 130",
}
# What differs from run to run, as it stands on the page and as it may come; the groups are ids.
ID = r"ftjob-\w+|file-\w+|ft:[\w.:-]+"
DIFFERS = {
    ID: f"({ID})",
    r"SmolLM2.*": ".*",
    r"[+-]?\d[\d,.]*": r"(?:[+-]?[\d,.]+|–)",
    "[▁-█][ ▁-█]*": "[ ▁-█]+",
    "'…'": """(?:'.*'|".*")""",  # Python writes a text with an apostrophe in double quotes
    "…": ".*",
    r"\s+": r"\s+",
}
PARTS = re.compile("|".join(DIFFERS))


def steps() -> Iterator[tuple[str, str, str]]:
    """Each block of commands, in bash or python, with the text that the page shows after it."""
    blocks = FENCED.findall(PAGES[0].read_text(encoding="utf-8"))
    for (kind, code), (after, output) in pairwise([*blocks, ("", "")]):
        if kind == "bash" or (kind == "python" and after == "text"):
            yield kind, code, output if after == "text" else ""


def pattern(line: str) -> str:
    """What a line of the page stands for."""
    result, at = "", 0
    for part in PARTS.finditer(line):
        result += re.escape(line[at : part.start()])
        result += next(may for it, may in DIFFERS.items() if re.fullmatch(it, part[0]))
        at = part.end()
    return result + re.escape(line[at:])


class Reader:
    """Does what the page says in the current folder. `ids`: those of the page, with those of this run."""

    def __init__(self, smaller: bool) -> None:
        self.smaller, self.ids = smaller, dict[str, str]()

    def does(self, kind: str, code: str) -> str:
        if kind == "python":
            return _program([sys.executable, "-c", self.in_this_run(code)])
        lines = [line for line in code.splitlines() if not line.startswith(("export ", "luthier serve"))]
        return "".join(map(self._line, lines))

    def in_this_run(self, line: str) -> str:
        """A command line of the page, with the ids and sizes of this run."""
        for ours, theirs in sorted(self.ids.items(), key=lambda pair: -len(pair[0])):
            line = line.replace(ours, theirs)
        for large, small in SMALLER.items() if self.smaller else ():
            line = line.replace(large, small)
        return line

    def _line(self, line: str) -> str:
        line = self.in_this_run(line)
        if not line.startswith("luthier "):
            return _program(["bash", "-c", re.sub("^python ", f"{sys.executable} ", line)])
        result = CliRunner().invoke(main, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
        return result.output

    def finds(self, shown: str, said: str) -> None:
        """Every line that the page shows was said, in this order.

        Of lines that follow each other and differ in figures alone, one is enough; advice hangs on the figures.
        """
        lines, at, last = said.splitlines(), 0, ""
        for line in shown.splitlines():
            if line.strip() in ("", "…") or line.startswith("•") or pattern(line.strip()) == last:
                continue
            last = pattern(line.strip())
            matches = [re.fullmatch(pattern(line.strip()), other.strip()) for other in lines[at:]]
            place = next((place for place, match in enumerate(matches) if match), None)
            assert place is not None, f"{line!r} is on the page and not in:\n{said}"
            self.ids |= dict(zip(re.findall(ID, line), matches[place].groups(), strict=True))
            at += place + 1


def _program(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def classroom(folder: Path, base: str) -> Iterator[None]:
    """The examples in the current folder, and a server that knows the teacher."""
    for name in ("examples", "src/luthier/examples"):
        shutil.copytree(ROOT / name, folder / name)
    with TeacherServer() as teacher, pytest.MonkeyPatch.context() as patch:
        teacher.prefix = "好的，"
        upstream = {"upstream_base_url": teacher.base_url, "upstream_api_key": "teacher"}
        patch.chdir(folder)
        with running_server(folder / "data", base, aliases={"gpt-4o": "upstream:gpt-4o"}, **upstream) as running:
            patch.setenv("LUTHIER_LANG", "en")
            patch.setenv("OPENAI_BASE_URL", running.endpoint.base_url)
            patch.setenv("OPENAI_API_KEY", running.endpoint.api_key)
            yield


def chinese_screens(reader: Reader) -> dict[str, str]:
    """What the page's commands print in Chinese, on the files and jobs of a walk that is over.

    Jobs are watched again instead of trained again; the answer of `chat` is the model's and left out.
    """
    screens = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_LANG", "zh")
        jobs = [job["id"] for job in json.loads(CliRunner().invoke(main, ["jobs", "list", "--json"]).stdout)]
        pages = [line for kind, code, _ in steps() if kind == "bash" for line in code.splitlines()]
        lines = [
            reader.in_this_run(line) for line in pages if re.match(r"luthier (?!serve|chat|tune|sweep|watch)", line)
        ]
        lines = [f"{line} --force" if re.match("luthier (generate|split)", line) else line for line in lines]
        lines += ["luthier jobs", "luthier files", "luthier models", "luthier alias", "luthier config show"]
        for job_id in jobs:
            lines += [f"luthier {command} {job_id}" for command in ("watch", "jobs events", "jobs checkpoints")]
        lines += [f"luthier jobs results {jobs[0]} --plot", f"luthier watch {jobs[0]}-absent"]
        for line in lines:
            screens[line] = CliRunner().invoke(main, shlex.split(line)[1:]).output
    return screens


def english_sentences(text: str) -> list[str]:
    """Four English words in a row, where they are no command, no code and not the server's own words."""
    text = re.sub(
        r"服务器的原话：.*|`?luthier [^`，。）\n]*|^(?:from|client|answer|print).*$", "", text, flags=re.MULTILINE
    )
    return re.findall(r"(?:\b[A-Za-z][a-z]+[,;:]? ){3,}[a-z]+", text)


def test_both_languages_have_the_same_headings_code_and_tables() -> None:
    english, chinese = (page.read_text(encoding="utf-8") for page in PAGES)
    assert FENCED.findall(english) == FENCED.findall(chinese)
    for mark in (r"^(#+) ", r"^\|", r"^- ", r"^\d\. "):
        assert re.findall(mark, english, re.MULTILINE) == re.findall(mark, chinese, re.MULTILINE)


def test_what_the_test_makes_smaller_is_on_the_page() -> None:
    commands = "".join(code for _, code, _ in steps())
    assert [large for large in SMALLER if large not in commands] == []


def test_the_calls_shown_are_those_of_the_example() -> None:
    program = (ROOT / "examples" / "finance.py").read_text(encoding="utf-8")
    blocks = FENCED.findall(PAGES[0].read_text(encoding="utf-8"))
    (output,) = [code for (kind, code), (after, _) in pairwise(blocks) if kind == "python" and after != "text"]
    assert [line for line in output.splitlines() if line.strip() not in program] == []


def test_its_commands_say_what_it_shows(tiny_base: Path, tmp_path: Path) -> None:
    reader = Reader(smaller=True)
    with classroom(tmp_path, str(tiny_base)):
        for kind, code, output in steps():
            reader.finds(output, reader.does(kind, code))
        screens = chinese_screens(reader)
    assert len(reader.ids) > 3, "each command went on with what the one before it made"
    (tmp_path / "screens.zh.txt").write_text("\n".join(f"$ {line}\n{text}" for line, text in screens.items()))
    assert {line: match for line, text in screens.items() if (match := english_sentences(text))} == {}


if __name__ == "__main__":
    everything = Reader(smaller=False)
    with TemporaryDirectory() as folder, classroom(Path(folder), BASE):
        for kind, code, shown in steps():
            print(f"\n===== {code}", flush=True)
            answer = everything.does(kind, code)
            print(answer, flush=True)
            for line in shown.splitlines():  # ids of the page, for the commands that follow
                try:
                    everything.finds(line, answer)
                except AssertionError:
                    print(f"!!! not said: {line}", flush=True)
