"""`/v1/fine_tuning/alpha/graders`, through the official client where it supports the request."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from serving import Bare, ScriptedEngine, bare_server, body_of, make_model

from fake_distribution import install
from luthier import plugins
from luthier.evaluation.graders.grader_type import grader_type

CHECK = {"type": "string_check", "name": "check", "input": "{{sample.output_text}}", "reference": "{{item.label}}"}
EQUAL: Any = {**CHECK, "operation": "eq"}
FUZZY: Any = {**CHECK, "type": "text_similarity", "name": "fuzzy", "evaluation_metric": "fuzzy_match"}
SCORE: Any = {
    "type": "score_model",
    "name": "judge",
    "model": "gpt-4o-mini",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Right answer: {{item.label}}"}]},
        {"role": "user", "content": "Given: {{sample.output_text}}"},
    ],
    "sampling_params": {"temperature": 0, "max_completions_tokens": 60, "seed": 1},
}
LABEL: Any = {**SCORE, "type": "label_model", "labels": ["good", "bad"], "passing_labels": ["good"]}
del LABEL["sampling_params"]
PYTHON: Any = {"type": "python", "name": "py", "source": "def grade(sample, item):\n    return len(item['label']) / 4"}


def multi(formula: str, graders: Any) -> Any:
    return {"type": "multi", "name": "all", "graders": graders, "calculate_output": formula}


@pytest.fixture(scope="module")
def open_server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """A server that runs Python graders."""
    with bare_server(tmp_path_factory.mktemp("graders"), tiny_base, python_graders="sandbox") as running:
        yield running


def run(client: OpenAI, grader: Any, sample: str = "right", label: str = "right") -> Any:
    return client.fine_tuning.alpha.graders.run(grader=grader, model_sample=sample, item={"label": label})


@pytest.mark.parametrize(
    ("operation", "sample", "reward"),
    [("eq", "right", 1), ("eq", "Right", 0), ("ne", "wrong", 1), ("neq", "wrong", 1), ("neq", "right", 0),
     ("like", "all right!", 1), ("like", "all RIGHT!", 0), ("ilike", "all RIGHT!", 1), ("ilike", "wrong", 0)],
)  # fmt: skip
def test_string_check(bare_client: OpenAI, operation: str, sample: str, reward: float) -> None:
    assert run(bare_client, {**CHECK, "operation": operation}, sample).reward == reward


def test_the_answer_has_every_field(bare_client: OpenAI) -> None:
    result = run(bare_client, FUZZY, "abcd", "abce")
    assert result.reward == 0.75
    fields = result.model_dump()
    assert (fields["sub_rewards"], fields["model_grader_token_usage_per_model"]) == ({}, {})
    metadata = fields["metadata"]
    assert (metadata["name"], metadata["type"], metadata["scores"]) == ("fuzzy", "text_similarity", {})
    assert (metadata["token_usage"], metadata["sampled_model_name"]) == (None, None)
    assert 0 < metadata["execution_time"] < 5
    flags = result.metadata.errors.to_dict()
    assert len(flags) == 14
    assert not any(flags.values())


def test_cosine_uses_the_base_models_embeddings(bare_client: OpenAI) -> None:
    cosine = {**FUZZY, "evaluation_metric": "cosine"}
    assert run(bare_client, cosine, "the same", "the same").reward == pytest.approx(1, abs=1e-4)
    first, second = bare_client.embeddings.create(model="text-embedding-3-small", input=["left", "right"]).data
    expected = sum(a * b for a, b in zip(first.embedding, second.embedding, strict=True))
    assert run(bare_client, cosine, "left", "right").reward == pytest.approx(expected, abs=1e-3)
    errors = run(bare_client, cosine, "", "right").metadata.errors.to_dict()
    assert "1 to 2048 tokens" in errors["model_grader_server_error_details"]


@pytest.mark.parametrize(
    ("answer", "reward"),
    [('{"steps": [], "result": 0.75}', 0.75), ('Sure! {"result": 7}', 1), ('{"result": -3}', 0), ("0.5", 0.5),
     ('{"result": "0.25"}', 0.25)],
)  # fmt: skip
def test_score_model(scripted: OpenAI, engine: ScriptedEngine, answer: str, reward: float) -> None:
    engine.say(answer)
    result = run(scripted, SCORE, "given", "wanted")
    assert result.reward == reward
    (prompt,) = engine.prompts
    assert "Right answer: wanted" in prompt
    assert "Given: given" in prompt
    assert result.metadata.sampled_model_name == "gpt-4o-mini-2024-07-18"
    used = result.model_grader_token_usage_per_model["gpt-4o-mini-2024-07-18"]
    assert used["completion_tokens"] == len(answer.encode())
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"] == result.metadata.token_usage


def test_a_base_model_is_held_to_the_form_of_a_verdict(bare_client: OpenAI) -> None:
    """Random weights generate nothing sensible, yet structured outputs give a number or a label."""
    result = run(bare_client, multi("label", {"label": LABEL}))
    assert result.reward in (0, 1)
    assert not any(result.metadata.errors.to_dict().values())


def test_a_range_of_its_own(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say('{"result": 6}')
    assert run(scripted, {**SCORE, "range": [1, 5]}).reward == 5
    assert "from 1 to 5" in engine.prompts[0]


@pytest.mark.parametrize("answer", ["no idea", '{"result": null}', '{"result": true}', '{"result": ', '{"x": 1}', ""])
def test_a_judge_that_gives_no_number(scripted: OpenAI, engine: ScriptedEngine, answer: str) -> None:
    engine.say(answer)
    result = run(scripted, SCORE)
    assert result.reward == 0
    assert result.metadata.errors.to_dict()["model_grader_parse_error"]
    assert result.metadata.token_usage > 0


def test_multi(scripted: OpenAI, engine: ScriptedEngine) -> None:
    """The formula's variables are the keys of an object, or the names of the graders in a list."""
    engine.say('{"result": "good"}')
    graders = {"exact": EQUAL, "near": FUZZY, "label": LABEL}
    result = run(scripted, multi("0.5 * exact + 0.25 * near + label ^ 2", graders), "abcd", "abce")
    assert result.reward == pytest.approx(0.25 * 0.75 + 1)
    assert result.sub_rewards == {"exact": 0, "near": 0.75, "label": 1} == result.metadata.scores
    assert list(result.model_grader_token_usage_per_model) == ["gpt-4o-mini-2024-07-18"]
    assert run(scripted, multi("max(check, fuzzy)", [EQUAL, FUZZY]), "abcd", "abce").reward == 0.75
    assert run(scripted, multi("1 - check", EQUAL)).reward == 0
    engine.say('{"result": "bad"}')
    assert run(scripted, multi("label", {"label": LABEL})).reward == 0
    engine.say('{"result": "excellent"}')
    result = run(scripted, multi("label + exact", {"label": LABEL, "exact": EQUAL}))
    assert result.reward == 1  # a part that fails counts as 0
    assert result.metadata.errors.to_dict()["model_grader_parse_error"]


@pytest.mark.parametrize(
    ("grader", "flag"),
    [
        ({**EQUAL, "input": "{{item.nope}}"}, "invalid_variable_error"),
        ({**EQUAL, "input": "{{sample.output_json.x}}"}, "sample_parse_error"),
        (multi("1 / (check - 1)", [EQUAL]), "other_error"),
        ({**FUZZY, "input": "x" * 200_001}, "other_error"),
        (multi("check", [{**EQUAL, "input": "{{item.nope}}"}]), "invalid_variable_error"),
        ({**SCORE, "input": [{"role": "user", "content": {"type": "input_image", "image_url": "https://x"}}]},
         "other_error"),
        ({**SCORE, "input": [{"role": "user", "content": "x" * 5000}]}, "model_grader_server_error"),
    ],
)  # fmt: skip
def test_what_fails_is_flagged(scripted: OpenAI, grader: Any, flag: str) -> None:
    result = run(scripted, grader)
    flags = result.metadata.errors.to_dict()
    assert result.reward == 0
    assert [name for name, value in flags.items() if value is True] == [flag]


def test_python_graders(open_server: Bare, bare_client: OpenAI) -> None:
    client = open_server.client()
    try:
        assert run(client, PYTHON, label="ab").reward == 0.5
    except openai.PermissionDeniedError as error:
        pytest.skip(error.message)
    assert run(client, multi("py * 2", [PYTHON]), label="ab").reward == 1
    result = run(client, {**PYTHON, "source": "def grade(sample, item):\n    return open('/etc/passwd')"})
    errors = result.metadata.errors.to_dict()
    assert (result.reward, errors["python_grader_runtime_error"]) == (0, True)
    assert "PermissionError" in errors["python_grader_runtime_error_details"]


def test_python_graders_are_off_until_they_are_allowed(bare_client: OpenAI) -> None:
    for grader in (PYTHON, multi("py", {"py": PYTHON})):
        with pytest.raises(openai.PermissionDeniedError, match="--python-graders"):
            run(bare_client, grader)
        assert bare_client.fine_tuning.alpha.graders.validate(grader=grader).grader is not None


@pytest.mark.parametrize(
    "grader",
    [EQUAL, FUZZY, SCORE, PYTHON, {**FUZZY, "pass_threshold": 0.8}, {**SCORE, "range": [0, 10]},
     multi("a + b", {"a": EQUAL, "b": LABEL}), multi("check", [EQUAL]), multi("check", EQUAL)],
)  # fmt: skip
def test_validate_gives_the_grader_back(bare: Bare, grader: Any) -> None:
    with bare.http() as http:
        assert http.post("/fine_tuning/alpha/graders/validate", json={"grader": grader}).json() == {"grader": grader}


_WRONG: list[tuple[Any, str, str]] = [
    ({**EQUAL, "operation": "is"}, "grader.operation", "invalid_value"),
    ({**EQUAL, "type": "regex"}, "grader.type", "invalid_value"),
    (LABEL, "grader.type", "invalid_value"),  # inside multi only, as at OpenAI
    (multi("x", {"x": multi("y", [EQUAL])}), "grader.graders.x.type", "invalid_value"),
    ({**EQUAL, "more": 1}, "grader.more", "unknown_parameter"),
    ({**EQUAL, "name": ""}, "grader.name", "empty_string"),
    ({**EQUAL, "input": "{{item}}"}, "grader.input", "invalid_grader"),
    ({**EQUAL, "reference": "{{sample.text}}"}, "grader.reference", "invalid_grader"),
    ({**EQUAL, "reference": "{{item.label"}, "grader.reference", "invalid_grader"),
    ({**FUZZY, "input": "{{sample.output_text}"}, "grader.input", "invalid_grader"),
    ({**SCORE, "input": [{"role": "user", "content": "Is {{item.label right?"}]}, "grader.input", "invalid_grader"),
    (
        multi("x", {"x": {**LABEL, "input": [*LABEL["input"], {"role": "user", "content": ["{{item.label"]}]}}),
        "grader.graders.x.input",
        "invalid_grader",
    ),
    ({**FUZZY, "evaluation_metric": "rouge_6"}, "grader.evaluation_metric", "invalid_value"),
    ({**PYTHON, "source": "#" * 256 * 1024}, "grader.source", "invalid_value"),
    ({**SCORE, "model": "gpt-nope"}, "grader.model", "model_not_found"),
    ({**SCORE, "range": [1]}, "grader.range", "array_below_min_length"),
    ({**SCORE, "range": [1, 1]}, "grader.range", "invalid_value"),
    ({**SCORE, "input": []}, "grader.input", "empty_array"),
    (multi("check +", [EQUAL]), "grader.calculate_output", "invalid_grader"),
    (multi("0.5 * text_similarity_score", [EQUAL]), "grader.calculate_output", "invalid_grader"),
    (multi("check", [EQUAL, EQUAL]), "grader.graders", "invalid_grader"),
    (multi("x", {"x": {**LABEL, "passing_labels": ["fine"]}}), "grader.graders.x.passing_labels", "invalid_grader"),
]


@pytest.mark.parametrize(("grader", "param", "code"), _WRONG, ids=[f"{case[1]}-{case[2]}" for case in _WRONG])
@pytest.mark.parametrize("call", ["run", "validate"])
def test_what_is_wrong_is_refused(bare: Bare, call: str, grader: Any, param: str, code: str) -> None:
    body = {"grader": grader} | ({"model_sample": "x"} if call == "run" else {})
    with bare.http() as http:
        answer = http.post(f"/fine_tuning/alpha/graders/{call}", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code), error


def test_another_projects_model_judges_nobody(a: OpenAI, b: OpenAI, keyed: Bare, tmp_path: Path) -> None:
    name = make_model(keyed, a, "ft:gpt-4o-mini-2024-07-18:personal:judge:00000001", tmp_path / "adapter")
    assert a.fine_tuning.alpha.graders.validate(grader={**SCORE, "model": name}).grader
    with pytest.raises(openai.BadRequestError) as caught:
        b.fine_tuning.alpha.graders.validate(grader={**SCORE, "model": name})
    assert body_of(caught.value)["code"] == "model_not_found"


@pytest.mark.parametrize("body", [{}, {"grader": EQUAL}, {"model_sample": "x"}, {"grader": EQUAL, "model_sample": 1}])
def test_run_needs_a_grader_and_a_sample(bare: Bare, body: Any) -> None:
    with httpx.Client(base_url=f"{bare.url}/v1") as http:
        assert http.post("/fine_tuning/alpha/graders/run", json=body).status_code == 400


REGEX = """
import re
from typing import Literal
from luthier.evaluation.graders.grader_type import GraderType
from luthier.types.common import Request

class RegexRequest(Request):
    type: Literal["regex"]
    name: str
    pattern: str

class RegexGrader(GraderType[RegexRequest]):
    request = RegexRequest

    def problem(self, grader):
        return None if grader.pattern else ("pattern", "an empty pattern matches everything")

    def reward(self, grader, sample, data_item, context):
        return float(re.search(grader.pattern, sample.text) is not None)
"""


@pytest.fixture
def _regex_grader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A grader type of another distribution."""
    entries = {"regex": "acme_graders:RegexGrader"}
    install(monkeypatch, tmp_path / "acme", "acme", "luthier.graders", entries, acme_graders=REGEX)
    plugins.load.cache_clear()
    yield
    plugins.load.cache_clear()
    grader_type.cache_clear()


@pytest.mark.usefixtures("_regex_grader")
def test_a_grader_of_a_plugin_is_run_and_validated(bare: Bare, bare_client: OpenAI) -> None:
    regex = {"type": "regex", "name": "digits", "pattern": "[0-9]+"}
    response = run(bare_client, regex, "42 is the answer")
    assert (response.reward, response.metadata.type) == (1, "regex")
    assert run(bare_client, multi("digits + check", [regex, EQUAL]), "right").reward == 1
    with bare.http() as http:
        assert http.post("/fine_tuning/alpha/graders/validate", json={"grader": regex}).json() == {"grader": regex}
        for grader, param in [({**regex, "more": 1}, "grader.more"), ({**regex, "pattern": ""}, "grader.pattern"),
                              ({**regex, "type": "regexp"}, "grader.type")]:  # fmt: skip
            response = http.post("/fine_tuning/alpha/graders/validate", json={"grader": grader})
            assert (response.status_code, response.json()["error"]["param"]) == (400, param)
