"""What to generate from function definitions: the specification, the mix of example kinds, and the requests needed."""

import math
from dataclasses import dataclass, field

from luthier.generate.functions.definitions import FunctionDefinition
from luthier.generate.functions.examples import Form, Kind
from luthier.generate.functions.paraphrase import MESSAGES_PER_REQUEST
from luthier.generate.functions.paraphrasers import BATCH
from luthier.generate.functions.templates import check_phrasing
from luthier.generate.functions.values import UserContent, needs_text_values
from luthier.language import Language


@dataclass(frozen=True)
class CallSpec:
    """How to generate examples of tool calls.

    Attributes:
        count: The number of examples.
        form: Whether calls are written as tools or as legacy functions.
        with_definitions: Whether examples contain the definitions; without them the model memorizes the functions.
        system: The system prompt of serving; None for none.
        user_content: The user's own values, phrasings and small talk.
        each: Phrasings per invocation.
    """

    definitions: tuple[FunctionDefinition, ...]
    count: int
    seed: int
    language: Language
    form: Form = "tools"
    with_definitions: bool = True
    system: str | None = None
    user_content: UserContent = field(default_factory=UserContent)
    each: int = 2

    def __post_init__(self) -> None:
        """Raises OptionsError for one of the user's phrasings that no arguments fit."""
        for definition in self.definitions:
            for template in self.user_content.phrasings.get(definition.name, []):
                check_phrasing(template, definition)


def kind_counts(spec: CallSpec) -> dict[Kind, int]:
    """The number of examples of each kind."""
    can_miss = any(definition.required for definition in spec.definitions)
    missing = round(spec.count * 0.10) if can_miss else 0
    several = round(spec.count * 0.08) if spec.form == "tools" else 0
    no_call = round(spec.count * 0.12)
    call = spec.count - missing - several - no_call
    return {"call": call, "no_call": no_call, "missing": missing, "several": several}


def expected_requests(spec: CallSpec) -> dict[str, int]:
    """How many requests of each kind a teacher gets if no phrasing is rejected."""
    counts = kind_counts(spec)
    open_parameters = [
        name
        for definition in spec.definitions
        for name, schema in definition.properties.items()
        if needs_text_values(schema) and not spec.user_content.pool(definition, name)
    ]
    calls, missing = counts["call"] + 2 * counts["several"], counts["missing"]
    phrasing = math.ceil(math.ceil(calls / spec.each) / BATCH) + math.ceil(missing / BATCH)
    no_call = math.ceil(counts["no_call"] / MESSAGES_PER_REQUEST) + counts["no_call"]
    return {"probe": 1, "values": len(open_parameters), "phrasings": phrasing, "no_call": no_call}
