"""Suggestions of base models: one dated table, filtered by language, task and this machine's memory.

Licences and languages are those of the model cards as of `DATED`; read the card before you rely on one. docs/models.md
describes what works; `tried` says how it was tested.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from luthier.catalogue.training_speed import Speed, nearest_scaled

DATED = "2026-11-29"
MAX_SUGGESTIONS = 3
_MEMORY_SHARE = 0.8  # of what is free; the rest is for everything else

Task = Literal["calls", "chat", "reasoning"]
Tried = Literal["weights", "template", "architecture"]


@dataclass(frozen=True)
class KnownBase:
    """Attributes:
    source: What `luthier models pull` takes.
    parameters: In millions.
    languages: ISO 639-1 codes in which its maker says it is good, or `*` for a hundred and more.
    calls: The form of its calls, see docs/models.md; `luthier` for Luthier's own in place of none.
    context_tokens: Of the maker's config.
    reasoning: Whether it can reason before it answers.
    rows: Whether training packs examples, or gives each a row of its own, which is slower.
    tried: On its real weights here; with its maker's template on tiny random weights; or its architecture alone.
    repository: Of the maker's card on the Hugging Face hub, where it is not the source.
    """

    source: str
    parameters: int
    licence: str
    languages: str
    calls: str
    context_tokens: int
    reasoning: bool = False
    rows: Literal["packed", "separate"] = "packed"
    tried: Tried = "template"
    repository: str = ""

    @property
    def card(self) -> str:
        """The address of the maker's card."""
        return f"https://huggingface.co/{self.repository or self.source}"

    @property
    def weight_bytes(self) -> int:
        """In bfloat16."""
        return self.parameters * 2_000_000

    def speaks(self, language: str) -> bool:
        return bool({language, "*"} & set(self.languages.split()))


_EUROPEAN = "en fr de es it pt"
_ASIAN_TOO = f"{_EUROPEAN} zh ja ko ar"
# From the smallest to the largest.
KNOWN_BASES = (
    KnownBase("smollm2-135m-instruct", 135, "Apache-2.0", "en", "luthier", 8192, tried="weights",
              repository="HuggingFaceTB/SmolLM2-135M-Instruct"),
    KnownBase("google/gemma-3-270m-it", 268, "Gemma", _EUROPEAN, "luthier", 32_768),
    KnownBase("ibm-granite/granite-4.0-350m", 352, "Apache-2.0", f"{_ASIAN_TOO} cs nl", "hermes", 32_768,
              tried="architecture"),
    KnownBase("LiquidAI/LFM2-350M", 354, "LFM-1.0", _ASIAN_TOO, "lfm2", 32_768, rows="separate"),
    KnownBase("Qwen/Qwen2.5-0.5B-Instruct", 494, "Apache-2.0", f"{_ASIAN_TOO} ru vi th", "hermes", 32_768),
    KnownBase("Qwen/Qwen3-0.6B", 596, "Apache-2.0", "*", "hermes", 40_960, reasoning=True),
    KnownBase("Qwen/Qwen3.5-0.8B", 853, "Apache-2.0", "*", "qwen3-xml", 262_144, reasoning=True, rows="separate"),
    KnownBase("meta-llama/Llama-3.2-1B-Instruct", 1236, "Llama 3.2", f"{_EUROPEAN} hi th", "llama3", 131_072),
    KnownBase("Qwen/Qwen2.5-1.5B-Instruct", 1544, "Apache-2.0", f"{_ASIAN_TOO} ru vi th", "hermes", 32_768),
    KnownBase("Qwen/Qwen3-1.7B", 1721, "Apache-2.0", "*", "hermes", 40_960, reasoning=True),
    KnownBase("Qwen/Qwen3-4B", 4022, "Apache-2.0", "*", "hermes", 40_960, reasoning=True),
    KnownBase("Qwen/Qwen3-4B-Instruct-2507", 4022, "Apache-2.0", "*", "hermes", 262_144),
)  # fmt: skip


@dataclass(frozen=True)
class Suggestion:
    """A base, and what training on it takes here. `seconds`: for the tokens that were named; None without a rate."""

    base: KnownBase
    memory_bytes: int
    seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        base = asdict(self.base) | {"card": self.base.card}
        return {**base, "memory_bytes": self.memory_bytes, "seconds": self.seconds, "dated": DATED}


def suggest(
    language: str, task: Task, trained_tokens: int, free_bytes: int, speeds: Iterable[Speed], max_s: float
) -> list[Suggestion]:
    """At most three, the largest first: those that speak the language, do the task, fit into memory and into `max_s`.

    The smallest that fits into memory is among them where none is fast enough.
    """
    measured_bases = list(speeds)
    suggestions = [
        _for_machine(base, trained_tokens, measured_bases)
        for base in KNOWN_BASES
        if base.speaks(language) and (task != "reasoning" or base.reasoning)
    ]
    fitting = [entry for entry in suggestions if entry.memory_bytes <= _MEMORY_SHARE * free_bytes]
    quick = [entry for entry in fitting if entry.seconds is None or entry.seconds <= max_s]
    chosen = quick or fitting[:1]
    if task == "calls":  # a form of its own, which it was taught, before Luthier's
        own = [entry for entry in chosen if entry.base.calls != "luthier"]
        chosen = own or chosen
    of_size = {entry.base.parameters: entry for entry in chosen}  # of two editions the later in the table
    return list(of_size.values())[::-1][:MAX_SUGGESTIONS]


def _for_machine(base: KnownBase, trained_tokens: int, speeds: Sequence[Speed]) -> Suggestion:
    speed = nearest_scaled(speeds, base.weight_bytes)
    if speed is None:
        return Suggestion(base, base.weight_bytes * 2, None)
    return Suggestion(base, speed.memory_bytes, trained_tokens / speed.tokens_per_s)
