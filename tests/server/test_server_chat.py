"""Chat completions that are not streamed, on the tiny model with random weights and on the scripted engine."""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import openai
import pytest
from openai import OpenAI
from serving import ScriptedEngine, bare_server, body_of

from luthier.data.rendering.renderer import Renderer

HELLO: list[Any] = [{"role": "user", "content": "Hello, 你好"}]
END = {"256": -100, "257": -100}  # so that the tiny model does not end its answer by itself


def complete(client: OpenAI, **params: Any) -> Any:
    return client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": HELLO, "max_tokens": 12} | params)


def refused(client: OpenAI, **params: Any) -> dict[str, Any]:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, **params)
    return body_of(caught.value)


def test_the_shape_of_an_answer(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=HELLO, max_tokens=5, seed=1)
    response = raw.parse()
    assert raw.headers["x-luthier-served-by"].split(";")[0] == "tiny"  # 8 bits are served where a machine has them
    assert response.id.startswith("chatcmpl-")
    assert (response.object, response.model, response.service_tier) == (
        "chat.completion",
        "gpt-4o-mini-2024-07-18",
        "default",
    )
    assert response.system_fingerprint.startswith("fp_")
    choice = response.choices[0]
    assert (choice.index, choice.message.role, choice.logprobs) == (0, "assistant", None)
    assert choice.message.refusal is None
    assert raw.http_response.json()["choices"][0]["message"].keys() == {"role", "content", "refusal", "annotations"}
    assert response.usage.total_tokens == response.usage.prompt_tokens + response.usage.completion_tokens


def test_a_base_in_a_folder_with_any_name(tiny_base: Path, engine: ScriptedEngine, tmp_path: Path) -> None:
    """Headers hold ASCII only."""
    base = shutil.copytree(tiny_base, tmp_path / "小 模型")
    engine.say("ok")
    with bare_server(tmp_path / "data", base, engine) as running:
        raw = running.client().chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
    assert unquote(raw.headers["x-luthier-served-by"]) == "小 模型"


def test_weights_in_8_bits_are_named(client: OpenAI, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "eight_bits", True)
    for stream in (False, True):
        raw = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=HELLO, stream=stream)
        assert raw.headers["x-luthier-served-by"] == "tiny; weights=int8"
        raw = client.responses.with_raw_response.create(model="gpt-4o-mini", input="hello", stream=stream)
        assert raw.headers["x-luthier-served-by"] == "tiny; weights=int8"


def test_usage_is_exact(client: OpenAI) -> None:
    """A token is a byte, or one of the two special tokens of the template."""
    system = {"role": "system", "content": "Answer."}
    response = complete(client, messages=[system, *HELLO], max_tokens=9, logit_bias=END, n=2)
    text = "<system\nAnswer.>\n<user\nHello, 你好>\n<assistant\n"
    assert response.usage.prompt_tokens == len(text.encode())
    assert response.usage.completion_tokens == 18


def test_length(client: OpenAI) -> None:
    for limit in ({"max_tokens": 3}, {"max_tokens": 9, "max_completion_tokens": 3}):
        response = complete(client, logit_bias=END, **limit)
        assert response.choices[0].finish_reason == "length"
        assert response.usage.completion_tokens == 3


def test_stop_by_itself(client: OpenAI) -> None:
    response = complete(client, logit_bias={"257": 100})
    assert (response.choices[0].finish_reason, response.choices[0].message.content) == ("stop", "")
    assert response.usage.completion_tokens == 0


def test_temperature_0_repeats_itself_and_seeds_differ(client: OpenAI) -> None:
    def answer(**params: Any) -> str:
        return complete(client, max_tokens=10, logit_bias=END, **params).choices[0].message.content

    assert answer(temperature=0) == answer(temperature=0, seed=5)
    assert answer(seed=5) == answer(seed=5)
    assert len({answer(seed=seed) for seed in (1, 2)}) == 2
    assert answer() != answer()
    assert answer(seed=-(2**63)) == answer(seed=-(2**63))
    assert answer(top_p=0, seed=1) == answer(temperature=0)


def test_choices(client: OpenAI) -> None:
    response = complete(client, n=3, seed=3, max_tokens=10, logit_bias=END)
    assert [choice.index for choice in response.choices] == [0, 1, 2]
    texts = [choice.message.content for choice in response.choices]
    assert len(set(texts)) == 3
    assert [
        choice.message.content for choice in complete(client, n=2, seed=3, max_tokens=10, logit_bias=END).choices
    ] == (texts[:2])


def test_more_choices_than_the_queue_holds(client: OpenAI) -> None:
    """A permanent error: clients would retry a transient one without end."""
    error = refused(client, n=65)
    assert (error["param"], error["code"]) == ("n", "integer_above_max_value")


def test_logit_bias_forces_a_token(client: OpenAI) -> None:
    forced = str(sorted({chr(byte) for byte in range(33, 127)}).index("Q"))  # the tiny tokenizer's order
    response = complete(client, logit_bias={forced: 100}, max_tokens=6)
    assert response.choices[0].message.content == "QQQQQQ"
    response = complete(client, logit_bias={forced: 100, "257": -100}, frequency_penalty=2, max_tokens=6)
    assert response.choices[0].message.content == "QQQQQQ"  # a bias of 100 outweighs it
    for unknown in ("99999999999", "258", "100257"):  # tokens of other models
        error = refused(client, logit_bias={unknown: 100})
        assert (error["param"], f"no token {unknown}" in str(error["message"])) == ("logit_bias", True)
    response = complete(client, logit_bias={forced: 100}, max_tokens=2)
    assert response.choices[0].message.content is not None


@pytest.mark.parametrize("key", ["x", "-1", "1.5", "", "１", "9" * 5000])
def test_logit_bias_keys_are_token_ids(client: OpenAI, key: str) -> None:
    assert refused(client, logit_bias={key: 1})["param"] == "logit_bias"


def test_logprobs(client: OpenAI) -> None:
    response = complete(client, logprobs=True, top_logprobs=3, temperature=0, max_tokens=10, logit_bias=END)
    tokens = response.choices[0].logprobs.content
    assert len(tokens) == response.usage.completion_tokens == 10
    for token in tokens:
        assert token.logprob <= 0
        assert bytes(token.bytes).decode("utf-8", "replace") == token.token
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob >= token.top_logprobs[2].logprob
    none = complete(client, logprobs=True, max_tokens=3, logit_bias=END).choices[0].logprobs.content
    assert [token.top_logprobs for token in none] == [[], [], []]


def test_logprobs_are_those_of_the_text(scripted: OpenAI, engine: ScriptedEngine) -> None:
    """The concatenated bytes of the tokens are the content, also when a stop sequence cuts it."""
    engine.say("Grüße, 世界! STOP and on")
    for stop in (None, "STOP", ["世"], ["nothing"]):
        choice = complete(scripted, logprobs=True, stop=stop, max_tokens=100).choices[0]
        joined = b"".join(bytes(token.bytes) for token in choice.logprobs.content)
        assert joined.decode() == choice.message.content


def test_a_character_cut_in_half(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("é")
    response = complete(scripted, logprobs=True, max_tokens=1)
    assert (response.choices[0].message.content, response.choices[0].finish_reason) == ("", "length")
    assert [token.bytes for token in response.choices[0].logprobs.content] == [[0xC3]]


@pytest.mark.parametrize(
    ("stop", "answer", "tokens"),
    [
        ("wor", "Hello, ", 10),
        (["nope", "lo, w"], "Hel", 8),
        (["rld", "wor", "o"], "Hell", 5),
        (["!", "d!"], "Hello, worl", 13),
        (["", "xyz"], "Hello, world!", 13),
        ([], "Hello, world!", 13),
        ("H", "", 1),
    ],
)
def test_stop_sequences(scripted: OpenAI, engine: ScriptedEngine, stop: Any, answer: str, tokens: int) -> None:
    """Stop sequences span tokens: each byte is a token."""
    engine.say("Hello, world!")
    response = complete(scripted, stop=stop, max_tokens=100)
    assert (response.choices[0].message.content, response.choices[0].finish_reason) == (answer, "stop")
    assert response.usage.completion_tokens == tokens
    assert engine.under_way == 0


def test_a_stop_sequence_at_the_last_token_allowed(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("abc")
    assert complete(scripted, stop="c", max_tokens=3).choices[0].finish_reason == "stop"


def test_a_prompt_that_is_far_too_long_is_not_tokenized(
    scripted: OpenAI, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokenizing blocks the whole server, so a prompt that is too long is refused by its beginning."""
    params: list[int] = []

    def counted(reader: Renderer, text: str) -> list[int]:
        params.append(len(text))
        return list(text.encode())

    monkeypatch.setattr(Renderer, "text", counted)
    for ask_for in (
        lambda: scripted.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "long " * 200_000}]
        ),
        lambda: scripted.completions.create(model="gpt-4o-mini", prompt="long " * 200_000),
    ):
        params.clear()
        with pytest.raises(openai.BadRequestError, match=r"maximum context length is 4096 tokens.* more than 8192"):
            ask_for()
        assert 0 < sum(params) <= 16 * engine.context_tokens


def test_many_messages_that_do_not_fit_are_rendered_once(scripted: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering cost is quadratic in the number of assistant messages."""
    monkeypatch.setattr(Renderer, "prompt", lambda *_: pytest.fail("rendered piece by piece"))
    turns: Any = [{"role": ("user", "assistant")[number % 2], "content": "a"} for number in range(1001)]
    with pytest.raises(openai.BadRequestError) as caught:
        scripted.chat.completions.create(model="gpt-4o-mini", messages=turns)
    assert body_of(caught.value)["code"] == "context_length_exceeded"


def test_context_length(client: OpenAI) -> None:
    error = refused(client, max_tokens=128_001)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert "maximum context length is 2048 tokens" in str(error["message"])
    long = [{"role": "user", "content": "x" * 2100}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="gpt-4o-mini", messages=long)
    assert "your messages resulted in" in str(body_of(caught.value)["message"])


@pytest.mark.parametrize("limit", [{"max_tokens": 2049}, {"max_tokens": 16_384}, {"max_completion_tokens": 128_000}])
def test_a_limit_that_is_legal_for_a_hosted_model_is_a_bound(
    scripted: OpenAI, engine: ScriptedEngine, limit: Any
) -> None:
    """Clients set the largest output of the hosted model; the rest of the context is the bound then."""
    engine.say("ab", endless=True)
    response = scripted.chat.completions.create(model="gpt-4o-mini", messages=HELLO, **limit)
    assert response.choices[0].finish_reason == "length"
    most = min(engine.context_tokens - response.usage.prompt_tokens, *limit.values())
    assert response.usage.completion_tokens == most


@pytest.mark.parametrize("role", ["user", "system", "developer", "tool"])
def test_content_that_is_missing(client: OpenAI, raw: httpx.Client, role: str) -> None:
    for content, words in (({}, "null"), ({"content": None}, "null"), ({"content": []}, "empty array")):
        messages = [{"role": "user", "content": ""}, {"role": role, "tool_call_id": "x", **content}]
        answer = raw.post("/chat/completions", json={"model": "gpt-4o-mini", "messages": messages})
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], words in error["message"]) == (400, "messages[1].content", True)


@pytest.mark.parametrize("key", ["cache_control", "id", "x"])
@pytest.mark.parametrize(
    ("role", "part"), [("user", {"type": "text", "text": "a"}), ("assistant", {"type": "refusal", "refusal": "a"})]
)
def test_a_key_too_many_in_a_part(raw: httpx.Client, key: str, role: str, part: Any) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": role, "content": [part, part | {key: {"type": "text"}}]}]
    error = raw.post("/chat/completions", json={"model": "gpt-4o-mini", "messages": messages}).json()["error"]
    assert error["param"] == f"messages[1].content[1].{key}"


def test_roles_and_content_parts(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("ok")
    complete(
        scripted,
        messages=[
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": None},
            {"role": "user", "content": "<|im_end|>three"},
        ],
    )
    assert "<|im_start|>system\nBe kind.<|im_end|>" in engine.prompts[0]
    assert "<|im_start|>user\none two<|im_end|>" in engine.prompts[0]
    assert engine.prompts[0].endswith("<|im_start|>assistant\n")


def test_accepted_and_of_no_effect(client: OpenAI) -> None:
    extra = {
        "user": "u",
        "metadata": {"a": "b"},
        "service_tier": "auto",
        "store": False,
        "response_format": {"type": "text"},
        "modalities": ["text"],
        "prompt_cache_key": "k",
        "prompt_cache_options": {},
        "safety_identifier": "s",
        "parallel_tool_calls": True,
        "prediction": {"type": "content", "content": "x"},
        "n": None,
        "stop": None,
    }
    assert complete(client, **extra).choices


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("web_search_options", {}),
        ("moderation", {"model": "omni-moderation-latest"}),
    ],
)
def test_what_is_not_here_is_refused_by_name(client: OpenAI, param: str, value: Any) -> None:
    error = refused(client, extra_body={param: value})
    assert (error["param"], error["code"]) == (param, "unsupported_parameter")
    assert f"'{param}'" in str(error["message"])


@pytest.mark.parametrize(
    ("param", "params", "there"),
    [("reasoning_effort", "low", "none"), ("verbosity", "low", "medium"), ("modalities[1]", ["text", "audio"], "text")],
)
def test_the_one_value_that_is_here_is_named(client: OpenAI, param: str, params: Any, there: str) -> None:
    name = param.partition("[")[0]
    error = refused(client, extra_body={name: params})
    assert (error["param"], error["code"]) == (param, "invalid_value")
    assert str(error["message"]).endswith(f"Supported values are: '{there}'.")
    assert complete(client, extra_body={name: [there] if name == "modalities" else there}).choices


def test_parameters_that_need_another(client: OpenAI) -> None:
    assert "only allowed when 'logprobs'" in str(refused(client, top_logprobs=2)["message"])
    assert "only allowed when 'stream'" in str(refused(client, stream_options={"include_usage": True})["message"])


def test_unknown_models(client: OpenAI) -> None:
    for name in ("gpt-nope", "ft:gpt-4o-mini:personal::abcdefgh", "/etc/passwd", "../tiny"):
        with pytest.raises(openai.NotFoundError) as caught:
            complete(client, model=name)
        error = body_of(caught.value)
        message, _, hint = str(error.pop("message")).partition("access to it.")
        assert message == f"The model `{name}` does not exist or you do not have "
        assert ("LUTHIER_ALIASES" in hint) is name.startswith("ft:")
        assert error == {
            "type": "invalid_request_error",
            "param": None,
            "code": "model_not_found",
        }
