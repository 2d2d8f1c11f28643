"""Generates a set of tool-call examples of four kinds: single calls, no call, missing arguments, several calls.

Of a hundred examples, about 70 are single calls, 12 need no call, 10 lack a required value, which the answer asks for,
and 8 request two calls; the legacy form allows one call per answer, so it has none of the last kind. Where a kind runs
out of messages, single calls fill the gap. Every call is validated against its schema, and every message must contain
the values of its call.
"""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from luthier.data.check.quality.similarity import trigrams
from luthier.generate.errors import RequestFailedError, RunStoppedError
from luthier.generate.functions.call_spec import CallSpec, kind_counts
from luthier.generate.functions.definitions import FunctionDefinition
from luthier.generate.functions.enumerate import Invocation, ShuffledDraw, take_invocations
from luthier.generate.functions.examples import DraftExample, Kind, to_line
from luthier.generate.functions.grounding import missing_values
from luthier.generate.functions.no_call_dialogues import out_of_scope_answer
from luthier.generate.functions.paraphrase import MESSAGES_PER_REQUEST
from luthier.generate.functions.paraphrasers import BATCH, Paraphraser
from luthier.generate.functions.templates import clarifying_question, join_messages, template_fields
from luthier.generate.functions.values import is_closed, needs_text_values, value_pool
from luthier.generate.functions.verify import rejection_reason

ROUNDS = 4


@dataclass
class CallRun:
    """One run of the generator. `drafts` and `rejects` are consistent at any time, even after the run was stopped."""

    spec: CallSpec
    paraphraser: Paraphraser
    on_progress: Callable[[int], None] = lambda count: None
    drafts: list[DraftExample] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    _message_fingerprints: set[frozenset[str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._rng = random.Random(f"{self.spec.seed}/calls")  # noqa: S311 - not a secret
        partial_names = {definition.name: self._user_partial_names(definition) for definition in self.spec.definitions}
        self._partial_names = {name: draw for name, draw in partial_names.items() if draw}

    async def run(self) -> None:
        """Generates the drafts. Raises OptionsError if no values are known for a text parameter."""
        spec, counts = self.spec, kind_counts(self.spec)
        try:
            streams = await self._streams()
            # Some calls become examples without a call, by removing their function from the definitions.
            without_function = counts["no_call"] // 3 if spec.with_definitions and len(spec.definitions) > 1 else 0
            calls = await self._fill("call", counts["call"] + 2 * counts["several"] + without_function, streams)
            self._distribute(calls, counts["call"], counts["several"])
            self.drafts += await self._fill("missing", counts["missing"], streams)
            no_calls = sum(draft.kind == "no_call" for draft in self.drafts)
            await self._add_no_calls(counts["no_call"] - no_calls)
            self.drafts += await self._fill("call", spec.count - len(self.drafts), streams, "more")
        except RunStoppedError:
            pass
        self.on_progress(len(self.drafts))

    def lines(self) -> list[dict[str, Any]]:
        """The examples as lines of the file, shuffled so that its first lines are representative."""
        definitions = self.spec.definitions if self.spec.with_definitions else None
        order = random.Random(self.spec.seed).sample(self.drafts, len(self.drafts))  # noqa: S311
        return [to_line(draft, self.spec.form, self.spec.system, definitions) for draft in order]

    async def _streams(self) -> list[Iterator[Invocation]]:
        """For each definition, its invocations in an endless cycle."""
        streams: list[Iterator[Invocation]] = []
        for definition in self.spec.definitions:
            names = [name for name, schema in definition.properties.items() if not is_closed(schema)]
            pools = {name: await self._pool(definition, name) for name in names}
            streams.append(cycle(take_invocations(definition, pools, self.spec.seed, 2 * self.spec.count + 20)))
        return streams

    async def _pool(self, definition: FunctionDefinition, name: str) -> list[Any]:
        suggestions: list[str] = []
        if needs_text_values(definition.properties[name]) and not self.spec.user_content.pool(definition, name):
            try:
                suggestions = await self.paraphraser.values(definition, name)
            except RequestFailedError:
                suggestions = []  # value_pool then takes a common pool, or raises an error that names the parameter
        pools = {definition.name: {name: suggestions}}
        return value_pool(definition, name, self.spec.user_content, pools, self.spec.seed, self.spec.language)

    async def _fill(
        self, kind: Kind, count: int, streams: Sequence[Iterator[Invocation]], name: str = ""
    ) -> list[DraftExample]:
        """Up to `count` drafts with a single call, taken evenly from all definitions.

        `kind` is "call" for complete calls and "missing" for calls without a required argument.
        """
        drafts: list[DraftExample] = []
        pairs = zip(streams, self.spec.definitions, strict=True)
        next_stream = cycle([stream for stream, definition in pairs if kind == "call" or definition.required])
        phrasing_count = 1 if kind == "missing" else self.spec.each  # vary the missing value rather than the wording
        for round_number in range(ROUNDS):
            batch = -(-(count - len(drafts)) // phrasing_count)
            if batch <= 0:
                break
            calls = [next(next(next_stream)) for _ in range(batch)]
            phrased_calls = [self._without_required(call) for call in calls] if kind == "missing" else calls
            phrasings = await self._phrasings(f"{name or kind}/{round_number}", phrased_calls, phrasing_count)
            for call, phrased_call, texts in zip(calls, phrased_calls, phrasings, strict=True):
                drafts += [draft for text in texts if (draft := self._draft(kind, text, call, phrased_call))]
        self.on_progress(len(self.drafts) + len(drafts[:count]))
        return drafts[:count]

    async def _phrasings(self, slot: str, calls: Sequence[Invocation], each: int) -> list[list[str]]:
        """The phrasings of each call; the calls of a failed batch have none."""

        async def ask(start: int) -> list[list[str]]:
            batch = calls[start : start + BATCH]
            try:
                return await self.paraphraser.phrase(f"{slot}/{start}", batch, each)
            except RunStoppedError:
                return [[] for _ in batch]
            except RequestFailedError as error:
                self._reject("request_failed", "", error=str(error))
                return [[] for _ in batch]

        batches = await asyncio.gather(*(ask(start) for start in range(0, len(calls), BATCH)))
        return [texts for batch in batches for texts in batch]

    def _draft(self, kind: Kind, text: str, call: Invocation, phrased_call: Invocation) -> DraftExample | None:
        """The draft of a message for `phrased_call`; None if the message was rejected.

        `phrased_call` is `call`, or for the kind "missing", `call` without some required arguments.
        """
        reason = rejection_reason(text, [call]) if kind == "call" else None
        if kind == "missing" and missing_values(text, phrased_call.arguments):
            reason = "value_missing"
        if reason is None and not self._is_new(text):
            reason = "duplicate"
        if reason:
            self._reject(reason, text, call={"name": call.definition.name, "arguments": phrased_call.arguments})
            return None
        if kind == "call":
            return DraftExample("call", text, (call,))
        absent = [name for name in call.definition.required if name not in phrased_call.arguments]
        question = clarifying_question(call.definition, absent, self.spec.language, self._rng)
        return DraftExample("missing", text, answer=question)

    def _without_required(self, call: Invocation) -> Invocation:
        """The call without some required arguments.

        The user's own phrasings determine which, where some leave out required arguments; else one or two are removed
        at random.
        """
        definition = call.definition
        partial_names = self._partial_names.get(definition.name)
        if partial_names:
            kept_names = partial_names.next()
        else:
            # A boolean or an enum is part of the request itself ("lock", "unlock"), so it stays where others can go.
            open_names = [name for name in definition.required if not is_closed(definition.properties[name])]
            removable = open_names or list(definition.required)
            removed = set(self._rng.sample(removable, min(len(removable), self._rng.choice((1, 1, 2)))))
            kept_names = set(call.arguments) - removed
        return Invocation(definition, {name: value for name, value in call.arguments.items() if name in kept_names})

    def _user_partial_names(self, definition: FunctionDefinition) -> ShuffledDraw | None:
        """The parameter names in each of the user's phrasings that leave out required arguments; None without any."""
        phrasings = self.spec.user_content.phrasings.get(definition.name, [])
        names_by_phrasing = list(map(template_fields, phrasings))
        partial_names = [names for names in names_by_phrasing if names < set(definition.required)]
        return ShuffledDraw(partial_names, self._rng) if partial_names else None

    def _distribute(self, calls: list[DraftExample], single: int, several: int) -> None:
        """Adds drafts made of `calls`.

        The first `single` calls become single calls, the next 2 * `several` are joined in pairs, and from the others
        the called function is removed, so that they need no call.
        """
        language = self.spec.language
        self.drafts += calls[:single]
        paired, without_function = calls[single : single + 2 * several], calls[single + 2 * several :]
        half = len(paired) // 2  # neighbours phrase the same call, so the first half is joined with the second
        for first, second in zip(paired[:half], paired[half:], strict=False):
            text = join_messages(first.user, second.user, language, self._rng)
            self.drafts.append(DraftExample("several", text, (*first.calls, *second.calls)))
        for draft in without_function:
            others = tuple(other for other in self.spec.definitions if other != draft.calls[0].definition)
            answer = out_of_scope_answer(others, language)
            self.drafts.append(DraftExample("no_call", draft.user, answer=answer, definitions=others))

    async def _add_no_calls(self, count: int) -> None:
        """Adds up to `count` examples without a call.

        Messages come in batches, and there are up to twice as many batches as needed, to replace duplicates. A failed
        batch does not affect the others.
        """
        for round_number in range(2 * math.ceil(count / MESSAGES_PER_REQUEST)):
            if count <= 0:
                return
            try:
                batch = min(count, MESSAGES_PER_REQUEST)
                pairs = await self.paraphraser.no_calls(round_number, self.spec.definitions, batch)
            except RequestFailedError as error:
                self._reject("request_failed", "", error=str(error))
                continue
            new = [DraftExample("no_call", user, answer=text) for user, text in pairs if self._is_new(user)]
            self.drafts += new
            count -= len(new)

    def _is_new(self, text: str) -> bool:
        """Whether the message differs from all earlier ones; equal messages with different answers would contradict."""
        fingerprint = trigrams(text)
        if fingerprint in self._message_fingerprints:
            return False
        self._message_fingerprints.add(fingerprint)
        return True

    def _reject(self, reason: str, text: str, **details: Any) -> None:
        self.reasons[reason] += 1
        self.rejects.append({"stage": "phrasing", "reason": reason, "user": text, **details})
