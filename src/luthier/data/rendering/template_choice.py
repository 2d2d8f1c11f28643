"""Chooses the chat template and the call form of a base model, by rendering probes and reading them back.

A base model's own template is used if it loses nothing. One that loses definitions, calls or results is never used
silently: Luthier's own form replaces it, inside the base's own turns if that works, and `lost` says why. The same holds
if examples have several calls in an answer, or text beside calls, and the base's template cannot represent them.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from luthier.data.rendering.call_form import CallForm
from luthier.data.rendering.chat_template import THINKING_SWITCHES, Template
from luthier.data.rendering.deepseek_form import DeepSeekForm
from luthier.data.rendering.gemma_form import GemmaForm
from luthier.data.rendering.harmony_form import HarmonyForm
from luthier.data.rendering.hermes_form import HermesForm
from luthier.data.rendering.lfm_form import LfmForm, UnescapedLfmForm
from luthier.data.rendering.llama_form import LlamaForm
from luthier.data.rendering.marked_form import SpecialTokens
from luthier.data.rendering.mistral_form import MistralForm, MistralListForm
from luthier.data.rendering.tagged_form import GlmForm, XmlForm
from luthier.data.rendering.template_probes import (
    CALL_CONVERSATIONS,
    NEEDS,
    PARALLEL_CONVERSATION,
    PLAIN_CONVERSATIONS,
    Compose,
    Loss,
    Need,
    call_losses,
    compose_call,
    keeps_text_beside_calls,
    plain_losses,
    reads_parallel_calls,
)
from luthier.data.rendering.turn_composer import Messages, Segment, TurnComposer
from luthier.data.rendering.whole_conversation import cut_whole
from luthier.types.errors import RenderError

FORMS: tuple[Callable[[SpecialTokens], CallForm], ...] = (
    HermesForm,
    XmlForm,
    GlmForm,
    MistralForm,
    MistralListForm,
    LlamaForm,
    LfmForm,
    UnescapedLfmForm,
    GemmaForm,
    DeepSeekForm,
    HarmonyForm,
)
_FOLDER = Path(__file__).parent / "templates"
_TURN_STARTS = ("<|im_start|>", "<start_of_turn>", "<|start_header_id|>")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a base model that templates and answers need.

    Attributes:
        named: The tokens that templates refer to by name, such as `bos_token`.
        id_of: Returns the id of the token with this text; None if there is no such token.
        special: The texts of the special tokens.
        added: The texts of all tokens that were added to the vocabulary of the trained tokenizer.
    """

    named: dict[str, str]
    id_of: Callable[[str], int | None]
    special: Sequence[str]
    added: Sequence[str]

    def __contains__(self, text: str) -> bool:
        return self.id_of(text) is not None


@dataclass(frozen=True)
class TemplateChoice:
    """The template and the call form of a base model.

    Attributes:
        template: The chat template.
        form: The call form.
        composer: Composes conversations turn by turn.
        composed: Whether conversations must be composed, because the template rewrites earlier turns or does not end
            answers; otherwise rendering a conversation at once gives the same text.
        parallel: Whether an answer may have several calls.
        lost: What the base's own template loses, which is why it was replaced.
    """

    template: Template
    form: CallForm
    composer: TurnComposer
    composed: bool
    parallel: bool
    lost: tuple[Loss, ...] = ()

    @property
    def has_reasoning(self) -> bool:
        """Whether the template writes the `reasoning_content` of an answer."""
        answer = {"role": "assistant", "content": "a", "reasoning_content": "reason-one"}
        try:
            segments = self.composer.segments([{"role": "user", "content": "q"}, answer], None, answer_next=False)
        except RenderError:
            return False
        return any("reason-one" in segment.text for segment in segments)

    @property
    def keeps_text_beside_calls(self) -> bool:
        return keeps_text_beside_calls(partial(self.composer.segments, answer_next=False), self.form)

    def unmet(self, needs: Collection[Need]) -> list[Need]:
        """The `needs` that answers in this template and form cannot satisfy."""
        met = {"parallel calls": self.parallel, "text beside calls": self.keeps_text_beside_calls}
        return [need for need in NEEDS if need in needs and not met[need]]

    @property
    def can_reason(self) -> bool:
        """Whether a request can turn reasoning on."""
        switches = {"reasoning_effort", *THINKING_SWITCHES}
        return self.composer.opens_reasoning or not switches.isdisjoint(self.template.variables)

    @property
    def end_marks(self) -> list[str]:
        """The tokens that end an answer of text, and the one that ends an answer of calls."""
        compose = partial(self.composer.segments, answer_next=False)
        try:
            end = self.composer.end_of_answer
            calls = [segment.text for segment in compose_call(compose, self.form) if segment.message is not None]
        except RenderError:
            return []
        return [mark for mark in self.composer.end_marks if mark in end or calls[0].endswith(mark)]


def choose_template(own_text: str | None, vocabulary: Vocabulary, needs: Collection[Need] = ()) -> TemplateChoice:
    """The choice for a base model. Raises RenderError if no template fits it.

    `own_text`: the base's template, None if it has none. `needs`: what the answers of the examples contain. If only
    these are lost, and Luthier's form does not fit the base's turns, the base's template is kept, and such examples
    cannot be rendered.
    """
    if own_text is None:
        return stored_template(_made_up(vocabulary), vocabulary)
    own = Template(own_text, vocabulary.named)
    own.render(PLAIN_CONVERSATIONS[0][:1], None, answer_next=True)  # raises if it cannot even render a question
    choice, losses = _judge(own, vocabulary)
    if choice is not None:
        choice = _with_text_before_calls(choice, vocabulary)
        unmet = choice.unmet(needs)
        return (_substitute(_in_own_turns(own, vocabulary), unmet, vocabulary, needs) if unmet else None) or choice
    choice = _substitute([*_in_own_turns(own, vocabulary), *_without_own_turns(vocabulary)], losses, vocabulary)
    if choice is None:
        lost = ", ".join(losses)
        raise RenderError(f"The chat template loses {lost}, and Luthier's own call forms do not fit this base model.")
    return choice


def _substitute(
    texts: Sequence[str], losses: Sequence[Loss], vocabulary: Vocabulary, needs: Collection[Need] = ()
) -> TemplateChoice | None:
    """The first of Luthier's templates `texts` that loses nothing, as a substitute for one that has `losses`."""
    for text in texts:
        with suppress(RenderError):
            choice, _ = _judge(Template(text, vocabulary.named), vocabulary, losses)
            if choice is not None and not choice.unmet(needs):
                return choice
    return None


def _with_text_before_calls(choice: TemplateChoice, vocabulary: Vocabulary) -> TemplateChoice:
    """The choice itself if it keeps text beside calls; else one that passes text and calls to the template as two
    messages, if that keeps them.
    """
    if choice.keeps_text_beside_calls:
        return choice
    text = (_FOLDER / "text_before_calls.jinja").read_text(encoding="utf-8") + choice.template.text
    split, _ = _judge(Template(text, vocabulary.named), vocabulary)
    return split if split is not None and split.keeps_text_beside_calls else choice


def stored_template(text: str, vocabulary: Vocabulary) -> TemplateChoice:
    """The choice for a stored template, with which an adapter was trained; it is used whatever it loses."""
    template = Template(text, vocabulary.named)
    choice, losses = _judge(template, vocabulary)
    if choice is not None:
        return choice
    composer = TurnComposer(template, vocabulary.special)
    return TemplateChoice(
        template, next(_forms(vocabulary)), composer, composed=False, parallel=True, lost=tuple(losses)
    )


def _judge(
    template: Template, vocabulary: Vocabulary, lost: Sequence[Loss] = ()
) -> tuple[TemplateChoice | None, list[Loss]]:
    """(the choice with this template, nothing), or (None, what the template loses). `lost`: as in the choice."""
    composer = TurnComposer(template, vocabulary.special)
    compose = partial(composer.segments, answer_next=False)
    losses: list[Loss] = []
    for form in _forms(vocabulary):
        of_form = list(plain_losses(compose, form)) or list(call_losses(compose, form))
        if not of_form:
            parallel = reads_parallel_calls(compose, form)
            composed = _rewrites(template, compose, parallel)
            return TemplateChoice(template, form, composer, composed, parallel, tuple(lost)), []
        losses = losses or of_form
        if "definition" in of_form:  # which does not depend on the form
            break
    return None, losses


def _forms(vocabulary: Vocabulary) -> Iterator[CallForm]:
    marks = (text for text in vocabulary.added if not any(map(str.isdigit, text)))  # the others are reserved tokens
    special = SpecialTokens.of(marks, vocabulary.id_of)
    yield from (form(special) for form in FORMS)


def _rewrites(template: Template, compose: Compose, parallel: bool) -> bool:
    """Whether rendering a conversation at once gives another text than composing it turn by turn."""
    conversations = [*PLAIN_CONVERSATIONS, *CALL_CONVERSATIONS, *([PARALLEL_CONVERSATION] if parallel else [])]
    return any(_filled(compose(messages, None)) != _whole(template, messages) for messages in conversations)


def _whole(template: Template, messages: Messages) -> list[Segment] | None:
    try:
        return _filled(cut_whole(template, messages, None))
    except RenderError:
        return None


def _filled(segments: list[Segment]) -> list[Segment]:
    return [segment for segment in segments if segment.text]


def _in_own_turns(own: Template, vocabulary: Vocabulary) -> list[str]:
    """Luthier's templates that keep the turns of the base's template, the one closest to it first."""
    substitutes = []
    if "<｜tool▁call▁begin｜>" in vocabulary:
        substitutes.append((_FOLDER / "deepseek_calls.jinja").read_text(encoding="utf-8") + own.text)
    if "<|im_start|>" in vocabulary and "<|im_end|>" in vocabulary:
        substitutes += _chatml(own, vocabulary)
    prelude = (_FOLDER / "functions_in_turns.jinja").read_text(encoding="utf-8")
    if "reasoning_content" in own.text:
        prelude = "{%- set knows_reasoning = true -%}\n" + prelude
    return [*substitutes, prelude + own.text, "{%- set system_in_user_turn = true -%}\n" + prelude + own.text]


def _without_own_turns(vocabulary: Vocabulary) -> list[str]:
    try:
        return [_made_up(vocabulary)]
    except RenderError:
        return []


def _chatml(own: Template, vocabulary: Vocabulary) -> list[str]:
    """Luthier's ChatML template, if it writes plain chats exactly as the base's own does."""
    try:
        opening = own.render([{"role": "user", "content": "a b"}], None).split("<|im_start|>user\n")[0]
    except RenderError:
        return []
    head = f"{{%- set opening = {json.dumps(opening)} -%}}\n"
    ours = Template(head + (_FOLDER / "chatml_tools.jinja").read_text(encoding="utf-8"), vocabulary.named)
    same = all(
        own.render(messages, None, answer_next=answer_next) == ours.render(messages, None, answer_next=answer_next)
        for messages in PLAIN_CONVERSATIONS
        for answer_next in (False, True)
    )
    return [ours.text] if same else []


def _made_up(vocabulary: Vocabulary) -> str:
    """Luthier's template with tokens of the base model, for one without a template, which was not trained to chat.

    Answers end with the end-of-text token. Raises RenderError for a base model without such a token.
    """
    named = vocabulary.named
    end = named.get("eos_token", "")
    if end not in vocabulary:
        raise RenderError(
            "The base model has no chat template, and no end-of-text token with which Luthier could make one."
        )
    begin = next((mark for mark in _TURN_STARTS if mark in vocabulary), "### ")
    text = (_FOLDER / "chatml_tools.jinja").read_text(encoding="utf-8")
    text = text.replace("<|im_start|>", begin).replace("<|im_end|>", end)
    return (
        "{%- set opening = '' -%}\n"
        + ("{{- bos_token -}}\n" if named.get("bos_token", "") in vocabulary else "")
        + text
    )
