"""The parity gate for exports: each artefact is loaded by its own runtime and scored on the parity samples.

Its log-probabilities must equal the trainer's up to rounding. GGUF types with fewer than eight bits per weight are held
to a weaker requirement: the file must be closer to the fine-tuned model than the base model is, and must reproduce at
least half of the answers that the fine-tuned model gives exactly. A GGUF file must also tokenize texts and render
prompts as in training.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.data.rendering.parity_report import Comparison, ParityReport, compare
from luthier.data.rendering.parity_samples import ParitySample
from luthier.data.rendering.renderer import Renderer
from luthier.data.rendering.template_probes import CALL_CONVERSATIONS, PLAIN_CONVERSATIONS
from luthier.export.folders import Artefact
from luthier.export.gguf_files.model_file import ModelFile
from luthier.export.merge import MergedWeights
from luthier.export.runtimes import llama_cpp, plain_transformers
from luthier.export.runtimes.scores import Scores
from luthier.export.source import ExportSource
from luthier.language import say
from luthier.settings import Settings
from luthier.types.errors import ExportError
from luthier.weights import count_parameters, is_float32

_LOSSY = ("q5_1", "q5_0", "q4_0")
_LOSSY_LIMIT = 1.0  # the largest mean difference, in nats, after full fine-tuning, where no base was scored
_MAX_FLOAT32_PARAMETERS = 2_000_000_000  # adapters on larger bases are scored in the serving dtype, to save memory
_TEXTS = (
    "Hello, it's 12345 and 3.14!  Twice\n\n  indented\ttab",
    "def f(x):\n    return x**2  # DON'T",
    "好的，2024年。你好👍🏽 ñandú İ Ⅷ",
)


@dataclass(frozen=True)
class Verification:
    """The result of verifying one artefact.

    Attributes:
        byte_count: The size of its weights.
        runtime: Name and version of the program that loaded it.
        report: The comparison with the trainer; None if the artefact was not scored.
        exact: How many parity samples it answers exactly; None if it was not scored.
        failure: Why it does not reproduce the trained model; empty if it does.
        unverified: Why it was not loaded in a runtime; empty if it was.
    """

    artefact: Artefact
    byte_count: int
    runtime: str = ""
    report: ParityReport | None = None
    exact: int | None = None
    failure: str = ""
    unverified: str = ""

    def to_dict(self) -> dict[str, Any]:
        report = self.report
        return {
            "artefact": self.artefact.path.name if self.artefact.path.is_file() else self.artefact.form,
            "form": self.artefact.form,
            "type": self.artefact.quantization or None,
            "bytes": self.byte_count,
            "runtime": self.runtime or None,
            "mean_difference": report.mean_difference if report else None,
            "tokens": report.tokens if report else None,
            "examples": report.examples if report else None,
            "exact": self.exact,
            "failure": self.failure or None,
            "unverified": self.unverified or None,
        }


class Gate:
    """Verifies the artefacts of one model.

    A GGUF adapter is loaded on top of a GGUF file of its base, which is written into `helper_folder`.
    """

    def __init__(self, source: ExportSource, settings: Settings, helper_folder: Path) -> None:
        self._source, self._settings, self._helper_folder = source, settings, helper_folder
        self._samples = source.parity_samples()

    @property
    def trained_exact(self) -> int:
        """How many parity samples the model answered exactly in the trainer."""
        return sum(all(sample.likeliest) for sample in self._samples)

    def verify(self, artefact: Artefact) -> Verification:
        """Loads and scores an artefact; an error of the runtime is recorded as the artefact's failure, not raised."""
        size = artefact.byte_count()
        if not self._samples:
            why = say("the model has no examples to compare on", "该模型没有可供比较的样本")
            return Verification(artefact, size, unverified=why)
        if artefact.form in ("gguf", "gguf-lora"):
            return self._verify_gguf(artefact, size)
        runtime = plain_transformers.PEFT if artefact.form == "peft" else plain_transformers.TRANSFORMERS
        device, precision = self._precision(artefact)
        base = self._source.base if artefact.form == "peft" else None
        try:
            scores = plain_transformers.score(
                artefact.path, self._samples, device, getattr(torch, precision), base=base
            )
        except Exception as error:  # the libraries raise various errors for a folder that they cannot load
            return Verification(artefact, size, runtime, failure=f"{type(error).__name__}: {error}")
        return self._judge(artefact, size, runtime, scores, precision)

    def _precision(self, artefact: Artefact) -> tuple[str, str]:
        """The device and the dtype to score in. Adding an adapter in bfloat16 would round its effect away."""
        device, precision = self._settings.hardware()
        is_small = count_parameters(self._source.base) <= _MAX_FLOAT32_PARAMETERS
        if artefact.form == "peft":
            return device, "float32" if is_small else precision
        return device, "float32" if is_float32(artefact.path) else "bfloat16"

    def _verify_gguf(self, artefact: Artefact, size: int) -> Verification:
        """Scores a GGUF file with llama.cpp, and compares how it tokenizes texts and renders prompts."""
        version = llama_cpp.version()
        if version is None:
            why = say(
                f"llama.cpp is not installed (pip install {llama_cpp.PACKAGE})",
                f"未安装 llama.cpp（pip install {llama_cpp.PACKAGE}）",
            )
            return Verification(artefact, size, unverified=why)
        runtime = f"llama.cpp ({llama_cpp.PACKAGE} {version})"
        renderer, conversations = self._source.renderer, list(_conversations(self._source))
        try:
            lora = artefact.path if artefact.form == "gguf-lora" else None
            answers = llama_cpp.ask(
                self._base_file() if lora else artefact.path,
                self._samples,
                lora=lora,
                texts=() if lora else _TEXTS,
                conversations=() if lora else [body for body, _ in conversations],
            )
        except ExportError as error:
            return Verification(artefact, size, runtime, failure=str(error))
        verification = self._judge(artefact, size, runtime, answers.scores, "bfloat16")
        if lora or verification.failure:
            return verification
        failure = _text_difference(renderer, answers.tokens) or _prompt_difference(
            [prompt for _, prompt in conversations], answers.prompts
        )
        return Verification(artefact, size, runtime, verification.report, verification.exact, failure)

    def _base_file(self) -> Path:
        """The base model as a GGUF file, which a GGUF adapter is loaded on."""
        path = self._helper_folder / "base.gguf"
        ModelFile(self._source, "f16", MergedWeights(self._source.base, None)).write(path)
        return path

    def _judge(
        self, artefact: Artefact, size: int, runtime: str, scores: Sequence[Scores], precision: str
    ) -> Verification:
        """The verification with its scores: it fails if they are not finite or too far from the trainer's."""
        compared = [
            Comparison(sample, scored.logprobs, scored.is_top, _base_logprobs(sample))
            for sample, scored in zip(self._samples, scores, strict=True)
        ]
        if not all(np.isfinite(scored.logprobs).all() for scored in scores):
            return Verification(artefact, size, runtime, failure=_overflow())
        report = replace(compare(compared), base_difference=None)  # an artefact cannot be scored without its adapter
        exact = sum(comparison.is_exact for comparison in compared)
        if artefact.quantization in _LOSSY:
            failure = _lossy_failure(report, exact, self.trained_exact, self._samples)
        else:
            reason = report.failure(precision)
            failure = f"{report.summary()}; {reason}" if reason else ""
        return Verification(artefact, size, runtime, report, exact, failure)


def _overflow() -> str:
    return say(
        "the model's values overflow in this type and give no probabilities; use bf16 or q8_0",
        "该类型下模型数值溢出，得不到概率；请改用 bf16 或 q8_0",
    )


def _base_logprobs(sample: ParitySample) -> np.ndarray | None:
    """The base's log-probabilities as the trainer recorded them; None after full fine-tuning.

    They cannot be computed here, since an artefact cannot be used without its adapter.
    """
    return np.array(sample.base_logprobs) if sample.base_logprobs else None


def _lossy_failure(report: ParityReport, exact: int, trained_exact: int, samples: Sequence[ParitySample]) -> str:
    """Why quantization has lost too much of the training; empty if it has not."""
    learnt = _LOSSY_LIMIT
    if all(sample.base_logprobs for sample in samples):
        changes = [np.abs(np.array(sample.logprobs) - np.array(sample.base_logprobs)) for sample in samples]
        learnt = float(np.concatenate(changes).mean())
    if report.mean_difference < learnt:
        if 2 * exact >= trained_exact:
            return ""
        return say(
            f"{report.summary()}; {exact} of {trained_exact} exact answers of the fine-tuned model are still exact. "
            "Use q8_0 or f16",
            f"{report.summary()}；微调模型完全一致的 {trained_exact} 个回答中，仍然一致的只有 {exact} 个。"
            "请改用 q8_0 或 f16",
        )
    return say(
        f"{report.summary()}; training changed the log-probabilities by {learnt:.4f} on average, so rounding loses "
        "more than was learnt. Use q8_0 or f16",
        f"{report.summary()}；训练使对数概率平均改变 {learnt:.4f}，量化损失超过了所学内容。请改用 q8_0 或 f16",
    )


def _conversations(source: ExportSource) -> Iterator[tuple[dict[str, Any], str]]:
    """Chat request bodies taken from the parity samples, each with the prompt that training and serving render."""
    choice, tools = source.renderer.choice, source.metadata.definitions or None
    conversations = PLAIN_CONVERSATIONS + (CALL_CONVERSATIONS if tools else [])
    for messages in conversations:
        for end in range(1, 2 if choice.composed else len(messages) + 1):
            if messages[end - 1]["role"] in ("user", "tool"):
                segments = choice.composer.segments(messages[:end], tools, answer_next=True)
                body = {"messages": list(map(_on_the_wire, messages[:end])), **({"tools": tools} if tools else {})}
                prompt = "".join(segment.text for segment in segments)
                yield body | {"chat_template_kwargs": {"enable_thinking": False}}, prompt


def _on_the_wire(message: dict[str, Any]) -> dict[str, Any]:
    """`message` in the API's format, in which the arguments of tool calls are JSON text."""
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
        for call in message.get("tool_calls", [])
    ]
    return {**message, "tool_calls": calls} if calls else message


def _text_difference(renderer: Renderer, tokens: Sequence[Sequence[int]]) -> str:
    for text, ids in zip(_TEXTS, tokens, strict=True):
        if renderer.plain_text(text) != list(ids):
            return say(
                f"llama.cpp tokenizes {json.dumps(text)} differently from training",
                f"llama.cpp 对 {json.dumps(text, ensure_ascii=False)} 的分词与训练时不同",
            )
    return ""


def _prompt_difference(expected: Sequence[str], prompts: Sequence[str]) -> str:
    for prompt, answer in zip(expected, prompts, strict=True):
        if prompt != answer:
            return say(
                f"llama.cpp renders a conversation differently from training: {json.dumps(answer)} instead of "
                f"{json.dumps(prompt)}",
                f"llama.cpp 渲染的对话与训练时不同：{json.dumps(answer, ensure_ascii=False)}，"
                f"应为 {json.dumps(prompt, ensure_ascii=False)}",
            )
    return ""
