"""Graders: rewards for model outputs. The fields are those of OpenAI's OpenAPI file.

As there, `label_model` is only valid inside `multi`, whose graders are one object, a list or an object by name.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidatorFunctionWrapHandler,
    WrapSerializer,
    WrapValidator,
)

from luthier.types.common import ReasoningEffort, Request, Response

MAX_SOURCE_BYTES = 256 * 1024
Name = Annotated[str, Field(min_length=1)]
Metric = Literal[
    "cosine", "fuzzy_match", "bleu", "gleu", "meteor",
    "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l",
]  # fmt: skip


def _normalize_operation(value: Any) -> Any:
    """Replace `neq`, the spelling in OpenAI's guide, by `ne`, that of its specification."""
    return "ne" if value == "neq" else value


class StringCheck(Request):
    """`like` and `ilike`: the input contains the reference, case-sensitively and case-insensitively."""

    type: Literal["string_check"]
    name: Name
    input: str
    reference: str
    operation: Annotated[Literal["eq", "ne", "like", "ilike"], BeforeValidator(_normalize_operation)]


class TextSimilarity(Request):
    type: Literal["text_similarity"]
    name: Name
    input: str
    reference: str
    evaluation_metric: Metric
    pass_threshold: float | None = None


def _check_source_size(source: str) -> str:
    if len(source.encode("utf-8", "replace")) >= MAX_SOURCE_BYTES:
        raise ValueError(f"the source must be smaller than {MAX_SOURCE_BYTES // 1024} kB")
    return source


class Python(Request):
    """`source` defines `grade(sample, item) -> float`."""

    type: Literal["python"]
    name: Name
    source: Annotated[str, AfterValidator(_check_source_size)]
    image_tag: str | None = None
    pass_threshold: float | None = None


class TextPart(Request):
    type: Literal["input_text", "output_text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = None


class ImagePart(Request):
    type: Literal["input_image"]
    image_url: str
    detail: str | None = None
    file_id: str | None = None


class AudioPart(Request):
    type: Literal["input_audio"]
    input_audio: dict[str, Any]


Part = str | Annotated[TextPart | ImagePart | AudioPart, Field(discriminator="type")]


_ROLES = ("user", "assistant", "system", "developer")


def _check_role(role: str) -> str:
    """Check the role: OpenAI's schema allows any text, but its models accept only these roles."""
    if role not in _ROLES:
        raise ValueError(f"the role must be one of {', '.join(_ROLES)}")
    return role


class EvalItem(Request):
    """A message to the grading model; its text may contain templates."""

    role: Annotated[str, AfterValidator(_check_role)]
    content: Part | list[Part]
    type: Literal["message"] | None = None


class SamplingParams(Request):
    """`max_completions_tokens` is OpenAI's spelling."""

    seed: int | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_completions_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning_effort: ReasoningEffort | None = None


def _range(value: list[float]) -> list[float]:
    if value[0] >= value[1]:
        raise ValueError(f"the range must be [lowest score, highest score], got {value}")
    return value


class ScoreModel(Request):
    type: Literal["score_model"]
    name: Name
    model: Name
    input: Annotated[list[EvalItem], Field(min_length=1)]
    range: Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_range)] | None = None
    sampling_params: SamplingParams | None = None
    pass_threshold: float | None = None


class LabelModel(Request):
    type: Literal["label_model"]
    name: Name
    model: Name
    input: Annotated[list[EvalItem], Field(min_length=1)]
    labels: Annotated[list[str], Field(min_length=1)]
    passing_labels: Annotated[list[str], Field(min_length=1)]


_BUILT_IN_TYPES = ("string_check", "text_similarity", "python", "score_model", "label_model", "multi")
_extensions: list[Callable[[], Mapping[str, type[Request]]]] = []


def extend_grader_types(requests: Callable[[], Mapping[str, type[Request]]]) -> None:
    """Accepts further grader types; `requests`: their request models by type, called when one is needed."""
    _extensions.append(requests)


def _extension_or_built_in(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if isinstance(kind, str) and kind not in _BUILT_IN_TYPES:
        for requests in _extensions:
            request = requests().get(kind)
            if request is not None:
                return request.model_validate(value)
    return handler(value)


def _serialize_extension(value: Any, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    if value.type in _BUILT_IN_TYPES:
        return handler(value)
    return value.model_dump(mode=info.mode, exclude_unset=info.exclude_unset)


# A lambda, since the annotation of a named function would replace the JSON schema of responses.
_EXTENSION_SERIALIZER = WrapSerializer(lambda value, handler, info: _serialize_extension(value, handler, info))

SubGrader = Annotated[
    StringCheck | TextSimilarity | Python | ScoreModel | LabelModel,
    Field(discriminator="type"),
    WrapValidator(_extension_or_built_in),
    _EXTENSION_SERIALIZER,
]
_MAX_GRADERS = 32


class Multi(Request):
    type: Literal["multi"]
    name: Name
    graders: (
        SubGrader
        | Annotated[list[SubGrader], Field(min_length=1, max_length=_MAX_GRADERS)]
        | Annotated[dict[str, SubGrader], Field(min_length=1, max_length=_MAX_GRADERS)]
    )
    calculate_output: Annotated[str, Field(min_length=1, max_length=4096)]

    def named(self) -> dict[str, SubGrader]:
        """The graders by their names in the formula: the keys of an object, else their own names."""
        if isinstance(self.graders, dict):
            return self.graders
        return {grader.name: grader for grader in (self.graders if isinstance(self.graders, list) else [self.graders])}


Grader = Annotated[
    StringCheck | TextSimilarity | Python | ScoreModel | Multi,
    Field(discriminator="type"),
    WrapValidator(_extension_or_built_in),
    _EXTENSION_SERIALIZER,
]


class RunGraderRequest(Request):
    grader: Grader
    model_sample: str
    item: dict[str, Any] | None = None


class ValidateGraderRequest(Request):
    grader: Grader


class GraderErrors(Response):
    """The errors of a grading; any error makes the reward 0."""

    formula_parse_error: bool = False
    sample_parse_error: bool = False
    truncated_observation_error: bool = False
    unresponsive_reward_error: bool = False
    invalid_variable_error: bool = False
    other_error: bool = False
    python_grader_server_error: bool = False
    python_grader_server_error_type: str | None = None
    python_grader_runtime_error: bool = False
    python_grader_runtime_error_details: str | None = None
    model_grader_server_error: bool = False
    model_grader_refusal_error: bool = False
    model_grader_parse_error: bool = False
    model_grader_server_error_details: str | None = None


class GraderMetadata(Response):
    """`execution_time` is in seconds; `token_usage` counts all tokens of the grader models."""

    name: str
    type: str
    errors: GraderErrors
    execution_time: float
    scores: dict[str, float]
    token_usage: int | None = None
    sampled_model_name: str | None = None


class TokenUsage(Response):
    prompt_tokens: int = 0
    total_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class RunGraderResponse(Response):
    reward: float
    metadata: GraderMetadata
    sub_rewards: dict[str, float]
    model_grader_token_usage_per_model: dict[str, TokenUsage]
