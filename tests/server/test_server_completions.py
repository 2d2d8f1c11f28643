"""`/v1/completions` through the official client: complete and streamed, on the tiny base and on a scripted engine."""

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from openai import OpenAI
from serving import Bare, ScriptedEngine, body_of, hang_up, until
from transformers import AutoModelForCausalLM

from luthier.data.examples.adapter_metadata import AdapterMetadata
from luthier.data.rendering.renderer import Renderer
from luthier.store import Event
from luthier.types.errors import RateLimitError

MODEL = "gpt-3.5-turbo-instruct"


def complete(client: OpenAI, prompt: Any = "Once", **params: Any) -> Any:
    return client.completions.create(model=MODEL, prompt=prompt, **params)


def test_the_shape_of_an_answer(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say(" upon a time")
    response = complete(scripted)
    assert response.id.startswith("cmpl-")
    assert (response.object, response.model) == ("text_completion", MODEL)
    (choice,) = response.choices
    assert (choice.text, choice.index, choice.logprobs, choice.finish_reason) == (" upon a time", 0, None, "stop")
    assert (response.usage.prompt_tokens, response.usage.completion_tokens, response.usage.total_tokens) == (4, 12, 16)
    assert response.system_fingerprint
    assert engine.prompts == ["Once"]  # as it stands, in no template


def test_sixteen_tokens_unless_asked_for_more(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("x" * 100)
    assert (complete(scripted).choices[0].text, complete(scripted).choices[0].finish_reason) == ("x" * 16, "length")
    assert len(complete(scripted, max_tokens=40).choices[0].text) == 40
    for streamed in (False, True):
        response = complete(scripted, max_tokens=0, stream=streamed)
        choices = [chunk.choices[0] for chunk in response] if streamed else response.choices
        assert ([choice.text for choice in choices], choices[-1].finish_reason) == ([""], "length")


def test_prompts_of_every_kind(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("!")
    assert len(complete(scripted, ["one", "two"], n=2).choices) == 4
    assert engine.prompts == ["one", "one", "two", "two"]
    ids = engine.tokenizer.encode("three").ids
    engine.say("!")
    response = complete(scripted, [ids, ids[:2]], echo=True)
    assert [choice.text for choice in response.choices] == ["three!", "th!"]
    assert [choice.index for choice in response.choices] == [0, 1]
    assert complete(scripted, ids).usage.prompt_tokens == 5
    engine.say("!")
    for empty in ("", None, [""]):
        assert complete(scripted, empty, echo=True).choices[0].text == "!"
    assert engine.prompts == ["<|im_end|>"] * 3  # the tiny base has no other border between documents
    engine.say("!")
    assert complete(scripted, "<|im_start|>user\n").usage.prompt_tokens == 6  # special tokens are what they say


def test_more_prompts_than_places(scripted: OpenAI, engine: ScriptedEngine) -> None:
    """A request that is not streamed runs in waves; a stream needs a queue slot for each choice."""
    engine.say("a", "b")
    response = complete(scripted, ["p"] * 100)
    assert [choice.text for choice in response.choices] == ["a", "b"] * 50
    assert response.usage.completion_tokens == 100
    with pytest.raises(openai.BadRequestError):
        complete(scripted, ["p"] * 100, stream=True)


def test_waves_leave_places_and_wait_for_them(
    scripted: OpenAI, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request takes half of the queue at most; after its first wave it waits while the queue is full."""
    engine.say("a")
    engine.may_go_on.clear()  # so that the first wave is submitted before any of it ends
    submit, under_way = engine.submit, [0]

    def submitted(generation: Any, on_token: Any) -> Any:
        if len(under_way) in (41, 42):
            under_way.append(0)
            raise RateLimitError("Too many requests are waiting.")
        response = submit(generation, on_token)
        under_way.append(engine.under_way)
        if engine.under_way == 32:
            engine.may_go_on.set()
        return response

    monkeypatch.setattr(engine, "submit", submitted)
    assert [choice.text for choice in complete(scripted, ["p"] * 100).choices] == ["a"] * 100
    assert max(under_way) == 32
    assert engine.under_way == 0


def test_a_full_queue_is_told_before_anything_is_answered(
    scripted: OpenAI, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "queue_limit", 0)
    with pytest.raises(openai.RateLimitError):
        complete(scripted, ["p"] * 100)


def test_stop_sequences_and_streams(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("a b. c d")
    whole = complete(scripted, stop=[".", "d"])
    assert (whole.choices[0].text, whole.choices[0].finish_reason) == ("a b", "stop")
    chunks = list(complete(scripted, stop=".", stream=True, echo=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "Oncea b"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], whole.usage.total_tokens)
    assert {(chunk.id, chunk.object, chunk.model) for chunk in chunks} == {(chunks[0].id, "text_completion", MODEL)}


def test_cached_tokens_are_reported_whole_and_streamed(
    scripted: OpenAI, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving._Script.cached_tokens", 3)
    engine.say("x")
    whole = complete(scripted)
    *_, last = complete(scripted, stream=True, stream_options={"include_usage": True})
    assert whole.usage.prompt_tokens_details.cached_tokens == last.usage.prompt_tokens_details.cached_tokens == 3


def test_a_stream_of_several(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("one", "two", "three", "four")
    texts = ["", "", "", ""]
    for chunk in complete(scripted, ["p", "q"], n=2, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert sorted(texts) == ["four", "one", "three", "two"]


def test_the_wire(scripted_server: Bare, engine: ScriptedEngine) -> None:
    engine.say("é")
    with scripted_server.http() as http:
        answer = http.post("/completions", json={"model": MODEL, "prompt": "x", "stream": True, "logprobs": 0})
        lines = answer.text.split("\n\n")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert '"tokens": ["bytes:\\\\xc3", "bytes:\\\\xa9"]' in lines[0]
    assert "usage" not in lines[0]
    assert '"finish_reason": "stop"' in lines[1]


def test_best_of_returns_the_likeliest(client: OpenAI) -> None:
    """The usage counts all candidates; the response has the best ones, best first."""
    every = complete(client, n=6, seed=3, logprobs=0, max_tokens=5)
    best = complete(client, n=2, best_of=6, seed=3, logprobs=0, max_tokens=5)
    assert best.usage.completion_tokens == every.usage.completion_tokens

    def mean(choice: Any) -> float:
        return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    expected = sorted((mean(choice) for choice in every.choices), reverse=True)[:2]
    assert [mean(choice) for choice in best.choices] == pytest.approx(expected, abs=1e-3)
    assert complete(client, best_of=3, max_tokens=2).choices[0].logprobs is None


def test_log_probabilities(client: OpenAI) -> None:
    response = complete(client, "ab", logprobs=3, max_tokens=4, seed=1, logit_bias={"257": -100})
    reported = response.choices[0].logprobs
    assert (
        len(reported.tokens)
        == len(reported.token_logprobs)
        == len(reported.top_logprobs)
        == len(reported.text_offset)
        == 4
    )
    assert reported.text_offset[0] == 2
    for token, logprob, top in zip(reported.tokens, reported.token_logprobs, reported.top_logprobs, strict=True):
        assert top[token] == logprob
        assert len(top) in (3, 4)
    assert complete(client, logprobs=0, max_tokens=1).choices[0].logprobs.top_logprobs is None


def test_scoring_a_text(client: OpenAI, tiny_base: Path) -> None:
    """`echo` with `max_tokens` 0 and `logprobs`, as evaluation harnesses send it; complete and streamed."""
    text = "Twelve times eleven."
    (choice,) = complete(client, text, echo=True, max_tokens=0, logprobs=2).choices
    assert (choice.text, choice.finish_reason) == (text, "length")
    reported = choice.logprobs
    assert "".join(reported.tokens) == text
    assert reported.text_offset == list(range(len(text)))
    assert reported.token_logprobs[0] is None
    assert reported.top_logprobs[0] is None
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    ids = torch.tensor([Renderer(tiny_base).text(text)])
    with torch.inference_mode():
        expected = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    # In bfloat16 and with weights in 8 bits, where the server takes them.
    assert reported.token_logprobs[1:] == pytest.approx(expected.tolist(), abs=0.2)
    streamed = [chunk.choices[0] for chunk in complete(client, text, echo=True, max_tokens=0, logprobs=2, stream=True)]
    assert (streamed[0].text, streamed[0].logprobs) == (text, reported)


def test_echo_and_what_follows_have_one_count(client: OpenAI) -> None:
    (choice,) = complete(client, "ab", echo=True, max_tokens=3, logprobs=1, logit_bias={"257": -100}).choices
    reported = choice.logprobs
    assert choice.text.startswith("ab")
    assert reported.tokens[:2] == ["a", "b"]
    assert len(reported.tokens) == 5
    assert reported.text_offset[:3] == [0, 1, 2]


@pytest.mark.parametrize(
    ("params", "param", "message"),
    [
        ({"suffix": "the end"}, "suffix", "not available"),
        ({"n": 3, "best_of": 2}, "best_of", "you must set 'n' (currently 3)"),
        ({"best_of": 2, "stream": True}, "best_of", "cannot be greater than 'n'"),
        ({"best_of": 21}, "best_of", "<= 20"),
        ({"n": 65}, "n", "<= 64"),
        ({"n": 0}, "n", ">= 1"),
        ({"logprobs": 6}, "logprobs", "<= 5"),
        ({"max_tokens": -1}, "max_tokens", ">= 0"),
        ({"max_tokens": 4096}, None, "4100 tokens (4 in your prompt; 4096 for the completion)"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "only allowed when"),
        ({"stop": ["a"] * 5}, "stop", "array too long"),
        ({"prompt": [999]}, "prompt", "no token 999"),
        ({"prompt": [[1], [-3]]}, "prompt[1]", "no token -3"),
        ({"prompt": []}, "prompt", "empty array"),
        ({"prompt": 5}, "prompt", "expected one of"),
        ({"logit_bias": {"x": 1}}, "logit_bias", "Keys must be token ids"),
        ({"messages": []}, "messages", "Unknown parameter"),
    ],
)
def test_refusals(scripted_server: Bare, params: dict[str, Any], param: str | None, message: str) -> None:
    with scripted_server.http() as http:
        answer = http.post("/completions", json={"model": MODEL, "prompt": "Once", **params})
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == param


def test_which_models(client: OpenAI, raw: httpx.Client) -> None:
    for name in ("babbage-002", "davinci-002", "gpt-4o-mini"):
        assert client.completions.create(model=name, prompt="x", max_tokens=1).choices
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="curie", prompt="x")
    assert body_of(caught.value)["code"] == "model_not_found"
    assert raw.post("/completions", json={"prompt": "x"}).json()["error"]["message"] == (
        "you must provide a model parameter"
    )
    assert raw.post("/completions", json={"model": MODEL}).json()["error"]["param"] == "prompt"
    long = raw.post("/completions", json={"model": "x" * 10**6, "prompt": "x"})
    assert (long.status_code, long.json()["error"]["code"]) == (400, "string_above_max_length")
    assert len(long.content) < 1000


@pytest.fixture
def taught_pairs(scripted_server: Bare, tmp_path: Path, tiny_base: Path) -> str:
    """A fine-tuned model with the metadata of one trained on pairs; the scripted engine reads no weights."""
    client = scripted_server.client()
    file = client.files.create(file=("x.jsonl", b"{}\n"), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="babbage-002", training_file=file.id)
    (tmp_path / "adapter").mkdir()
    AdapterMetadata(pairs=True).write(tmp_path / "adapter")
    (tmp_path / "adapter" / "chat_template.jinja").write_bytes((tiny_base / "chat_template.jinja").read_bytes())
    name = f"ft:babbage-002:personal::{job.id[-8:]}"
    scripted_server.store.models.add_checkpoint(
        scripted_server.store.jobs.get(job.id),
        name=name,
        step=1,
        metrics={},
        source=tmp_path / "adapter",
        call_form=None,
        event=Event("made"),
        keep=3,
    )
    return name


def test_a_model_trained_on_pairs_is_asked_as_it_was_taught(
    scripted: OpenAI, engine: ScriptedEngine, taught_pairs: str
) -> None:
    engine.say("Paris")
    response = scripted.completions.create(model=taught_pairs, prompt="Capital of France ->", echo=True)
    assert response.choices[0].text == "Capital of France ->Paris"
    body = "<|im_start|>user\nCapital of France -><|im_end|>\n<|im_start|>assistant\n"
    assert engine.prompts[0].endswith(body)
    engine.say("x")
    scripted.completions.create(model=taught_pairs, prompt=engine.tokenizer.encode("as it is").ids)
    assert engine.prompts == ["as it is"]
    with pytest.raises(openai.BadRequestError):
        scripted.completions.create(model=taught_pairs, prompt="x", echo=True, logprobs=1)


def test_clients_that_hang_up(scripted_server: Bare, engine: ScriptedEngine) -> None:
    engine.say("a", endless=True, pause_s=0.005)
    stream = complete(scripted_server.client(), stream=True, n=2, max_tokens=4000)
    next(stream)
    stream.close()
    until(lambda: engine.under_way == 0)
    body = {"model": MODEL, "prompt": "Once", "max_tokens": 4000}
    hang_up(f"{scripted_server.url}/v1/completions", body, lambda: engine.under_way)
    until(lambda: engine.under_way == 0)
    engine.say("")
