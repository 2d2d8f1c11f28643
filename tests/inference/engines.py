"""The engines under test, and helpers that run requests on one."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from peft import PeftModel
from tiers import NARROW, TIERS, held_to
from transformers import AutoModelForCausalLM
from vllm_stand_in import running

from luthier.inference import Engine, EngineRequest, SamplingParams
from luthier.inference.options import EngineOptions, VllmOptions
from luthier.inference.registry import build_engine


def _named(name: str) -> Callable[[Path, EngineOptions], Engine]:
    return lambda base, options: build_engine(base, replace(options, engine=name))


def _native_on(tier: str) -> Callable[[Path, EngineOptions], Engine]:
    def start(base: Path, options: EngineOptions) -> Engine:
        with held_to(tier):
            return _named("native")(base, options)

    return start


def _vllm(base: Path, options: EngineOptions) -> Engine:
    """Against a stand-in, which has another engine behind it."""
    from luthier.inference.engines.vllm.engine import VllmEngine

    stack = ExitStack()
    behind = _named("batched")(base, replace(options, max_requests_per_key=1000))
    served = stack.enter_context(running(base, behind))
    engine = VllmEngine(base, replace(options, vllm=VllmOptions(url=served.url)))
    close = engine.close
    engine.close = lambda: (close(), stack.close())  # type: ignore[method-assign]
    return engine


ENGINES: dict[str, Callable[[Path, EngineOptions], Engine]] = {
    "transformers": _named("transformers"),
    "batched": _named("batched"),
    "vllm": _vllm,
    **({"native": _named("native")} if TIERS else {}),
    **{f"native on {tier}": _native_on(tier) for tier in NARROW if tier != TIERS[0]},
}


OPTIONS = EngineOptions(device="cpu", precision="float32", max_loras=2, max_requests_per_key=8)


def sampling(**params) -> SamplingParams:
    return SamplingParams(**{"max_tokens": 24, "stop_ids": frozenset(), "temperature": 0.0, **params})


def ids(engine: Engine, prompt: list[int], adapter: Path | None = None, **params) -> list[int]:
    return [token.id for token in engine.submit(EngineRequest(prompt, sampling(**params), adapter))]


def reference(base: Path, prompt: list[int], adapter: Path | None) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(adapter)) if adapter else model
    output = model.eval().generate(
        input_ids=torch.tensor([prompt]), max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    return output[0, len(prompt) :].tolist()
