"""The interface of a grader type, and access to the types by name: plugins of the group `luthier.graders`.

The built-in types follow OpenAI's specification and have their request models in `luthier.types.graders`. A type from
another distribution has its own request model, with the name of its entry point as the value of `type`:

    class RegexRequest(Request):
        type: Literal["regex"]
        name: str
        pattern: str

    class RegexGrader(GraderType[RegexRequest]):
        request = RegexRequest

        def reward(self, grader, sample, data_item, context):
            return float(re.search(grader.pattern, sample.text) is not None)
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar

from luthier import plugins
from luthier.evaluation.graders.context import GraderContext
from luthier.evaluation.graders.templates import Sample
from luthier.types.common import Request
from luthier.types.graders import extend_grader_types

GROUP: plugins.Group = "luthier.graders"
RequestT = TypeVar("RequestT", bound=Request)


class GraderType(ABC, Generic[RequestT]):
    """One type of grader; stateless, one instance per process."""

    request: ClassVar[type[Request]]

    def templates(self, grader: RequestT) -> Iterable[tuple[str, str]]:
        """(field, text) of every text of the grader in which `{{…}}` is filled in."""
        return ()

    def problem(self, grader: RequestT) -> tuple[str, str] | None:
        """(field, message) of a fault that does not depend on what is graded; None without one. Templates are checked
        elsewhere.
        """
        return None

    @abstractmethod
    def reward(self, grader: RequestT, sample: Sample, data_item: dict[str, Any], context: GraderContext) -> float:
        """The reward of an answer. Raises GraderFailure, which becomes a reward of 0 and flags."""


@cache
def grader_type(name: str) -> GraderType[Any]:
    """The grader type of this name. Raises PluginError if its plugin cannot be imported."""
    grader: GraderType[Any] = plugins.load(GROUP)[name]()
    return grader


def extension_requests() -> Mapping[str, type[Request]]:
    """The request models of the grader types that other distributions provide, by type."""
    table = plugins.load(GROUP)
    return {name: grader_type(name).request for name in table if not table.is_built_in(name)}


extend_grader_types(extension_requests)
