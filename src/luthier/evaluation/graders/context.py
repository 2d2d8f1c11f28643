"""The services that graders need: chat completions, embeddings, and the isolation of Python graders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.evaluation.graders.failures import GraderFailure, other_failure
from luthier.evaluation.graders.sandbox import Isolation
from luthier.types.graders import SamplingParams, TokenUsage


@dataclass(frozen=True)
class ModelRequest:
    """A request to a grading model. `result_schema`: the JSON schema of the `result` field in its answer."""

    model: str
    messages: list[dict[str, Any]]
    sampling: SamplingParams
    result_schema: dict[str, Any]


@dataclass(frozen=True)
class ModelReply:
    """The answer of a grading model. `model`: its name; `refusal`: its text if it refused to answer."""

    text: str
    model: str
    usage: TokenUsage
    refusal: str | None = None


@dataclass(frozen=True)
class GraderContext:
    """`complete`, `embed`: None if not available; `python`: the isolation of Python graders, None to refuse them.

    `replies` collects the replies of all grading models, including those that cannot be parsed, because their tokens
    were used, too.
    """

    complete: Callable[[ModelRequest], ModelReply] | None = None
    embed: Callable[[Sequence[str]], Sequence[Sequence[float]]] | None = None
    python: Isolation | None = None
    replies: list[ModelReply] = field(default_factory=list)

    def ask(self, request: ModelRequest) -> ModelReply:
        """The reply of a grading model. Raises GraderFailure."""
        if self.complete is None:
            raise GraderFailure("model graders are not available here", model_grader_server_error=True)
        reply = self.complete(request)
        self.replies.append(reply)
        return reply

    def embeddings(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector per text. Raises GraderFailure."""
        if self.embed is None:
            raise other_failure("the metric cosine needs embeddings, which are not available here")
        return self.embed(texts)
