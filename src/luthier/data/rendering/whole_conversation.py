"""A conversation that its template renders at once, cut at both ends of every answer.

An answer is the text that the template adds for it to the prompt before it. It ends with the token that ends a turn,
without the line break after that token, which is never generated.
"""

from luthier.data.rendering.chat_template import Template
from luthier.data.rendering.turn_composer import Messages, Segment, Tools
from luthier.types.errors import RenderError

_MANY_ANSWERS = 4  # with fewer, rendering every prefix costs no more than watching one rendering


def cut_whole(template: Template, messages: Messages, tools: Tools, *, answer_next: bool = False) -> list[Segment]:
    """The segments of a conversation. Raises RenderError if the rendering of a prefix is not a prefix of the rendering;
    with `answer_next`, such a conversation is one segment, since nothing in a prompt is trained.
    """
    answers = sum(message["role"] == "assistant" for message in messages)
    if answers >= _MANY_ANSWERS and (segments := cut_by_offsets(template, messages, tools, answer_next)):
        return segments
    return cut_by_beginnings(template, messages, tools, answer_next)


def cut_by_beginnings(template: Template, messages: Messages, tools: Tools, answer_next: bool) -> list[Segment]:
    """As `cut_whole`, by definition: the conversation up to each answer is rendered by itself."""
    full = template.render(messages, tools, answer_next=answer_next)
    segments: list[Segment] = []
    done = 0
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = template.render(messages[:index], tools, answer_next=True)
        until = template.render(messages[: index + 1], tools)
        if not (until.startswith(before) and full.startswith(until) and len(before) >= done):
            if answer_next:
                return [Segment(full)]
            raise RenderError(
                f"The base model's chat template rewrites earlier turns, so the tokens of message {index + 1} "
                "cannot be told apart. Use a base model with a template that only appends."
            )
        end = max(len(until.rstrip()), len(before))
        segments += [Segment(full[done : len(before)]), Segment(full[len(before) : end], index)]
        done = end
    return [*segments, Segment(full[done:])]


def cut_by_offsets(template: Template, messages: Messages, tools: Tools, answer_next: bool) -> list[Segment] | None:
    """The same from one rendering, in linear time; None if the template or the conversation does not allow it."""
    turns = template.render_turns(messages, tools, answer_next=answer_next)
    first = next((index for index, message in enumerate(messages) if message["role"] == "assistant"), 0)
    if turns is None or first == 0 or -1 in turns.starts[first:]:
        return None
    text, starts = turns
    try:
        before = template.render(messages[:first], tools, answer_next=True)
        until = template.render(messages[: first + 1], tools)
    except RenderError:
        return None
    opening = before.removeprefix(text[: starts[first]])
    is_plain = before == text[: starts[first]] + opening and until == text[: starts[first + 1]]
    if not is_plain or text[starts[-1] :] != (opening if answer_next else ""):
        return None
    segments: list[Segment] = []
    done = 0
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        if not text.startswith(opening, starts[index]):
            return None
        start = starts[index] + len(opening)
        answer = text[start : starts[index + 1]].rstrip()
        segments += [Segment(text[done:start]), Segment(answer, index)]
        done = start + len(answer)
    return [*segments, Segment(text[done:])]
