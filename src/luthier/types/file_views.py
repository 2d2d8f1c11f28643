"""Responses of Luthier's own routes about a training file: its examples with their trained segments, and its
estimate."""

from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.types.common import Request, Response
from luthier.types.files import FileObject


class Segment(Response):
    """Consecutive tokens as text; `trained`: whether the model is trained to write them."""

    text: str
    trained: bool


class ExampleView(Response):
    """A non-blank line of a file.

    `example`: its JSON value; null for an invalid line, whose text is in `raw`. `segments`: the conversation as
    rendered for the base model, for a preference pair with the preferred answer first; null if it cannot be rendered,
    with the reason in `problem`.
    """

    line: int
    example: dict[str, Any] | None
    raw: str | None
    findings: list[dict[str, Any]]
    segments: list[list[Segment]] | None
    problem: str | None


class ExamplePage(Response):
    """`total`: lines that are not blank; with `findings_only`, those with findings."""

    object: Literal["luthier.file.examples"] = "luthier.file.examples"
    total: int
    offset: int
    data: list[ExampleView]


class FileEstimate(Response):
    """`tokens`: of one epoch, counted with the base model's tokenizer. `seconds`: null until a rate has been measured
    here.

    `faulty`: lines with errors, at most a hundred of each kind counted.

    `tokens_per_s`: the median rate of training on this machine. `openai_usd`: by model, OpenAI's last price,
    for its `openai_n_epochs`.
    """

    object: Literal["luthier.file.estimate"] = "luthier.file.estimate"
    file_id: str
    base: str
    method: str
    examples: int
    faulty: int
    tokens: int
    n_epochs: int
    trained_tokens: int
    truncated: int
    context_tokens: int
    tokens_histogram: dict[str, Any] | None
    tokens_per_s: float | None
    seconds: float | None
    openai_n_epochs: int
    openai_usd: dict[str, float]


class SplitRequest(Request):
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: int = 42


class FileSplit(Response):
    object: Literal["luthier.file.split"] = "luthier.file.split"
    training_file: FileObject
    validation_file: FileObject
    training_examples: int
    validation_examples: int


class FileRepair(Response):
    """`file`: a copy without errors; null for a preview, and where no line is left. `examples`: lines of the copy.

    `repairs`: the first of each kind, with the line before and after and the codes of its findings.
    """

    object: Literal["luthier.file.repair"] = "luthier.file.repair"
    file: FileObject | None
    examples: int
    repaired: int
    rejected: int
    repairs: list[dict[str, Any]]
