"""Chat completions as whole answers. The tiny model writes bytes at random, the scripted one what it is told."""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import openai
import pytest
from openai import OpenAI
from serving import ScriptedEngine, bare_server, body_of

from luthier.data.rendering.renderer import Renderer

HELLO: list[Any] = [{"role": "user", "content": "Hello, 你好"}]
END = {"256": -100, "257": -100}  # so that the tiny model does not end its answer by itself


def ask(client: OpenAI, **given: Any) -> Any:
    return client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": HELLO, "max_tokens": 12} | given)


def refused(client: OpenAI, **given: Any) -> dict[str, Any]:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **given)
    return body_of(caught.value)


def test_the_shape_of_an_answer(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=HELLO, max_tokens=5, seed=1)
    made = raw.parse()
    assert raw.headers["x-luthier-served-by"] == "tiny"
    assert made.id.startswith("chatcmpl-")
    assert (made.object, made.model, made.service_tier) == ("chat.completion", "gpt-4o-mini-2024-07-18", "default")
    assert made.system_fingerprint.startswith("fp_")
    choice = made.choices[0]
    assert (choice.index, choice.message.role, choice.logprobs) == (0, "assistant", None)
    assert choice.message.refusal is None
    assert raw.http_response.json()["choices"][0]["message"].keys() == {"role", "content", "refusal", "annotations"}
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens


def test_a_base_in_a_folder_with_any_name(tiny_base: Path, engine: ScriptedEngine, tmp_path: Path) -> None:
    """Headers hold ASCII only."""
    base = shutil.copytree(tiny_base, tmp_path / "小 模型")
    engine.say("ok")
    with bare_server(tmp_path / "data", base, engine) as running:
        raw = running.client().chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
    assert unquote(raw.headers["x-luthier-served-by"]) == "小 模型"


def test_usage_is_exact(client: OpenAI) -> None:
    """A token is a byte, or one of the two special tokens of the template."""
    system = {"role": "system", "content": "Answer."}
    made = ask(client, messages=[system, *HELLO], max_tokens=9, logit_bias=END, n=2)
    text = "<system\nAnswer.>\n<user\nHello, 你好>\n<assistant\n"
    assert made.usage.prompt_tokens == len(text.encode())
    assert made.usage.completion_tokens == 18


def test_length(client: OpenAI) -> None:
    for limit in ({"max_tokens": 3}, {"max_tokens": 9, "max_completion_tokens": 3}):
        made = ask(client, logit_bias=END, **limit)
        assert made.choices[0].finish_reason == "length"
        assert made.usage.completion_tokens == 3


def test_stop_by_itself(client: OpenAI) -> None:
    made = ask(client, logit_bias={"257": 100})
    assert (made.choices[0].finish_reason, made.choices[0].message.content) == ("stop", "")
    assert made.usage.completion_tokens == 0


def test_temperature_0_repeats_itself_and_seeds_differ(client: OpenAI) -> None:
    def said(**given: Any) -> str:
        return ask(client, max_tokens=10, logit_bias=END, **given).choices[0].message.content

    assert said(temperature=0) == said(temperature=0, seed=5)
    assert said(seed=5) == said(seed=5)
    assert len({said(seed=seed) for seed in (1, 2)}) == 2
    assert said() != said()
    assert said(seed=-(2**63)) == said(seed=-(2**63))
    assert said(top_p=0, seed=1) == said(temperature=0)


def test_choices(client: OpenAI) -> None:
    made = ask(client, n=3, seed=3, max_tokens=10, logit_bias=END)
    assert [choice.index for choice in made.choices] == [0, 1, 2]
    texts = [choice.message.content for choice in made.choices]
    assert len(set(texts)) == 3
    assert [choice.message.content for choice in ask(client, n=2, seed=3, max_tokens=10, logit_bias=END).choices] == (
        texts[:2]
    )


def test_more_choices_than_the_queue_holds(client: OpenAI) -> None:
    """Said once and for all: a status that clients try again would never come to an end."""
    error = refused(client, n=65)
    assert (error["param"], error["code"]) == ("n", "integer_above_max_value")


def test_logit_bias_forces_a_token(client: OpenAI) -> None:
    forced = str(sorted({chr(byte) for byte in range(33, 127)}).index("Q"))  # the tiny tokenizer's order
    made = ask(client, logit_bias={forced: 100}, max_tokens=6)
    assert made.choices[0].message.content == "QQQQQQ"
    made = ask(client, logit_bias={forced: 100, "257": -100}, frequency_penalty=2, max_tokens=6)
    assert made.choices[0].message.content == "QQQQQQ"  # a bias of 100 outweighs it
    made = ask(client, logit_bias={"99999999999": 100}, max_tokens=2)  # a token of another model's
    assert made.choices[0].message.content is not None


@pytest.mark.parametrize("key", ["x", "-1", "1.5", "", "１", "9" * 5000])
def test_logit_bias_keys_are_token_ids(client: OpenAI, key: str) -> None:
    assert refused(client, logit_bias={key: 1})["param"] == "logit_bias"


def test_logprobs(client: OpenAI) -> None:
    made = ask(client, logprobs=True, top_logprobs=3, temperature=0, max_tokens=10, logit_bias=END)
    tokens = made.choices[0].logprobs.content
    assert len(tokens) == made.usage.completion_tokens == 10
    for token in tokens:
        assert token.logprob <= 0
        assert bytes(token.bytes).decode("utf-8", "replace") == token.token
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob >= token.top_logprobs[2].logprob
    none = ask(client, logprobs=True, max_tokens=3, logit_bias=END).choices[0].logprobs.content
    assert [token.top_logprobs for token in none] == [[], [], []]


def test_logprobs_are_those_of_the_text(scripted: OpenAI, engine: ScriptedEngine) -> None:
    """Bytes of the tokens, put together, are the content, also where a stop sequence cut it."""
    engine.say("Grüße, 世界! STOP and on")
    for stop in (None, "STOP", ["世"], ["nothing"]):
        choice = ask(scripted, logprobs=True, stop=stop, max_tokens=100).choices[0]
        joined = b"".join(bytes(token.bytes) for token in choice.logprobs.content)
        assert joined.decode() == choice.message.content


def test_a_character_cut_in_half(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("é")
    made = ask(scripted, logprobs=True, max_tokens=1)
    assert (made.choices[0].message.content, made.choices[0].finish_reason) == ("", "length")
    assert [token.bytes for token in made.choices[0].logprobs.content] == [[0xC3]]


@pytest.mark.parametrize(
    ("stop", "said", "tokens"),
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
def test_stop_sequences(scripted: OpenAI, engine: ScriptedEngine, stop: Any, said: str, tokens: int) -> None:
    """They span tokens here: each byte is one."""
    engine.say("Hello, world!")
    made = ask(scripted, stop=stop, max_tokens=100)
    assert (made.choices[0].message.content, made.choices[0].finish_reason) == (said, "stop")
    assert made.usage.completion_tokens == tokens
    assert engine.under_way == 0


def test_a_stop_sequence_at_the_last_token_allowed(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("abc")
    assert ask(scripted, stop="c", max_tokens=3).choices[0].finish_reason == "stop"


def test_a_prompt_that_is_far_too_long_is_not_tokenized(
    scripted: OpenAI, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer keeps the whole server waiting; what is refused anyway is seen by its beginning."""
    given: list[int] = []

    def counted(reader: Renderer, text: str) -> list[int]:
        given.append(len(text))
        return list(text.encode())

    monkeypatch.setattr(Renderer, "text", counted)
    for ask_for in (
        lambda: scripted.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "long " * 200_000}]
        ),
        lambda: scripted.completions.create(model="gpt-4o-mini", prompt="long " * 200_000),
    ):
        given.clear()
        with pytest.raises(openai.BadRequestError, match=r"maximum context length is 4096 tokens.* more than 8192"):
            ask_for()
        assert 0 < sum(given) <= 16 * engine.context_tokens


def test_many_messages_that_do_not_fit_are_rendered_once(scripted: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cutting a prompt at each answer costs the square of their number."""
    monkeypatch.setattr(Renderer, "prompt", lambda *_: pytest.fail("rendered piece by piece"))
    turns: Any = [{"role": ("user", "assistant")[at % 2], "content": "a"} for at in range(1001)]
    with pytest.raises(openai.BadRequestError) as caught:
        scripted.chat.completions.create(model="gpt-4o-mini", messages=turns)
    assert body_of(caught.value)["code"] == "context_length_exceeded"


def test_context_length(client: OpenAI) -> None:
    error = refused(client, max_tokens=4000)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert "maximum context length is 2048 tokens" in str(error["message"])
    long = [{"role": "user", "content": "x" * 2100}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="gpt-4o-mini", messages=long)
    assert "your messages resulted in" in str(body_of(caught.value)["message"])


def test_roles_and_content_parts(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("ok")
    ask(
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
    assert ask(client, **extra).choices


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
    ("param", "given", "there"),
    [("reasoning_effort", "low", "none"), ("verbosity", "low", "medium"), ("modalities[1]", ["text", "audio"], "text")],
)
def test_the_one_value_that_is_here_is_named(client: OpenAI, param: str, given: Any, there: str) -> None:
    name = param.partition("[")[0]
    error = refused(client, extra_body={name: given})
    assert (error["param"], error["code"]) == (param, "invalid_value")
    assert str(error["message"]).endswith(f"Supported values are: '{there}'.")
    assert ask(client, extra_body={name: [there] if name == "modalities" else there}).choices


def test_parameters_that_need_another(client: OpenAI) -> None:
    assert "only allowed when 'logprobs'" in str(refused(client, top_logprobs=2)["message"])
    assert "only allowed when 'stream'" in str(refused(client, stream_options={"include_usage": True})["message"])


def test_unknown_models(client: OpenAI) -> None:
    for name in ("gpt-nope", "ft:gpt-4o-mini:personal::abcdefgh", "/etc/passwd", "../tiny"):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(client, model=name)
        assert body_of(caught.value) == {
            "message": f"The model `{name}` does not exist or you do not have access to it.",
            "type": "invalid_request_error",
            "param": None,
            "code": "model_not_found",
        }
