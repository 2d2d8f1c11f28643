"""Definitions → a whole set of examples: calls, messages without a call, with something missing, with several calls.

Of a hundred examples about 70 are single calls, 12 need no call, 10 leave out something required (the answer asks
back) and 8 ask for two things at once; the legacy form holds one call per answer and has none of the last. Where one
kind runs out of words, single calls make up for it. Every call is held against its schema, every phrasing against the
values of its call. Knows phrasers and writes no file.
"""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from luthier.generate.errors import AskError, StopError
from luthier.generate.functions.definitions import Definition
from luthier.generate.functions.enumerate import Draw, Invocation, first
from luthier.generate.functions.examples import Drafted, Form, Kind, to_line
from luthier.generate.functions.grounding import missing_values
from luthier.generate.functions.no_call_dialogues import cannot
from luthier.generate.functions.paraphrase import MESSAGES
from luthier.generate.functions.paraphrasers import BATCH, Phraser
from luthier.generate.functions.templates import ask_back, both, check_phrasing, fields
from luthier.generate.functions.values import Own, is_closed, needs_words, pool_of
from luthier.generate.functions.verify import phrasing_fault
from luthier.generate.similarity import shingles
from luthier.language import Language

ROUNDS = 4


@dataclass(frozen=True)
class CallsWish:
    """`each`: phrasings per invocation. Without `with_definitions` the lines hold none: the model learns them."""

    definitions: tuple[Definition, ...]
    count: int
    seed: int
    language: Language
    form: Form = "tools"
    with_definitions: bool = True
    system: str | None = None
    own: Own = field(default_factory=Own)
    each: int = 2

    def __post_init__(self) -> None:
        """Raises OptionsError for an own phrasing that cannot be filled in."""
        for definition in self.definitions:
            for template in self.own.phrasings.get(definition.name, []):
                check_phrasing(template, definition)


def shares(wish: CallsWish) -> dict[Kind, int]:
    """How many examples of each kind."""
    can_miss = any(one.required for one in wish.definitions)
    missing = round(wish.count * 0.10) if can_miss else 0
    several = round(wish.count * 0.08) if wish.form == "tools" else 0
    no_call = round(wish.count * 0.12)
    return {"call": wish.count - missing - several - no_call, "no_call": no_call, "missing": missing,
            "several": several}  # fmt: skip


def expected_requests(wish: CallsWish) -> dict[str, int]:
    """By kind, when every phrasing is kept."""
    wanted = shares(wish)
    open_text = [
        name
        for one in wish.definitions
        for name, schema in one.properties.items()
        if needs_words(schema) and not wish.own.pool(one, name)
    ]
    calls, missing = wanted["call"] + 2 * wanted["several"], wanted["missing"]
    phrasing = math.ceil(math.ceil(calls / wish.each) / BATCH) + math.ceil(missing / BATCH)
    no_call = math.ceil(wanted["no_call"] / MESSAGES) + wanted["no_call"]
    return {"probe": 1, "values": len(open_text), "phrasings": phrasing, "no_call": no_call}


@dataclass
class CallsRun:
    """`drafts` and `rejects` are good at any time, also after the run was stopped."""

    wish: CallsWish
    phraser: Phraser
    on_made: Callable[[int], None] = lambda made: None
    drafts: list[Drafted] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    _said: set[frozenset[str]] = field(default_factory=set)

    async def run(self) -> None:
        """Raises OptionsError for a parameter that nobody has values for."""
        wish, wanted = self.wish, shares(self.wish)
        self._dice = random.Random(f"{wish.seed}/calls")  # noqa: S311 - a plan, no secret
        self._partial = {one.name: draw for one in wish.definitions if (draw := self._own_partial(one))}
        try:
            streams = await self._streams()
            # With its function taken away, a wish that is otherwise fine must not be called for.
            taken = wanted["no_call"] // 3 if wish.with_definitions and len(wish.definitions) > 1 else 0
            calls = await self._fill("call", wanted["call"] + 2 * wanted["several"] + taken, streams)
            self._deal(calls, wanted["call"], wanted["several"])
            self.drafts += await self._fill("missing", wanted["missing"], streams)
            await self._no_calls(wanted["no_call"] - sum(one.kind == "no_call" for one in self.drafts))
            self.drafts += await self._fill("call", wish.count - len(self.drafts), streams, "more")
        except StopError:
            pass
        self.on_made(len(self.drafts))

    def lines(self) -> list[dict[str, Any]]:
        """In a shuffled order, so that the first lines of the file are like all the others."""
        definitions = self.wish.definitions if self.wish.with_definitions else None
        order = random.Random(self.wish.seed).sample(self.drafts, len(self.drafts))  # noqa: S311
        return [to_line(drafted, self.wish.form, self.wish.system, definitions) for drafted in order]

    async def _streams(self) -> list[Iterator[Invocation]]:
        """For each definition its invocations, from the first again when there are no more."""
        found: list[Iterator[Invocation]] = []
        for definition in self.wish.definitions:
            names = [name for name, schema in definition.properties.items() if not is_closed(schema)]
            pools = {name: await self._pool(definition, name) for name in names}
            found.append(cycle(first(definition, pools, self.wish.seed, 2 * self.wish.count + 20)))
        return found

    async def _pool(self, definition: Definition, name: str) -> list[Any]:
        given: list[str] = []
        if needs_words(definition.properties[name]) and not self.wish.own.pool(definition, name):
            try:
                given = await self.phraser.values(definition, name)
            except AskError:
                given = []  # then an everyday pool, or an error that names the parameter
        teacher = {definition.name: {name: given}}
        return pool_of(definition, name, self.wish.own, teacher, self.wish.seed, self.wish.language)

    async def _fill(
        self, kind: Kind, wanted: int, streams: Sequence[Iterator[Invocation]], name: str = ""
    ) -> list[Drafted]:
        """`wanted` drafts of single calls, whole or with something missing, from all definitions alike."""
        made: list[Drafted] = []
        rows = [row for row, one in zip(streams, self.wish.definitions, strict=True) if kind == "call" or one.required]
        turns = cycle(rows)
        each = 1 if kind == "missing" else self.wish.each  # what is left out is varied before its wording
        for turn in range(ROUNDS):
            still = -(-(wanted - len(made)) // each)
            if still <= 0:
                break
            calls = [next(next(turns)) for _ in range(still)]
            shown = [self._cut(call) for call in calls] if kind == "missing" else calls
            phrased = await self._phrased(f"{name or kind}/{turn}", shown, each)
            for call, part, texts in zip(calls, shown, phrased, strict=True):
                made += [one for text in texts if (one := self._draft(kind, text, call, part))]
        self.on_made(len(self.drafts) + len(made[:wanted]))
        return made[:wanted]

    async def _phrased(self, slot: str, calls: Sequence[Invocation], each: int) -> list[list[str]]:
        """Phrasings of each call in its place; those of a batch that failed are empty."""

        async def ask(at: int) -> list[list[str]]:
            batch = calls[at : at + BATCH]
            try:
                return await self.phraser.phrase(f"{slot}/{at}", batch, each)
            except StopError:
                return [[] for _ in batch]
            except AskError as error:
                self._reject("request_failed", "", error=str(error))
                return [[] for _ in batch]

        found = await asyncio.gather(*(ask(at) for at in range(0, len(calls), BATCH)))
        return [texts for batch in found for texts in batch]

    def _draft(self, kind: Kind, text: str, call: Invocation, part: Invocation) -> Drafted | None:
        """A draft that passed every check; else it is among the rejects."""
        fault = phrasing_fault(text, [call]) if kind == "call" else None
        if kind == "missing" and missing_values(text, part.arguments):
            fault = "value_missing"
        if fault is None and not self._is_new(text):
            fault = "duplicate"
        if fault:
            self._reject(fault, text, call={"name": call.definition.name, "arguments": part.arguments})
            return None
        if kind == "call":
            return Drafted("call", text, (call,))
        absent = [name for name in call.definition.required if name not in part.arguments]
        return Drafted("missing", text, answer=ask_back(call.definition, absent, self.wish.language, self._dice))

    def _cut(self, call: Invocation) -> Invocation:
        """The call with something required left out: as a person's own phrasing does, else one or two at random."""
        definition = call.definition
        partial = self._partial.get(definition.name)
        if partial:
            keep = partial.next()
        else:
            # A truth value is said by the wish itself ("lock", "unlock"), so it is not what is missing.
            open_ones = [name for name in definition.required if not is_closed(definition.properties[name])]
            loose = open_ones or list(definition.required)
            gone = set(self._dice.sample(loose, min(len(loose), self._dice.choice((1, 1, 2)))))
            keep = set(call.arguments) - gone
        return Invocation(definition, {name: value for name, value in call.arguments.items() if name in keep})

    def _own_partial(self, definition: Definition) -> Draw | None:
        """What a person's own phrasings say where they leave out something required."""
        own = [fields(text) for text in self.wish.own.phrasings.get(definition.name, [])]
        partial = [names for names in own if names < set(definition.required)]
        return Draw(partial, self._dice) if partial else None

    def _deal(self, calls: list[Drafted], single: int, several: int) -> None:
        """Single calls first; then pairs become one message; what is left loses its function."""
        language = self.wish.language
        self.drafts += calls[:single]
        paired, taken = calls[single : single + 2 * several], calls[single + 2 * several :]
        half = len(paired) // 2  # neighbours are phrasings of the same call, so each goes with one further on
        for one, two in zip(paired[:half], paired[half:], strict=False):
            text = both(one.user, two.user, language, self._dice)
            self.drafts.append(Drafted("several", text, (*one.calls, *two.calls)))
        for one in taken:
            others = tuple(d for d in self.wish.definitions if d != one.calls[0].definition)
            self.drafts.append(Drafted("no_call", one.user, answer=cannot(others, language), definitions=others))

    async def _no_calls(self, wanted: int) -> None:
        """In batches, with as many again for what is missing; the batches before one that failed are kept."""
        for turn in range(2 * math.ceil(wanted / MESSAGES)):
            if wanted <= 0:
                return
            try:
                pairs = await self.phraser.no_calls(turn, self.wish.definitions, min(wanted, MESSAGES))
            except AskError as error:
                self._reject("request_failed", "", error=str(error))
                continue
            new = [Drafted("no_call", user, answer=text) for user, text in pairs if self._is_new(user)]
            self.drafts += new
            wanted -= len(new)

    def _is_new(self, text: str) -> bool:
        """Equal words are one message: twice the same is a copy, and with another answer a contradiction."""
        runs = shingles(text)
        if runs in self._said:
            return False
        self._said.add(runs)
        return True

    def _reject(self, reason: str, text: str, **what: Any) -> None:
        self.reasons[reason] += 1
        self.rejects.append({"stage": "phrasing", "reason": reason, "user": text, **what})
