"""The corpus and a few inputs made from it, on every target; `make fuzz` tries a million."""

from pathlib import Path

import pytest

from fuzz.__main__ import INPUTS, corpus, run_of
from fuzz.mutation import Mutator

_MUTATED = 25


@pytest.mark.parametrize("target", INPUTS)
def test_no_input_ends_in_a_traceback(target: str, tmp_path: Path) -> None:
    run, inputs = run_of(target), corpus(target)
    mutator = Mutator(inputs, seed=1)
    for data in [*inputs, *(mutator.next() for _ in range(_MUTATED))]:
        run(data, tmp_path)
