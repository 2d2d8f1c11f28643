"""Finds the offset of each message's text from a single rendering of the conversation.

A chat template that only appends writes the first messages of a conversation as it writes them alone. This is proved in
two steps. `is_one_loop` analyses the template: it must have one loop over the messages at its top level, and after it
only the opening of the next answer, which depends on no message. `Turns` watches the rendering: until the loop reaches
a message, neither that message nor the number of messages may have been read. Then a rendering of fewer messages reads
the same values up to that point, and so writes the same text. A template for which this cannot be proved may still be
correct; the renderer then renders every prefix of the conversation, in time quadratic in the number of turns.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

from jinja2 import nodes
from jinja2.runtime import LoopContext

_LOOKAHEAD = frozenset(("last", "nextitem", "length", "revindex", "revindex0"))
_ANSWER_NEXT = "add_generation_prompt"


class LookaheadError(Exception):
    """The template read a message that its loop has not reached. Jinja does not mistake it for an undefined value."""


class TurnOffsets(NamedTuple):
    """`text` of the conversation; message i is at `starts[i]` to `starts[i + 1]`; -1 for one before the loop."""

    text: str
    starts: list[int]


class _Progress:
    """The length of the text so far, the number of messages that the loop has reached, and where each begins."""

    def __init__(self, message_count: int) -> None:
        self.length = self.reached = 0
        self.starts = [-1] * (message_count + 1)
        self.is_looping = False

    def require(self, index: int) -> None:
        """Raises LookaheadError for a message that the loop has not reached; the first may always be read."""
        if not 0 <= index < max(1, self.reached):
            raise LookaheadError


class Turns(Sequence[dict[str, Any]]):
    """The messages from `first` on, as a template sees them; every access is watched. Raises LookaheadError."""

    def __init__(self, messages: list[dict[str, Any]], progress: _Progress, first: int = 0) -> None:
        self._messages, self._progress, self._first = messages, progress, first

    def __iter__(self) -> Iterator[dict[str, Any]]:
        progress = self._progress
        if progress.is_looping:
            raise LookaheadError
        progress.is_looping = True
        for index in range(self._first, len(self._messages)):
            progress.starts[index], progress.reached = progress.length, index + 1
            yield self._messages[index]
        progress.starts[-1] = progress.length

    def __bool__(self) -> bool:
        self._progress.require(self._first)
        return True

    def __len__(self) -> int:
        raise LookaheadError

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> "Turns": ...
    def __getitem__(self, index: int | slice) -> "dict[str, Any] | Turns":
        if isinstance(index, int):
            if index < 0:
                raise LookaheadError
            self._progress.require(self._first + index)
            return self._messages[self._first + index]
        if not isinstance(index, slice):
            raise TypeError  # for a name, which Jinja then looks up as an attribute
        start, is_rest = index.start or 0, index.stop is None and index.step in (None, 1)
        if not is_rest or not isinstance(start, int) or start < 0:
            raise LookaheadError
        return Turns(self._messages, self._progress, self._first + start)


def refuse_lookahead(value: Any, attribute: Any) -> None:
    """Raises LookaheadError if `value.attribute`, read by a template, reveals something about later messages."""
    if isinstance(value, LoopContext) and attribute in _LOOKAHEAD and isinstance(value._iterable, Turns):
        raise LookaheadError


def measure_offsets(template: Any, messages: list[dict[str, Any]], variables: dict[str, Any]) -> TurnOffsets:
    """Renders a compiled template that `is_one_loop`, in an environment that calls `refuse_lookahead`.

    Raises LookaheadError, and any error of the rendering.
    """
    progress = _Progress(len(messages))
    pieces: list[str] = []
    for piece in template.generate(messages=Turns(messages, progress), **variables):
        pieces.append(piece)
        progress.length += len(piece)
    if progress.starts[-1] < 0:  # no loop, or one that was left early
        raise LookaheadError
    return TurnOffsets("".join(pieces), progress.starts)


def is_one_loop(template: nodes.Template) -> bool:
    """Whether a single loop at the top level writes the messages, and nothing after it depends on them."""
    tainted = _names_of_messages(template)
    loops = [loop for loop in template.find_all(nodes.For) if _loaded(loop.iter) & tainted]
    body = list(template.body)
    if len(loops) != 1 or loops[0] not in body:
        return False
    loop = loops[0]
    if not isinstance(loop.iter, nodes.Name) or loop.test or loop.else_ or loop.recursive:
        return False
    position = body.index(loop)
    before = set().union(*(_loaded(node) for node in body[: position + 1]))
    after = set().union(*(_loaded(node) for node in body[position + 1 :]))
    return _ANSWER_NEXT not in before | _stored(template) and not after & (_stored(template) | {"messages"})


def _names_of_messages(template: nodes.Template) -> set[str]:
    """`messages`, and every name that is assigned from an expression with such a name."""
    tainted, size = {"messages"}, 0
    while len(tainted) > size:
        size = len(tainted)
        for assignment in template.find_all(nodes.Assign):
            if _loaded(assignment.node) & tainted:
                tainted |= _bound(assignment.target)
    return tainted


def _names(node: nodes.Node) -> Iterator[nodes.Name]:
    if isinstance(node, nodes.Name):
        yield node
    yield from node.find_all(nodes.Name)


def _loaded(node: nodes.Node) -> set[str]:
    return {name.name for name in _names(node) if name.ctx == "load"}


def _bound(node: nodes.Node) -> set[str]:
    """The names that an assignment target binds, including namespaces."""
    references = [node, *node.find_all(nodes.NSRef)]
    return {name.name for name in _names(node)} | {ref.name for ref in references if isinstance(ref, nodes.NSRef)}


def _stored(template: nodes.Template) -> set[str]:
    """Names that the template binds anywhere."""
    names = {name.name for name in _names(template) if name.ctx != "load"}
    macros = {macro.name for macro in template.find_all(nodes.Macro)}
    return names | macros | {ref.name for ref in template.find_all(nodes.NSRef)}
