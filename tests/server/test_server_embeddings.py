"""`/v1/embeddings` through the official client, on the tiny base."""

import base64
import math
import struct
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from openai import OpenAI
from serving import Bare, body_of, hang_up, until
from transformers import AutoModelForCausalLM

from luthier.data.rendering.renderer import Renderer

MODEL = "text-embedding-3-small"
BASE = "gpt-4o-mini"  # every local model embeds; ids are those of its own tokenizer


def embed(client: OpenAI, params: Any, **options: Any) -> list[list[float]]:
    """The vectors as floats, from either encoding."""
    return [entry.embedding for entry in client.embeddings.create(model=MODEL, input=params, **options).data]


def test_the_mean_of_the_hidden_states(client: OpenAI, tiny_base: Path) -> None:
    response = client.embeddings.create(model=MODEL, input="abc")
    assert (response.object, response.model, response.data[0].object, response.data[0].index) == (
        "list",
        MODEL,
        "embedding",
        0,
    )
    assert (response.usage.prompt_tokens, response.usage.total_tokens) == (3, 3)
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.bfloat16)
    with torch.inference_mode():
        ids = torch.tensor([Renderer(tiny_base).text("abc")])
        expected = model(ids, output_hidden_states=True).hidden_states[-1][0].float().mean(0)
    expected = expected / expected.norm()
    assert response.data[0].embedding == pytest.approx(
        expected.tolist(), abs=0.02
    )  # the server may use float32 or bfloat16


def test_texts_and_tokens_in_their_order(client: OpenAI) -> None:
    first, second = embed(client, ["first", "a second text"])
    assert embed(client, "first")[0] == pytest.approx(first, abs=0.02)
    assert first != pytest.approx(second, abs=0.02)
    ids = client.embeddings.create  # a token of the tiny base is a byte
    assert len(ids(model=BASE, input=[10, 20, 30]).data) == 1
    assert len(ids(model=BASE, input=[[10, 20], [30]]).data) == 2
    assert embed(client, ["a second text", "first"])[1] == pytest.approx(first, abs=0.02)
    assert all(math.hypot(*vector) == pytest.approx(1, abs=1e-5) for vector in (first, second))


def test_base64_is_the_same_as_floats(raw: httpx.Client) -> None:
    answers = [
        raw.post("/embeddings", json={"model": MODEL, "input": "x", **form}).json()["data"][0]["embedding"]
        for form in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"})
    ]
    assert answers[0] == answers[1]
    decoded = struct.unpack(f"<{len(answers[0])}f", base64.b64decode(answers[2]))
    assert list(decoded) == pytest.approx(answers[0], abs=1e-6)


def test_dimensions(client: OpenAI) -> None:
    whole, short = embed(client, "text")[0], embed(client, "text", dimensions=4)[0]
    length = math.hypot(*whole[:4])
    assert short == pytest.approx([value / length for value in whole[:4]], abs=1e-5)
    assert embed(client, "text", dimensions=32)[0] == pytest.approx(whole, abs=1e-5)
    with pytest.raises(openai.BadRequestError) as caught:
        embed(client, "text", dimensions=33)
    message = "Invalid value for 'dimensions' = 33. Must be less than or equal to 32."
    assert body_of(caught.value)["message"] == message


@pytest.mark.parametrize(
    ("body", "param", "reason"),
    [
        ({"input": ""}, "input", "cannot be an empty string"),
        ({"input": ["a", ""]}, "input", "cannot be an empty string"),
        ({"input": []}, "input", "empty array"),
        ({"input": ["a"] * 2049}, "input", "2048"),
        ({"input": [[]]}, "input[0]", "empty array"),
        ({"input": [300], "model": BASE}, "input", "no token 300"),
        ({"input": [[1], [-1]], "model": BASE}, "input[1]", "no token -1"),
        ({"input": [15, 19]}, "input", "ids of OpenAI's tokenizer"),
        ({"input": [[15, 19], [17]]}, "input", "check_embedding_ctx_length=False"),
        ({"input": [[300]], "model": "text-embedding-ada-002"}, "input", "ids of OpenAI's tokenizer"),
        ({"input": {"a": 1}}, "input", "expected one of"),
        ({"input": "x" * 2049}, None, "maximum context length is 2048 tokens"),
        ({"input": ["x" * 2000] * 151}, "input", "max 300000 tokens per request"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "'float' and 'base64'"),
        ({"input": "a", "dimensions": 0}, "dimensions", ">= 1"),
        ({"input": "a", "colour": "red"}, "colour", "Unknown parameter"),
        ({}, "input", "Missing required parameter"),
    ],
)
def test_refusals(raw: httpx.Client, body: dict[str, Any], param: str | None, reason: str) -> None:
    answer = raw.post("/embeddings", json={"model": MODEL, **body})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert reason in error["message"]
    assert error["param"] == param


def test_which_models_embed(client: OpenAI) -> None:
    """OpenAI's embedding names and every local model embed; embedding names do not chat."""
    listed = {model.id for model in client.models.list()}
    for name in (MODEL, "text-embedding-3-large", "text-embedding-ada-002"):
        assert name in listed
        assert client.models.retrieve(name).id == name
    assert client.embeddings.create(model="gpt-4o-mini", input="a").data
    for call in (
        lambda: client.embeddings.create(model="text-embedding-9", input="a"),
        lambda: client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "a"}]),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert body_of(caught.value)["code"] == "model_not_found"


def test_a_client_that_hangs_up_frees_its_place(bare: Bare, tiny_base: Path) -> None:
    embed(bare.client(), "the engine is there")
    (engine,) = list(bare_engines(bare))
    body = {"model": MODEL, "input": ["x" * 2000] * 150}
    hang_up(f"{bare.url}/v1/embeddings", body, lambda: not engine.idle)
    until(lambda: engine.idle)
    assert embed(bare.client(), "x")


def bare_engines(bare: Bare) -> Any:
    return bare.app.state.luthier.engines._engines.values()
