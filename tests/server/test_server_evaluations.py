"""`/v1/evaluations`: what it takes and what it refuses."""

import math

import openai
import pytest
from openai import OpenAI

from luthier.evaluation.service import OpenAIService
from server.serving import body_of

CHAT = [
    {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "ab" * n}]} for n in (1, 5)
]


def test_weights_and_the_context_are_heeded(client: OpenAI) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "abc", "weight": 0}]
    silent, twice = {"messages": [*turns, *CHAT[0]["messages"]]}, {"messages": CHAT[0]["messages"] * 2}
    long = {"messages": [{"role": "user", "content": "q" * 3000}, {"role": "assistant", "content": "a"}]}
    found = OpenAIService(client).losses("gpt-3.5-turbo", [silent, twice, long])
    assert [(one.tokens, one.weight, one.truncated) for one in found] == [(3, 3, False), (6, 6, False), (0, 0, True)]
    assert all(math.isfinite(one.loss) and 0 <= one.correct_tokens <= one.tokens for one in found)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "nobody", "examples": CHAT}, 404, None),
        ({"model": "gpt-4o", "examples": [CHAT[0], {"messages": [{"role": "king"}]}]}, 400, "examples[1]"),
        ({"model": "gpt-4o", "examples": [{"prompt": 1, "completion": None}]}, 400, "examples[0]"),
        ({"model": "gpt-4o", "examples": []}, 400, "examples"),
        ({"model": "gpt-4o", "examples": CHAT * 40}, 400, "examples"),
    ],
)
def test_what_has_no_loss_is_refused(client: OpenAI, body: object, status: int, param: str | None) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.post("/evaluations/losses", cast_to=object, body=body)
    assert (caught.value.status_code, body_of(caught.value)["param"]) == (status, param)
