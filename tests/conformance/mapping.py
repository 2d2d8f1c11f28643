"""The whole difference between what suites and server send each other: literal ids, and a few values.

OpenAI wrote the suites for a mock that checks types alone. Their ids are literals, which stand here for resources that
exist; and a few of their values no server can obey, which become legal ones. Nothing else is touched.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from conformance.seeds import BASE, Seeds

REMOVED, ANY, ABSENT = object(), object(), object()
_FILE, _JOB = "file_id|string", "ft-AF1WoRqd3aJAHsqc9NY7iL8F"
_RESPONSE = "resp_677efb5139a88190b512bc3fef8e535d"
_TUNED, _PERMISSION = "ft:gpt-4o-mini-2024-07-18:org:weather:B7R9VjQd", "cp_zc4Q7MP6XxulcVzj4MZdwsAB"
# Method and path; the name of each group is the property of Seeds that replaces what it matches.
PATHS = [
    ("GET", f"/files/(?P<file>{_FILE})(/content)?"),
    ("DELETE", f"/files/(?P<new_file>{_FILE})"),
    ("POST", "/uploads/(?P<upload>upload_abc123)/(cancel|parts)"),
    ("POST", "/uploads/(?P<full_upload>upload_abc123)/complete"),
    ("GET", f"/fine_tuning/jobs/(?P<finished_job>{_JOB})(/events|/checkpoints)?"),
    ("POST", f"/fine_tuning/jobs/(?P<running_job>{_JOB})/(cancel|pause)"),
    ("POST", f"/fine_tuning/jobs/(?P<paused_job>{_JOB})/resume"),
    ("POST", f"/fine_tuning/checkpoints/(?P<fine_tuned_model>{_TUNED})/permissions"),
    ("GET", f"/fine_tuning/checkpoints/(?P<fine_tuned_model>{_JOB})/permissions"),
    ("DELETE", f"/fine_tuning/checkpoints/(?P<fine_tuned_model>{_TUNED})/permissions/(?P<permission>{_PERMISSION})"),
    ("GET", "/batches/(?P<batch>batch_id|string)"),
    ("POST", "/batches/(?P<long_batch>batch_id|string)/cancel"),
    ("GET", "/chat/completions/(?P<stored>completion_id)(/messages)?"),
    ("POST", "/chat/completions/(?P<stored>completion_id)"),
    ("DELETE", "/chat/completions/(?P<new_stored>completion_id)"),
    ("GET", f"/responses/(?P<response>{_RESPONSE}|response_id)(/input_items)?"),
    ("DELETE", f"/responses/(?P<new_response>{_RESPONSE})"),
    ("POST", f"/responses/(?P<background_response>{_RESPONSE})/cancel"),
    ("GET", "/conversations/(?P<conversation>conv_123)(/items)?"),
    ("POST", "/conversations/(?P<conversation>conv_123)(/items)?"),
    ("DELETE", "/conversations/(?P<new_conversation>conv_123)"),
    ("GET", "/conversations/(?P<conversation>conv_123)/items/(?P<item>msg_abc)"),
    ("DELETE", "/conversations/(?P<conversation>conv_123)/items/(?P<new_item>msg_abc)"),
    ("GET", "/webhook_endpoints/(?P<webhook_endpoint>whe_123)"),
    ("POST", "/webhook_endpoints/(?P<webhook_endpoint>whe_123)(/rotate_secret|/test)?"),
    ("DELETE", "/webhook_endpoints/(?P<new_webhook_endpoint>whe_123)"),
    ("GET", "/evals/(?P<eval>eval_id)"),
    ("POST", "/evals/(?P<eval>eval_id)(/runs)?"),
    ("DELETE", "/evals/(?P<new_eval>eval_id)"),
    ("GET", "/evals/(?P<failed_eval>eval_id)/runs"),
    ("GET", "/evals/(?P<failed_eval>eval_id)/runs/(?P<failed_run>run_id)"),
    ("POST", "/evals/(?P<eval>eval_id)/runs/(?P<new_run>run_id)(/cancel)?"),
    ("DELETE", "/evals/(?P<eval>eval_id)/runs/(?P<new_run>run_id)"),
    ("GET", "/evals/(?P<graded_eval>eval_id)/runs/(?P<graded_run>run_id)/output_items"),
    (
        "GET",
        "/evals/(?P<graded_eval>eval_id)/runs/(?P<graded_run>run_id)/output_items/(?P<output_item>output_item_id)",
    ),
    ("GET", "/models/(?P<model>gpt-6-astra|gpt-4o-mini)"),
    ("DELETE", "/models/(?P<new_model>ft:gpt-4o-mini:acemeco:suffix:abc123)"),
]


@dataclass(frozen=True)
class Stand:
    """`given`: a value, a tuple with that of each suite, or ABSENT. `becomes`: a value, REMOVED, or with `seed` the
    name of a property of Seeds. `why` is for the reader.
    """

    request: str
    field: str
    given: Any
    becomes: Any
    why: str
    seed: bool = False
    when: tuple[str, Any] | None = None  # only where another field has a value

    def fits(self, request: str, parameters: dict[str, Any]) -> bool:
        if not re.fullmatch(self.request, request) or (self.field in parameters) is (self.given is ABSENT):
            return False
        if self.given is ABSENT:
            return True
        alternatives = self.given if isinstance(self.given, tuple) else (self.given,)
        fits = self.given is ANY or parameters[self.field] in alternatives
        return fits and (self.when is None or parameters.get(self.when[0]) == self.when[1])

    def __str__(self) -> str:
        words = self.given if isinstance(self.given, tuple) else (self.given,)
        condition = {ANY: "", ABSENT: " where there is none"}.get(
            self.given if self.given in (ANY, ABSENT) else None, f"={' or '.join(map(str, words))}"
        )
        becomes = "removed" if self.becomes is REMOVED else f"-> {self.becomes}"
        return f"{self.request}: {self.field}{condition} {becomes} ({self.why})"


def _id(request: str, field: str, parameters: Any, seed: str) -> Stand:
    return Stand(request, field, parameters, seed, "an id", seed=True)


_CREATED = "POST /responses"
_PROMPTED = "POST /responses(/input_tokens|/compact)?"
_TEXT = {"format": {"type": "text"}}
_TOOL = {"type": "function", "name": "name", "parameters": {"type": "object"}}
_STREAM = {"include_obfuscation": True, "include_usage": True}
_CRITERIA = [
    {
        "input": [{"content": "content", "role": "user"}],
        "labels": ["string"],
        "model": BASE,
        "name": "name",
        "passing_labels": ["string"],
        "type": "label_model",
    }
]
VALUES = [
    Stand("GET .*", "after", ANY, REMOVED, "an id that is in no list"),
    Stand("GET /(files|batches|responses/.*|conversations/.*)", "limit", "0", "1", "the specification begins at 1"),
    _id("POST /uploads/upload_abc123/complete", "part_ids", ["string"], "parts"),
    Stand("POST /uploads/upload_abc123/complete", "md5", "md5", "md5", "not a checksum", seed=True),
    _id("POST /fine_tuning/jobs", "training_file", "file-abc123", "training_file"),
    _id("POST /fine_tuning/jobs", "validation_file", "file-abc123", "training_file"),
    _id("POST /chat/completions", "model", "gpt-6-astra", "model"),
    Stand("POST /chat/completions", "max_tokens", 0, 16, "at least 1"),
    Stand("POST /chat/completions", "max_completion_tokens", 0, 16, "at least 1"),
    Stand("POST /chat/completions", "logit_bias", {"foo": 0}, {"5": 0}, "not a token"),
    Stand("POST /chat/completions", "functions", ANY, REMOVED, "the old form, together with `tools`"),
    Stand("POST /chat/completions", "function_call", "none", REMOVED, "the old form, together with `tool_choice`"),
    Stand("POST /chat/completions", "stream_options", _STREAM, REMOVED, "without a stream", when=("stream", False)),
    Stand("POST /chat/completions", "audio", ANY, REMOVED, "not available here"),
    Stand("POST /chat/completions", "moderation", ANY, REMOVED, "not available here"),
    Stand("POST /chat/completions", "web_search_options", ANY, REMOVED, "not available here"),
    Stand("POST /chat/completions", "verbosity", "low", "medium", "not available here"),
    Stand("POST /chat/completions", "reasoning_effort", "minimal", "none", "the model does not reason"),
    _id("POST /completions", "model", ("gpt-3.5-turbo-instruct", "string"), "model"),
    Stand(
        "POST /completions", "echo", True, False, "the first token follows nothing: its null is refused in strict mode"
    ),
    Stand("POST /completions", "logit_bias", {"foo": 0}, {"5": 0}, "not a token"),
    Stand("POST /completions", "suffix", "test.", REMOVED, "not available here"),
    Stand("POST /completions", "stream_options", _STREAM, REMOVED, "without a stream", when=("stream", False)),
    Stand(_PROMPTED, "model", ABSENT, "model", "no model is the default one", seed=True),
    _id(_PROMPTED, "model", ("gpt-6-astra", "gpt-4o", "model"), "model"),
    Stand(_PROMPTED, "input", ABSENT, "string", "there is nothing to answer"),
    _id(_PROMPTED, "previous_response_id", ("previous_response_id", "resp_123"), "response"),
    Stand(_PROMPTED, "conversation", ANY, REMOVED, "together with `previous_response_id`"),
    Stand(_PROMPTED, "reasoning", ANY, {"summary": "auto"}, "the model does not reason"),
    Stand(_PROMPTED, "text", ANY, _TEXT, "a verbosity is not available here"),
    Stand(_PROMPTED, "tools", ANY, [_TOOL], "a strict schema that is none, and calls that are not awaited"),
    Stand("POST /responses/input_tokens", "personality", ANY, REMOVED, "not available here"),
    Stand(_CREATED, "access_programs", ANY, REMOVED, "not available here"),
    Stand(
        _CREATED, "background_options", ANY, {"completion_window": "soonest"}, "a continuation is not available here"
    ),
    Stand(_CREATED, "context_management", ANY, REMOVED, "not available here"),
    Stand(_PROMPTED, "image", ANY, REMOVED, "not available here"),
    Stand(_CREATED, "max_output_tokens", 0, 16, "at least 1"),
    Stand(_CREATED, "moderation", ANY, REMOVED, "not available here"),
    Stand(_CREATED, "prompt", ANY, REMOVED, "not available here"),
    Stand(
        _CREATED, "stream_options", {"include_obfuscation": True}, REMOVED, "without a stream", when=("stream", False)
    ),
    _id("POST /batches", "input_file_id", ("input_file_id", "string"), "batch_file"),
    Stand("POST /webhook_endpoints(/whe_123)?", "url", "https://", "webhook_url", "no host", seed=True),
    Stand("POST /evals", "testing_criteria", ANY, _CRITERIA, "a role that is none, and a model that nobody has"),
    Stand("POST /embeddings", "encoding_format", "base64", "float", "strict mode refuses what the client asks for"),
]


# Method and path, a field of an answer that is null, and what the suites' types have in its place.
ANSWERS = [
    (
        "POST",
        "/evals/eval_id/runs(/run_id(/cancel)?)?",
        "error",
        {"code": "", "message": ""},
        "null as at OpenAI, whose types have no null",
    ),
]


class Mapping:
    """Applies the tables and counts what it applied."""

    def __init__(self, seeds: Seeds) -> None:
        self._seeds = seeds
        self.used: Counter[str] = Counter()

    def path(self, method: str, path: str) -> str:
        for index, (of, pattern) in enumerate(PATHS):
            match = re.fullmatch(pattern, path) if of == method else None
            for name, literal in match.groupdict().items() if match else ():
                self.used[f"path {index}"] += 1
                path = path.replace(literal, getattr(self._seeds, name), 1)
            if match:
                break
        return path

    def values(self, request: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """The query or the body; `request` is method and path as the suite sent them."""
        result = dict(parameters)
        for index, rule in enumerate(VALUES):
            if rule.fits(request, parameters):
                self.used[f"value {index}"] += 1
                result[rule.field] = getattr(self._seeds, rule.becomes) if rule.seed else rule.becomes
        return {field: value for field, value in result.items() if value is not REMOVED}

    def answer(self, method: str, path: str, content: bytes) -> bytes:
        """The content of an answer; `path` as the suite sent it."""
        for index, (of, pattern, field, becomes, _why) in enumerate(ANSWERS):
            if of == method and re.fullmatch(pattern, path):
                body = json.loads(content)
                if body.get(field, becomes) is None:
                    self.used[f"answer {index}"] += 1
                    return json.dumps({**body, field: becomes}).encode()
        return content


def table(used: Counter[str]) -> Iterator[str]:
    """A line for each thing that was changed, with how often it was."""
    for at, (method, path) in enumerate(PATHS):
        output = re.sub(r"\(\?P<(\w+)>([^)]*)\)", r"{\2 -> \1}", path)
        yield f"{used[f'path {at}']:4}  {method} {output}"
    for at, rule in enumerate(VALUES):
        yield f"{used[f'value {at}']:4}  {rule}"
    for at, (method, path, field, becomes, why) in enumerate(ANSWERS):
        yield f"{used[f'answer {at}']:4}  answer to {method} {path}: {field}=null -> {becomes} ({why})"
