"""The questions for old models, from validation files, training files, files of prompts and stored completions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.generate.errors import OptionsError
from luthier.language import say
from luthier.types.names import completes_text

Source = Literal["validation", "training", "prompts", "stored_completions"]
Definitions = Literal["full", "none"]
Endpoint = Literal["/v1/chat/completions", "/v1/completions"]
_DEFINITION_KEYS = ("tools", "functions")
_TOKENS_PER_MESSAGE = 16  # a generous bound for what a chat template adds around a message
_MAX_IMAGE_TOKENS = 50_000  # an upper bound for an image, in the models that count the most tokens for it
_MAX_STOP_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Question:
    """A request to a model: a conversation, or a text to complete if `body` has a `prompt`.

    `definitions` says whether the request contains the example's function definitions; None if there are none.
    """

    body: dict[str, Any]
    source: Source
    definitions: Definitions | None = None
    reference: dict[str, Any] | None = None  # the assistant's message of the example

    @property
    def id(self) -> str:
        """An id derived from the body, so that equal questions have the same id in every run."""
        canonical = json.dumps(self.body, sort_keys=True, ensure_ascii=True)
        return "q-" + hashlib.sha256(canonical.encode()).hexdigest()[:20]

    @property
    def endpoint(self) -> Endpoint:
        return "/v1/completions" if "prompt" in self.body else "/v1/chat/completions"

    @property
    def max_prompt_tokens(self) -> int:
        """An upper bound for the prompt's tokens: no tokenizer needs more than one token per byte."""
        text, images = _text_and_images(self.body)
        messages = len(self.body.get("messages", ()))
        return len(text.encode()) + images * _MAX_IMAGE_TOKENS + _TOKENS_PER_MESSAGE * messages

    @property
    def typical_tokens(self) -> tuple[int, int]:
        """Estimated prompt and completion tokens, at four bytes per token. The cost cap does not use them."""
        text, images = _text_and_images(self.body)
        reply = json.dumps(self.reference, ensure_ascii=False) if self.reference else "x" * 800
        return len(text.encode()) // 4 + images * 1000, len(reply.encode()) // 4


def _text_and_images(body: dict[str, Any]) -> tuple[str, int]:
    """The body as JSON without its images, and the number of images."""
    images = 0

    def strip(value: Any) -> Any:
        nonlocal images
        if isinstance(value, dict):
            if value.get("type") == "image_url":
                images += 1
                return None
            return {key: strip(field) for key, field in value.items()}
        return [strip(field) for field in value] if isinstance(value, list) else value

    return json.dumps(strip(body), ensure_ascii=False), images


def endpoint_of(base: str | None) -> Endpoint:
    """The endpoint of models that were fine-tuned on `base`."""
    return "/v1/completions" if completes_text(base or "") else "/v1/chat/completions"


def read_examples(path: Path, source: Source) -> list[dict[str, Any]]:
    """The examples of a JSONL file as conversations. In a file of prompts, a line may also be plain text.

    Lines that are not examples are left out.
    """
    with path.open(encoding="utf-8", errors="replace") as lines:
        rows = [_parse(line, source) for line in lines if line.strip()]
    return [example for row in rows if (example := _conversation(row))]


def questions_of(
    examples: Sequence[dict[str, Any]],
    source: Source,
    limit: int | None,
    variants: Sequence[Definitions],
    endpoint: Endpoint = "/v1/chat/completions",
) -> list[Question]:
    """The questions of up to `limit` examples, evenly spaced; None for all.

    Examples with function definitions give a question for each of the `variants`. Models that complete texts get only
    the examples that consist of a prompt and its completion.
    """
    stop = common_end(examples) if endpoint == "/v1/completions" else None
    if limit and len(examples) > limit:
        examples = [examples[number * len(examples) // limit] for number in range(limit)]
    if endpoint == "/v1/completions":
        return unique(question for example in examples if (question := _completion_question(example, source, stop)))
    return unique(question for example in examples for question in _chat_questions(example, source, variants))


def unique(questions: Iterable[Question]) -> list[Question]:
    """The questions without repetitions, in their order."""
    return list({question.id: question for question in questions}.values())


def stored_example(completion: dict[str, Any]) -> dict[str, Any]:
    """A recorded stored completion in the form of an example."""
    messages = [
        {key: message[key] for key in ("role", "content", "tool_calls", "tool_call_id", "name") if message.get(key)}
        for message in completion.get("messages") or []
    ]
    choices = completion.get("choices") or [{}]
    answer = choices[0].get("message")
    return {"messages": messages + ([answer] if answer else []), "tools": completion.get("tools") or []}


def common_end(examples: Sequence[dict[str, Any]]) -> str | None:
    """The stop mark at the end of every answer, such as `\n` or ` END`, in data for models that complete texts.

    It occurs nowhere else in an answer and does not begin with a letter or digit. None if there is no such mark.
    """
    texts = {str(reference.get("content") or "") for example in examples if (reference := _split(example)[1])}
    shortest = min(texts, key=len, default="")
    for size in range(1, min(_MAX_STOP_CHARACTERS + 1, len(shortest))):
        end = shortest[-size:]
        if len(texts) > 1 and not end[0].isalnum() and all(text.find(end) == len(text) - size for text in texts):
            return end
    return None


def _parse(line: str, source: Source) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line.strip() if source == "prompts" else None


def _conversation(row: Any) -> dict[str, Any] | None:
    """An example of any kind as messages with definitions; a preference pair becomes its input and preferred answer."""
    if isinstance(row, str):
        return {"messages": [{"role": "user", "content": row}]}
    if not isinstance(row, dict):
        return None
    preference = row.get("input")
    if isinstance(preference, dict):
        preferred = row.get("preferred_output") or row.get("preferred_completion") or [None]
        return {**preference, "messages": [*(preference.get("messages") or []), preferred[-1]]}
    if isinstance(row.get("prompt"), str):
        answer = row.get("completion")
        messages = [{"role": "user", "content": row["prompt"]}]
        return {"messages": messages + ([{"role": "assistant", "content": answer}] if isinstance(answer, str) else [])}
    return row


def _split(example: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The messages without a final answer, and that answer; None if the last message is not the assistant's."""
    messages = [message for message in example.get("messages") or [] if isinstance(message, dict)]
    if messages and messages[-1].get("role") == "assistant":
        return messages[:-1], messages[-1]
    return messages, None


def _chat_questions(example: dict[str, Any], source: Source, variants: Sequence[Definitions]) -> Iterator[Question]:
    prompt, reference = _split(example)
    if not prompt:
        return
    body: dict[str, Any] = {"messages": [_sent(message) for message in prompt]}
    definitions = {key: example[key] for key in _DEFINITION_KEYS if example.get(key)}
    if not definitions:
        yield Question(body, source, None, reference)
        return
    if "parallel_tool_calls" in example and "tools" in definitions:
        definitions["parallel_tool_calls"] = example["parallel_tool_calls"]
    for variant in variants:
        yield Question({**body, **definitions} if variant == "full" else body, source, variant, reference)


def _completion_question(example: dict[str, Any], source: Source, stop: str | None) -> Question | None:
    prompt, reference = _split(example)
    if len(prompt) != 1 or not isinstance(prompt[0].get("content"), str):
        return None
    body = {"prompt": prompt[0]["content"]} | ({"stop": stop} if stop else {})
    return Question(body, source, None, reference)


def _sent(message: dict[str, Any]) -> dict[str, Any]:
    """A message without the keys that only training reads."""
    return {key: value for key, value in message.items() if key != "weight"}


def read_prompts(path: Path) -> list[dict[str, Any]]:
    """The examples of a `--prompts` file. Raises OptionsError if it has none."""
    examples = [example for example in read_examples(path, "prompts") if example.get("messages")]
    if not examples:
        raise OptionsError(say(f"{path} has no prompts.", f"{path} 里没有提示。"))
    return examples
