"""The page on the lesson: two languages alike, and its commands, run in order as a reader types them, say what it shows.

The commands go to a server with the real base model and a scripted teacher, in a folder with the project's examples.
`PYTHONPATH=tests python tests/test_lesson_page.py` runs them at the size of the page and prints what they say, to
be copied there.
"""

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
# What the test does with less of, to end in minutes; the page's figures are those of the larger run.
SMALLER = {
    "luthier estimate ": "luthier estimate --measure never ",
    "--learning-rate-multiplier 0.3,1,3": "--learning-rate-multiplier 1",
    "--count 400": "--count 120",
    "--count 60": "--count 12",
}
# What differs from run to run, as it stands on the page and as it may come; the groups are ids.
ID = r"ftjob-\w+|file-\w+|ft:[\w.:-]+"
DIFFERS = {ID: f"({ID})", r"[+-]?\d[\d,.]*": r"(?:[+-]?[\d,.]+|–)", "[▁-█][ ▁-█]*": "[ ▁-█]+", "…": ".*", r"\s+": r"\s+"}
PARTS = re.compile("|".join(DIFFERS))


def steps() -> Iterator[tuple[str, str, str]]:
    """Each block of commands, in bash or python, with the text that the page shows after it."""
    blocks = FENCED.findall(PAGES[0].read_text(encoding="utf-8"))
    for (kind, code), (after, shown) in pairwise([*blocks, ("", "")]):
        if kind == "bash" or (kind == "python" and after == "text"):
            yield kind, code, shown if after == "text" else ""


def pattern(line: str) -> str:
    """What a line of the page stands for."""
    made, at = "", 0
    for part in PARTS.finditer(line):
        made += re.escape(line[at : part.start()])
        made += next(may for it, may in DIFFERS.items() if re.fullmatch(it, part[0]))
        at = part.end()
    return made + re.escape(line[at:])


class Reader:
    """Does what the page says in the current folder. `ids`: those of the page, with those of this run."""

    def __init__(self, smaller: bool) -> None:
        self.smaller, self.ids = smaller, dict[str, str]()

    def does(self, kind: str, code: str) -> str:
        for ours, theirs in sorted(self.ids.items(), key=lambda pair: -len(pair[0])):
            code = code.replace(ours, theirs)
        if kind == "python":
            return _program([sys.executable, "-c", code])
        lines = [line for line in code.splitlines() if not line.startswith(("export ", "luthier serve"))]
        return "".join(map(self._line, lines))

    def _line(self, line: str) -> str:
        for large, small in SMALLER.items() if self.smaller else ():
            line = line.replace(large, small)
        if not line.startswith("luthier "):
            return _program(["bash", "-c", re.sub("^python ", f"{sys.executable} ", line)])
        result = CliRunner().invoke(main, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
        return result.output

    def finds(self, shown: str, said: str) -> None:
        """Every line that the page shows was said, in this order; lines of advice hang on the figures."""
        lines, at = said.splitlines(), 0
        for line in shown.splitlines():
            if line.strip() in ("", "…") or line.startswith("•"):
                continue
            found = [re.fullmatch(pattern(line.strip()), other.strip()) for other in lines[at:]]
            place = next((place for place, match in enumerate(found) if match), None)
            assert place is not None, f"{line!r} is on the page and not in:\n{said}"
            self.ids |= dict(zip(re.findall(ID, line), found[place].groups(), strict=True))
            at += place + 1


def _program(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def classroom(folder: Path) -> Iterator[None]:
    """The examples in the current folder, and a server that knows the teacher."""
    for name in ("examples", "src/luthier/examples"):
        shutil.copytree(ROOT / name, folder / name)
    with TeacherServer() as teacher, pytest.MonkeyPatch.context() as patch:
        teacher.prefix = "好的，"
        upstream = {"upstream_base_url": teacher.base_url, "upstream_api_key": "teacher"}
        patch.chdir(folder)
        with running_server(folder / "data", BASE, aliases={"gpt-4o": "upstream:gpt-4o"}, **upstream) as running:
            patch.setenv("LUTHIER_LANG", "en")
            patch.setenv("OPENAI_BASE_URL", running.endpoint.base_url)
            patch.setenv("OPENAI_API_KEY", running.endpoint.api_key)
            yield


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
    (shown,) = [code for (kind, code), (after, _) in pairwise(blocks) if kind == "python" and after != "text"]
    assert [line for line in shown.splitlines() if line.strip() not in program] == []


@pytest.fixture(scope="module")
def said(real_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each block of commands says, once it was found to be what the page shows."""
    assert real_base.is_dir()
    heard, reader = {}, Reader(smaller=True)
    with classroom(tmp_path_factory.mktemp("lesson")):
        for kind, code, shown in steps():
            heard[code] = reader.does(kind, code)
            reader.finds(shown, heard[code])
    return heard


@pytest.mark.slow
def test_the_tuned_model_calls_right_without_definitions(said: dict[str, str]) -> None:
    """On names, departments, reasons and days it has never seen; the base model does not."""
    (table,) = [text for code, text in said.items() if "evaluate" in code and "--functions" in code]
    rows = re.findall(r"^(\S+) +(full|none) +(\d+) \[", table, re.MULTILINE)
    right = {(model.startswith("ft:"), shown): int(figure) for model, shown, figure in rows}
    assert right[True, "none"] >= 60, table
    assert right[True, "full"] >= 60, table
    assert right[False, "none"] <= 30, table


if __name__ == "__main__":
    everything = Reader(smaller=False)
    with TemporaryDirectory() as folder, classroom(Path(folder)):
        for kind, code, shown in steps():
            print(f"\n===== {code}", flush=True)
            answer = everything.does(kind, code)
            print(answer, flush=True)
            for line in shown.splitlines():  # ids of the page, for the commands that follow
                try:
                    everything.finds(line, answer)
                except AssertionError:
                    print(f"!!! not said: {line}", flush=True)
