"""Architectures of equal size, side by side in one run: tokens per CPU second, served and trained.

    python benchmarks/families.py [--rounds 5] [--tokens 48] [--layers 8] [--families qwen3 gemma3_text]

Random weights, the same widths and layers for all, bfloat16 where the CPU has it. Serving is the engine `batched`,
greedy, one stream and eight; training is the forward and backward pass over packed examples with LoRA on all linear
layers. Families take turns, so that whatever else the machine does falls on all. Prints medians, and each as a share
of Qwen2's.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import describe_machine
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.data.rendering.renderer import Rendered
from luthier.inference import Engine, EngineRequest, SamplingParams
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine
from luthier.training.compute_device import ComputeDevice
from luthier.training.job_spec import JobSpec
from luthier.training.logprobs import log_probabilities, pack
from luthier.training.model import load_model

SIZES = {
    "vocab_size": 32_000,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}
REFERENCE = "qwen2"
FAMILIES: dict[str, dict[str, Any]] = {
    REFERENCE: {},
    "qwen3": {},
    "gemma2": {},
    "gemma3_text": {"query_pre_attn_scalar": 64, "sliding_window": 512},
    "phi3": {"sliding_window": None},
    "smollm3": {},
    "granite": {"logits_scaling": 8.0},
    "olmo2": {},
}
STREAMS = (1, 8)
EXAMPLES, EXAMPLE_TOKENS = 8, 256


class Model:
    """One family: a folder with random weights, an engine on it, and the model to train."""

    def __init__(self, folder: Path, family: str, layers: int) -> None:
        self.folder = folder / family
        config = AutoConfig.for_model(family, num_hidden_layers=layers, **(SIZES | FAMILIES[family]))
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(self.folder)
        options = EngineOptions(engine="batched", device="cpu", prefix_cache_bytes=0)
        self.engine: Engine = build_engine(self.folder, options)
        spec = JobSpec(base=str(self.folder), base_name=family, seed=1, device="cpu")
        self.compute = ComputeDevice.of_job(spec)
        self.trained = load_model(spec, self.compute)

    def serve(self, streams: int, tokens: int) -> float:
        """Tokens per CPU second, prompts of 32 tokens included in the time."""
        greedy = SamplingParams(max_tokens=tokens, stop_ids=frozenset(), temperature=0.0)
        start = time.process_time()
        running = [self.engine.submit(EngineRequest(list(range(seed, seed + 32)), greedy)) for seed in range(streams)]
        count = sum(1 for stream in running for _ in stream)
        return count / (time.process_time() - start)

    def train(self) -> float:
        """Tokens per CPU second, forward and backward, every second token a target."""
        ids = torch.randint(SIZES["vocab_size"], (EXAMPLES, EXAMPLE_TOKENS)).tolist()
        examples = [Rendered(row, [float(place % 2) for place in range(EXAMPLE_TOKENS)]) for row in ids]
        start = time.process_time()
        with self.compute.autocast():
            logprobs, _ = log_probabilities(self.trained, pack(examples, self.compute.device))
        logprobs.mean().backward()
        return EXAMPLES * EXAMPLE_TOKENS / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), help="beside Qwen2")
    arguments = parser.parse_args()
    names = list(dict.fromkeys([REFERENCE, *arguments.families]))
    print(describe_machine(0), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        models = {family: Model(Path(folder), family, arguments.layers) for family in names}
        rates: dict[str, dict[str, list[float]]] = {}
        for turn in range(arguments.rounds + 1):
            for family, model in models.items():
                cases = {f"streams: {streams}": model.serve(streams, arguments.tokens) for streams in STREAMS}
                for case, rate in (cases | {"training": model.train()}).items():
                    if turn:  # the first is for warming up
                        rates.setdefault(case, {}).setdefault(family, []).append(rate)
        for model in models.values():
            model.engine.close()
    print("tokens per CPU second".ljust(24), *(case.rjust(18) for case in rates))
    for family in names:
        medians = {case: statistics.median(by_family[family]) for case, by_family in rates.items()}
        reference = {case: statistics.median(by_family[REFERENCE]) for case, by_family in rates.items()}
        columns = (f"{rate:.4g} ({rate / reference[case]:.2f})".rjust(18) for case, rate in medians.items())
        print(family.ljust(24), *columns)


if __name__ == "__main__":
    main()
