"""Asks an adapter held-out questions, and says what is wrong in its wrong answers; a part of `learning.py`."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.data.examples import adapter_metadata
from luthier.data.examples.example import to_example
from luthier.data.examples.messages import Answer
from luthier.data.rendering.call_form import parse_answer
from luthier.data.rendering.renderer import Renderer
from luthier.evaluation.cases import Case, build_cases
from luthier.evaluation.tool_call_match import ExpectedCall, PredictedCall, score_tool_calls
from luthier.inference import EngineRequest, SamplingParams
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine
from luthier.server.generation.structured_output import response_grammar
from luthier.server.generation.tool_calls import StrictCalls, call_policy
from luthier.types.chat import CreateChatCompletionRequest

MAX_TOKENS = 256
STRICT_CALLS: dict[str, StrictCalls] = {"free": "off", "served": "taught", "copied": "copied"}


@dataclass
class Outcome:
    """`faults`: by kind, over all wrong answers. `wrong`: question, expected answer, answer and faults."""

    right: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    wrong: list[dict[str, Any]] = field(default_factory=list)


class Questions:
    """The questions of a file's lines, and the answers that are right."""

    def __init__(self, base: Path, lines: Sequence[str]) -> None:
        self._base = base
        self._cases = list(build_cases(to_example(json.loads(line), number + 1) for number, line in enumerate(lines)))
        self._has_calls = any(case.expected_calls for case in self._cases)

    def ask(self, adapter: Path, decoding: str) -> Outcome:
        """All questions greedily; `decoding`: a key of `STRICT_CALLS`."""
        started, outcome = time.perf_counter(), Outcome()
        template = adapter / "chat_template.jinja"
        renderer = Renderer(self._base, template if template.exists() else None)
        engine = build_engine(self._base, EngineOptions(max_requests_per_key=len(self._cases)))
        requests = [self._request(renderer, adapter, case, decoding) for case in self._cases]
        streams = [engine.submit(request) for request in requests]
        for case, stream in zip(self._cases, streams, strict=True):
            text = renderer.decode([token.id for token in stream])
            answer = parse_answer(text, renderer.call_form)
            faults = self._faults(case, answer)
            outcome.right += not faults
            outcome.faults.update(faults)
            if faults:
                reference = [[call.name, call.arguments] for call in case.expected_calls] or case.reference
                question = case.messages[-1]["content"]
                outcome.wrong.append({"question": question, "expected": reference, "answer": text, "faults": faults})
        engine.close()
        outcome.seconds = time.perf_counter() - started
        return outcome

    def _request(self, renderer: Renderer, adapter: Path, case: Case, decoding: str) -> EngineRequest:
        body = CreateChatCompletionRequest.model_validate(case.request("model", "full"))
        metadata = adapter_metadata.read(adapter)
        strict = STRICT_CALLS[decoding]
        calls = call_policy(body, metadata, strict=strict, form=renderer.call_form)
        grammar = response_grammar(body, calls) if strict != "off" else None
        prompt = renderer.prompt(case.messages, calls.prompt_definitions, definitions=calls.definitions)
        sampling = SamplingParams(MAX_TOKENS, renderer.stop_ids, temperature=0, grammar=grammar)
        return EngineRequest(prompt, sampling, adapter)

    def _faults(self, case: Case, answer: Answer) -> list[str]:
        """What is wrong; nothing for a right answer."""
        if not case.expected_calls:
            if answer.calls:
                return ["calls instead of words"]
            is_right = self._has_calls or (answer.content or "").strip() == (case.reference or "").strip()
            return [] if is_right else ["other words"]
        predicted = [PredictedCall.parse(call.name, call.arguments) for call in answer.calls]
        if score_tool_calls(case.expected_calls, predicted, answer.content, None).exact:
            return []
        if not predicted:
            return ["words instead of a call"]
        if [call.name for call in predicted] != [call.name for call in case.expected_calls]:
            return ["other functions"]
        pairs = zip(case.expected_calls, predicted, strict=True)
        return sorted({fault for pair in pairs for fault in _argument_faults(*pair, str(case.messages[-1]["content"]))})


def _argument_faults(expected: ExpectedCall, predicted: PredictedCall, question: str) -> list[str]:
    if predicted.arguments is None:
        return ["arguments are no JSON"]
    names, expected_names = predicted.arguments.keys(), expected.arguments.keys()
    faults = ["argument missing"] * (not expected_names <= names) + ["argument too many"] * (
        not names <= expected_names
    )
    for name in expected.arguments.keys() & predicted.arguments:
        right, value = str(expected.arguments[name]), str(predicted.arguments[name])
        if right != value:
            faults.append(_value_fault(right, value, question))
    return faults


def _value_fault(right: str, value: str, question: str) -> str:
    if value in right:
        return "cut"
    if right in value:
        return "too long"
    return "other span" if value in question else "invented"
