"""The table of bases, and which of them are suggested."""

from dataclasses import replace

import pytest

from luthier.catalogue.suggestions import KNOWN_BASES, MAX_SUGGESTIONS, Task, suggest
from luthier.catalogue.training_speed import Speed
from luthier.data.rendering.marked_form import SpecialTokens
from luthier.data.rendering.template_choice import FORMS

GIB = 1024**3
NIGHT_S = 8 * 3600.0
HERE = Speed(tokens_per_s=400, memory_bytes=GIB, weight_bytes=270_000_000)


def _sources(language: str, task: Task, *, free_bytes: int = 64 * GIB, speed: Speed | None = HERE) -> list[str]:
    speeds = [speed] if speed else []
    return [entry.base.source for entry in suggest(language, task, 100_000, free_bytes, speeds, NIGHT_S)]


def test_the_table_is_sorted_and_names_what_exists() -> None:
    assert [base.parameters for base in KNOWN_BASES] == sorted(base.parameters for base in KNOWN_BASES)
    forms = {form(SpecialTokens.of([], {})).name for form in FORMS}
    assert {base.calls for base in KNOWN_BASES} <= forms | {"luthier"}
    assert all(base.licence and base.languages and base.card.startswith("https://") for base in KNOWN_BASES)
    assert len({base.source for base in KNOWN_BASES}) == len(KNOWN_BASES)


@pytest.mark.parametrize("language", ["zh", "en", "de", "ja", "sw"])
@pytest.mark.parametrize("task", ["calls", "chat", "reasoning"])
def test_two_or_three_of_different_sizes_speak_the_language(language: str, task: Task) -> None:
    entries = suggest(language, task, 100_000, 64 * GIB, [HERE], NIGHT_S)
    assert 2 <= len(entries) <= MAX_SUGGESTIONS
    sizes = [entry.base.parameters for entry in entries]
    assert sizes == sorted(set(sizes), reverse=True)
    for entry in entries:
        assert entry.base.speaks(language)
        assert entry.base.reasoning or task != "reasoning"
        assert entry.base.calls != "luthier" or task != "calls"


def test_memory_and_a_night_are_limits() -> None:
    assert _sources("zh", "calls")[0] == "Qwen/Qwen3-4B-Instruct-2507"
    assert all("4B" not in source for source in _sources("zh", "calls", free_bytes=12 * GIB))
    slow = _sources("zh", "calls", speed=replace(HERE, tokens_per_s=20))
    assert slow
    assert all("4B" not in source and "1.7B" not in source for source in slow)
    assert _sources("zh", "calls", speed=replace(HERE, tokens_per_s=0.1)) == ["ibm-granite/granite-4.0-350m"]
    assert _sources("zh", "calls", free_bytes=GIB // 2) == []


def test_time_and_memory_are_scaled_from_what_was_measured() -> None:
    (entry,) = [
        entry
        for entry in suggest("zh", "calls", 100_000, 64 * GIB, [HERE], NIGHT_S)
        if entry.base.source == "Qwen/Qwen3-4B-Instruct-2507"
    ]
    assert entry.seconds == pytest.approx(100_000 / 400 * 8_044 / 270)
    assert entry.memory_bytes == GIB + 2 * (entry.base.weight_bytes - HERE.weight_bytes)
    assert entry.to_dict()["card"] == "https://huggingface.co/Qwen/Qwen3-4B-Instruct-2507"


def test_without_a_measurement_no_time_is_said() -> None:
    assert {entry.seconds for entry in suggest("en", "chat", 1000, 64 * GIB, [], NIGHT_S)} == {None}
