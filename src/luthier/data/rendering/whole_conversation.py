"""A conversation as its template renders it at once, cut at both ends of every answer."""

from luthier.data.rendering.chat_template import Template
from luthier.data.rendering.turn_composer import Messages, Segment, Tools
from luthier.types.errors import RenderError


def cut_whole(template: Template, messages: Messages, tools: Tools, *, answer_next: bool = False) -> list[Segment]:
    """Raises RenderError where one rendered text is not the beginning of the next, unless `answer_next`: of a prompt
    nothing is trained, so it need not be cut.
    """
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
        end = max(len(until.rstrip()), len(before))  # the line break after the end-of-turn token is never generated
        segments += [Segment(full[done : len(before)]), Segment(full[len(before) : end], index)]
        done = end
    return [*segments, Segment(full[done:])]
