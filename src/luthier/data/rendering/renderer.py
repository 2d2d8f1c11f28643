"""The renderer: messages and tools → token ids and a loss weight per token; token ids → text.

Training and serving share it, so a served model sees exactly what it was trained on. The text is split at both ends of
every assistant answer and the segments are encoded separately, so that an answer has the same tokens in training and
when it is generated. A special token inside the content of a message is encoded as plain characters; only the template
can write a real one.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers.decoders import DecodeStream

from luthier.data.examples.example import Example
from luthier.data.examples.messages import normalize_messages
from luthier.data.rendering.content_guard import ContentGuard
from luthier.data.rendering.survival import check_survival, written
from luthier.data.rendering.template_choice import Vocabulary, choose_template, stored_template
from luthier.data.rendering.template_probes import Need
from luthier.data.rendering.text_encoder import TextEncoder, load_tokenizer
from luthier.data.rendering.thinking_reader import ReasoningMarks
from luthier.data.rendering.turn_composer import TurnComposer
from luthier.data.rendering.whole_conversation import cut_whole
from luthier.types.errors import BaseModelError, RenderError


@dataclass(frozen=True)
class Rendered:
    """A rendered example. `ids`: int [tokens]; `weights`: float [tokens], the loss weights, 0 if not trained."""

    ids: list[int]
    weights: list[float]


class Renderer:
    """The renderer of one base model, or of one adapter with its own template."""

    def __init__(self, base: Path, template: Path | None = None, needs: Collection[Need] = ()) -> None:
        """`base`: a model folder (tokenizer.json, tokenizer_config.json, chat_template.jinja).

        `template`: the file of the template that an adapter was trained with. `needs`: what the base model's answers
        must be able to contain. Raises BaseModelError if the tokenizer or the template is missing or unusable.
        """
        try:
            self._tokenizer = load_tokenizer(base / "tokenizer.json")
            config = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
            tokens = {
                key: _token_text(config[key]) for key in ("bos_token", "eos_token", "pad_token") if config.get(key)
            }
            id_of = self._tokenizer.token_to_id
            added = self._tokenizer.get_added_tokens_decoder().values()
            special = [token.content for token in added if token.special]
            vocabulary = Vocabulary(tokens, id_of, special, [token.content for token in added])
            if template is not None:
                choice = stored_template(template.read_text(encoding="utf-8"), vocabulary)
            else:
                file = base / "chat_template.jinja"
                own = file.read_text(encoding="utf-8") if file.exists() else config.get("chat_template")
                choice = choose_template(own, vocabulary, needs)
            self.choice, self.template, self.call_form = choice, choice.template, choice.form
            self.stop_ids = _stop_ids(base, *map(id_of, [tokens.get("eos_token", ""), *choice.end_marks]))
        except (OSError, ValueError, KeyError, RenderError) as error:
            raise BaseModelError(
                f"The base model {base.name} has no usable tokenizer or chat template: {error}"
            ) from error

    def example(self, example: Example) -> Rendered:
        """A training example. The tokens of assistant answers have the answer's `weight`, all others 0.

        Raises RenderError.
        """
        ids: list[int] = []
        weights: list[float] = []
        for text, weight in self._example_segments(example):
            tokens = self._encode(text)
            ids += tokens
            weights += [weight] * len(tokens)
        return Rendered(ids, weights)

    def batch(self, examples: Sequence[Example]) -> list[Rendered | RenderError]:
        """As `example` for each example, encoded together on all CPU cores; for one that fails, its error instead."""
        segmented: list[list[tuple[str, float]] | RenderError] = []
        for example in examples:
            try:
                segmented.append(self._example_segments(example))
            except RenderError as error:
                segmented.append(error)
        texts = [text for segments in segmented if isinstance(segments, list) for text, _ in segments]
        encoded = iter(self._encoder.encode_all(texts))
        return [self._join(segments, encoded) if isinstance(segments, list) else segments for segments in segmented]

    def _example_segments(self, example: Example) -> list[tuple[str, float]]:
        return self._segments(normalize_messages(example.messages), example.tools, example.definitions)

    @staticmethod
    def _join(segments: list[tuple[str, float]], encoded: Iterator[list[int]]) -> Rendered:
        ids: list[int] = []
        weights: list[float] = []
        for _, weight in segments:
            tokens = next(encoded)
            ids += tokens
            weights += [weight] * len(tokens)
        return Rendered(ids, weights)

    def prompt(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        opening: str = "",
        *,
        definitions: list[dict[str, Any]] | None = None,
        thinking: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """The ids of a conversation, followed by the beginning of an answer.

        Args:
            messages: The conversation, in the API's form.
            tools: Definitions in today's form.
            opening: The text with which the answer begins.
            definitions: The definitions by which calls are written if the prompt has none; None: `tools`.
            thinking: Whether the answer begins with reasoning.
            options: Further variables of the chat template.

        Raises:
            RenderError: The template rejects the conversation.
        """
        segments = self._segments(
            self.replayed(messages), tools, definitions, answer_next=True, thinking=thinking, options=options
        )
        return [token for text in [*(text for text, _ in segments), opening] for token in self._encode(text)]

    def opens_reasoning(self, prompt: list[int]) -> bool:
        """Whether the prompt ends with the mark that opens reasoning."""
        return self.decode(prompt[-16:]).rstrip().endswith(self.reasoning_marks.opening)

    @property
    def reasoning_marks(self) -> ReasoningMarks:
        """The marks around the reasoning of an answer."""
        return self.choice.composer.marks

    def replayed(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The messages of a request, in the form that the template takes. Raises RenderError."""
        return normalize_messages(messages, self.call_form.replayed_arguments)

    def text(self, text: str) -> list[int]:
        """The ids of plain text, without a chat template; special tokens in it are real ones."""
        return self._tokenizer.encode(text, add_special_tokens=True).ids

    def plain_text(self, text: str) -> list[int]:
        """The ids of text as a part of a message; special tokens in it are plain characters."""
        return self._encode(text)

    @cached_property
    def text_stop_ids(self) -> frozenset[int]:
        """Tokens that end plain text: those that end an answer, and the document separator."""
        return self.stop_ids | {self.document_separator}

    @cached_property
    def document_separator(self) -> int:
        """The token between two documents; for a model without one, the token that ends its answers."""
        candidates = (self._tokenizer.token_to_id(token) for token in ("<|endoftext|>", "<|end_of_text|>", "</s>"))
        return next((token for token in candidates if token is not None), min(self.stop_ids, default=0))

    @property
    def vocabulary_size(self) -> int:
        """The number of token ids."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def stream_decoder(self) -> Callable[[int], str]:
        """An incremental decoder: each call takes one token and returns the text that it completes."""
        stream = DecodeStream(skip_special_tokens=False)
        return lambda token: stream.step(self._tokenizer, token) or ""

    def token_bytes(self, token: int) -> bytes:
        """The UTF-8 bytes of one token, which may be a part of a character."""
        piece = self._tokenizer.id_to_token(token)
        if piece is None:
            return b""
        if token in self._special_ids or any(char not in _BYTE_OF for char in piece):
            return self.decode([token]).encode("utf-8")
        return bytes(_BYTE_OF[char] for char in piece)

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(self._tokenizer.get_added_tokens_decoder())

    @cached_property
    def _content_guard(self) -> ContentGuard:
        return ContentGuard([token.content for token in self._tokenizer.get_added_tokens_decoder().values()])

    @cached_property
    def _encoder(self) -> TextEncoder:
        return TextEncoder(self._tokenizer)

    def _segments(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        definitions: list[dict[str, Any]] | None = None,
        *,
        answer_next: bool = False,
        thinking: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> list[tuple[str, float]]:
        """(text, weight) pairs, split before each assistant answer and after the token that ends it.

        Raises RenderError if a part of an example is lost. A request (`answer_next`) may lose parts, because its
        history may contain what no model would write.
        """
        callable_functions = definitions or tools
        mark, safe, safe_tools = self._content_guard.apply(written(messages, self.call_form, callable_functions), tools)
        reasons = thinking or any(message.get("reasoning_content") for message in messages)
        if self.choice.composed or reasons or options:
            composer = TurnComposer(self.template, self.choice.composer.end_marks, options)
            segments = composer.segments(safe, safe_tools, answer_next=answer_next, thinking=thinking)
        else:
            segments = cut_whole(self.template, safe, safe_tools, answer_next=answer_next)
        if not answer_next:
            check_survival(messages, callable_functions, segments, mark, self.call_form)
        return [
            (part, 0.0 if segment.message is None else _loss_weight(messages[segment.message]))
            for segment in segments
            for part in segment.text.split(mark)
            if part
        ]

    def _encode(self, text: str) -> list[int]:
        return self._encoder.encode(text)


def _loss_weight(message: dict[str, Any]) -> float:
    return float(message["weight"] if message.get("weight") is not None else 1)


def _token_text(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _stop_ids(base: Path, *ends: int | None) -> frozenset[int]:
    """Tokens that end an answer: those in generation_config.json, and `ends`, from the tokenizer and the template."""
    path = base / "generation_config.json"
    configured = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.exists() else None
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in [*ids, *ends] if token is not None)


def _byte_alphabet() -> dict[str, int]:
    """The alphabet of byte-level BPE: a printable character for each byte (GPT-2's table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in printable}
    rest = [byte for byte in range(256) if byte not in printable]
    return table | {chr(256 + index): byte for index, byte in enumerate(rest)}


_BYTE_OF = _byte_alphabet()
