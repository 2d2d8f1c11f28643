"""Each family on a tiny random model: the engine that `auto` selects generates what transformers generates."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiers import TIERS, held_to
from transformers import AutoModelForCausalLM

from families import FAMILIES, make_base
from luthier.inference import EngineRequest, SamplingParams
from luthier.inference.engines.native import library
from luthier.inference.engines.native.library import unavailable
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine, select_engine
from luthier.native import NO_COMPILER
from luthier.types.errors import BaseModelError

OPTIONS = EngineOptions(device="cpu", precision="float32")
FASTEST = "batched" if unavailable() else "native"
PROMPT = [index % 200 for index in range(0, 900, 7)]


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_are_those_of_transformers(tiny_base: Path, tmp_path: Path, name: str) -> None:
    family = FAMILIES[name]
    base = make_base(tmp_path, tiny_base, family, spread=0.5)
    prompt = torch.tensor([PROMPT])
    expected = AutoModelForCausalLM.from_pretrained(base).generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False, eos_token_id=None
    )
    fastest = FASTEST if family.fused else "batched" if family.batched else "transformers"
    assert select_engine(base, OPTIONS).name == fastest
    for engine_name in ("auto", *(["batched"] if family.fused else [])):
        engine = build_engine(base, replace(OPTIONS, engine=engine_name))
        greedy = SamplingParams(max_tokens=20, stop_ids=frozenset(), temperature=0.0)
        tokens = [token.id for token in engine.submit(EngineRequest(PROMPT, greedy))]
        engine.close()
        assert tokens == expected[0, len(PROMPT) :].tolist()
        assert len(set(tokens)) > 3  # else any engine would pass


@pytest.mark.skipif(bool(unavailable()), reason=f"{unavailable()}")
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("tier", TIERS)
def test_native_is_selected_on_every_tier(tiny_base: Path, tier: str, precision: str) -> None:
    with held_to(tier):
        assert select_engine(tiny_base, replace(OPTIONS, precision=precision)).name == "native"


def test_without_a_compiler_another_engine_is_selected(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_library", lambda *_: None)
    assert select_engine(tiny_base, OPTIONS).name == "batched"
    with pytest.raises(BaseModelError, match=re.escape(NO_COMPILER)):
        build_engine(tiny_base, replace(OPTIONS, engine="native"))
