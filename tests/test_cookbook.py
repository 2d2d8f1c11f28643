"""The cookbook: its scripts in their quick form against one server with the tiny base, its data, and its page."""

import importlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from luthier.evaluation.statistics import proportion
from luthier.runtime import LuthierServer
from through_api import running_server
from tiny import make_tiny_base

ROOT = Path(__file__).parents[1]
COOKBOOK = ROOT / "examples" / "cookbook"
PAGES = [ROOT / "docs" / name for name in ("cookbook.md", "cookbook.zh-CN.md")]
# Each script, with what only its last step prints.
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Ids, names of models and numbers differ between runs, and between the real base and the tiny one.
DIFFERS = re.compile(r"(?:ft|file|ftjob)[:-][\w:.-]+|[\d.,]+")
SCRIPTS = {
    "function_calling": "none  question",
    "recipes": "of ingredients never trained",
    "data_preparation": "by the notebook's rule 4 epochs",
    "classification": "left-handed pitcher",
    "preferences": "4. The fine-tuned model's answers, graded",
    "distillation": "cheese-student",
    "reinforcement": "refused: ",
}


@pytest.fixture(scope="module")
def cookbook_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LuthierServer]:
    """16 definitions are longer than the tiny base's usual context."""
    base = make_tiny_base(tmp_path_factory.mktemp("base") / "tiny", context=8192)
    with running_server(tmp_path_factory.mktemp("server"), base) as running:
        yield running


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """A script as a module; it finds its neighbours as if it were started from a shell."""
    monkeypatch.syspath_prepend(str(COOKBOOK))
    return importlib.import_module(request.param)


@pytest.mark.parametrize(("script", "last"), SCRIPTS.items(), indirect=["script"], ids=list(SCRIPTS))
def test_runs_from_first_to_last_step(
    script: ModuleType,
    last: str,
    cookbook_server: LuthierServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", cookbook_server.endpoint.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", cookbook_server.endpoint.api_key)
    is_distillation = script.__name__ == "distillation"  # with a teacher that is there, not with one of its own
    script.main(["--quick", *(["--teacher", "gpt-4o"] if is_distillation else [])])
    printed = capsys.readouterr().out
    assert last in printed
    steps = [DIFFERS.sub("…", line) for line in printed.splitlines()]
    page_steps = _steps_on_page(script.__name__)[2 if is_distillation else 0 :]
    assert [line for line in page_steps if line not in steps] == []


def _steps_on_page(name: str) -> list[str]:
    """The numbered lines of the output that the page shows after the command of the script."""
    blocks = FENCED.findall(PAGES[0].read_text(encoding="utf-8"))
    text_blocks = "".join(
        text for (_, code), (_, text) in pairwise(blocks) if f"python examples/cookbook/{name}.py\n" in code
    )
    return [DIFFERS.sub("…", line) for line in text_blocks.splitlines() if re.match(r"\d\. ", line)]


def test_both_languages_have_the_same_headings_code_and_tables() -> None:
    english, chinese = (page.read_text(encoding="utf-8") for page in PAGES)
    assert FENCED.findall(english) == FENCED.findall(chinese)
    for mark in (r"^(#+) ", r"^\|", r"^- ", r"\d+ %|\d+/\d+"):
        assert re.findall(mark, english, re.MULTILINE) == re.findall(mark, chinese, re.MULTILINE)


def test_every_script_is_on_the_page() -> None:
    page = PAGES[0].read_text(encoding="utf-8")
    assert [name for name in SCRIPTS if f"python examples/cookbook/{name}.py" not in page] == []


@pytest.mark.parametrize("script", SCRIPTS, indirect=True)
def test_help_says_what_it_does(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        script.main(["--help"])
    assert (script.__doc__ or "-").splitlines()[0] in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(COOKBOOK.glob("*.py")), ids=lambda path: path.stem)
def test_needs_nothing_of_luthier(path: Path) -> None:
    assert not re.search(r"^\s*(import|from) luthier", path.read_text(encoding="utf-8"), re.MULTILINE)


def _first_word_is_a_verb(text: str) -> bool:
    return not text.startswith(("Can you", "Could you", "Let's", "I "))


@pytest.mark.parametrize("script", ["drone_data"], indirect=True)
class TestDroneData:
    def test_both_forms_have_the_same_requests(self, script: ModuleType) -> None:
        split, mixed = (script.training_requests(forms, 1) for forms in ("split", "mixed"))
        assert [request[1:] for request in split] == [request[1:] for request in mixed]
        assert Counter(request.name for request in split)["reject_request"] == 30
        assert len({request.name for request in split}) == len(script.TOOLS) == 16

    @pytest.mark.parametrize(("forms", "commands", "rejects"), [("split", 0, 27), ("mixed", 45, 15)])
    def test_imperatives(self, script: ModuleType, forms: str, commands: int, rejects: int) -> None:
        imperatives = Counter(
            request.name == "reject_request"
            for request in script.training_requests(forms, 1)
            if _first_word_is_a_verb(request.text)
        )
        assert (imperatives[False], imperatives[True]) == (commands, rejects)

    def test_held_out_requests_are_in_no_training_file(self, script: ModuleType) -> None:
        def text(request: str) -> str:
            return re.sub(
                r"\d+|^(Can you|Could you|Let's|I need you to|I want the drone to) |[.?,]| please", "", request
            )

        trained = {text(request.text).lower() for request in script.training_requests("mixed", 1)}
        for form in ("imperative", "question"):
            commands, rejects = script.held_out_requests(form, 2)
            assert len(commands) == len(rejects) == 30
            assert [request for request in commands + rejects if text(request.text).lower() in trained] == []

    def test_calls_fit_their_definitions(self, script: ModuleType) -> None:
        import jsonschema

        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in script.TOOLS}
        for request in script.training_requests("mixed", 1) + script.held_out_requests("question", 2)[0]:
            jsonschema.validate(request.arguments, schemas[request.name])

    def test_slim_definitions_keep_names_and_types(self, script: ModuleType) -> None:
        text = json.dumps(script.slim(script.TOOLS))
        assert "description" not in text
        assert '{"type": "integer"}' in text


@pytest.mark.parametrize("script", ["steps"], indirect=True)
@pytest.mark.parametrize(("hits", "n"), [(0, 30), (9, 10), (30, 30)])
def test_intervals_are_those_of_evaluate(script: ModuleType, hits: int, n: int) -> None:
    interval = proportion(hits, n)
    assert script.rate(hits, n).endswith(f"[{interval.low * 100:.0f}-{interval.high * 100:.0f}]")
