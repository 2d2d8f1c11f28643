"""What to generate from function definitions: the specification, the mix of kinds, and the requests that it takes."""

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
    """`each`: phrasings per invocation. Without `with_definitions` the lines have no definitions, so the model must
    memorize them.
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
        """Raises OptionsError for a phrasing of the user that cannot be filled in."""
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
    """Requests by kind when no phrasing is rejected."""
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
