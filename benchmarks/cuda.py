"""Training and serving on one GPU, with random weights of real shapes: no network and no downloads.

    python benchmarks/cuda.py [--device cuda] [--shapes 135m 1.5b] [--seconds 10] [--json FILE]

Of each shape, in bfloat16:

- parity: log-probabilities of the training path and of the engine `batched` against transformers' own in float32;
- training: tokens per second of whole steps (LoRA, AdamW) over chats and over examples under 1,500 shared tokens; and
  of the same examples, padded, through transformers and PEFT, and through TRL where its wheel is installed;
- serving: tokens per second of the engine `batched`, with 1, 8 and 64 streams.

Sides take turns. A section that fails is named and the others go on. `--device cpu --shapes tiny` tries the script out.
"""

import argparse
import json
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.data.rendering.renderer import Rendered
from luthier.devices import DEVICES
from luthier.inference import Engine, EngineRequest, SamplingParams
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine
from luthier.training.compute_device import ComputeDevice
from luthier.training.job_spec import JobSpec
from luthier.training.logprobs import log_probabilities, pack
from luthier.training.model import load_model, trainable_parameters

SHAPES: dict[str, dict[str, Any]] = {
    "135m": {
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49_152,
    },
    "1.5b": {
        "model_type": "qwen2", "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
        "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151_936,
    },
    "tiny": {
        "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000,
    },
}  # fmt: skip
RANK, LEARNING_RATE = 16, 1e-4
BATCH, SHARED = 16, 1500
STREAMS, PROMPT, ANSWER = (1, 8, 64), 128, 64
Step = Callable[[list[Rendered]], None]


def examples(vocabulary: int, shared: int) -> list[Rendered]:
    """Chats of 100 to 400 tokens, of which the second half is trained, under `shared` tokens that they all have."""
    generator = np.random.default_rng(0)
    prefix = generator.integers(3, vocabulary, shared).tolist()
    examples = []
    for length in generator.integers(100, 400, BATCH).tolist():
        ids = generator.integers(3, vocabulary, length).tolist()
        weights = [0.0] * (shared + length // 2) + [1.0] * (length - length // 2)
        examples.append(Rendered(prefix + ids, weights))
    return examples


class Shape:
    """A folder with random weights, the model to train, and what both sides train with."""

    def __init__(self, folder: Path, name: str, device: str) -> None:
        self.folder, self.device = folder / name, torch.device(device)
        sizes = {"tie_word_embeddings": True, "max_position_embeddings": 8192, "pad_token_id": 0, **SHAPES[name]}
        self.vocabulary = int(sizes["vocab_size"])
        config = AutoConfig.for_model(sizes.pop("model_type"), **sizes)
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(self.folder)

    def trained(self, precision: str) -> tuple[Any, ComputeDevice]:
        spec = JobSpec(str(self.folder), self.folder.name, 1, device=self.device.type, precision=precision)
        compute = ComputeDevice.select(spec.device, spec.precision)
        return load_model(spec, compute), compute

    def plain(self, dtype: torch.dtype) -> Any:
        return AutoModelForCausalLM.from_pretrained(self.folder, dtype=dtype).to(self.device).eval()

    def synchronize(self) -> None:
        if self.device.type != "cpu":
            getattr(torch, self.device.type).synchronize()


def our_step(shape: Shape) -> Step:
    model, compute = shape.trained("bfloat16")
    optimizer = torch.optim.AdamW(trainable_parameters(model).values(), lr=LEARNING_RATE)

    def step(batch: list[Rendered]) -> None:
        with compute.autocast():
            logprobs, _ = log_probabilities(model, pack(batch, compute.device))
        (-logprobs.mean()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def plain_step(shape: Shape) -> Step:
    """transformers and PEFT, with padded rows and the attention of PyTorch."""
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(shape.plain(torch.bfloat16), lora)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE)

    def step(batch: list[Rendered]) -> None:
        width = max(len(example.ids) for example in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        labels = torch.full_like(ids, -100)
        mask = torch.zeros_like(ids)
        for row, example in enumerate(batch):
            length, trained = len(example.ids), torch.tensor(example.weights) > 0
            ids[row, :length], mask[row, :length] = torch.tensor(example.ids), 1
            labels[row, :length][trained] = ids[row, :length][trained]
        inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        model(**{name: tensor.to(shape.device) for name, tensor in inputs.items()}).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def trl_rate(shape: Shape, batch: list[Rendered], steps: int) -> float:
    """Tokens per second of TRL's own trainer. Raises ImportError without its wheel."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = {
        "input_ids": [example.ids for example in batch],
        "labels": [
            [token if weight else -100 for token, weight in zip(example.ids, example.weights, strict=True)]
            for example in batch
        ],
    }
    with tempfile.TemporaryDirectory() as output:
        options = {"output_dir": output, "report_to": [], "save_strategy": "no", "max_length": None, "bf16": True}
        size = {"per_device_train_batch_size": len(batch), "max_steps": steps, "learning_rate": LEARNING_RATE}
        config = SFTConfig(**options, **size, gradient_checkpointing=False, use_cpu=shape.device.type == "cpu")
        lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
        trainer = SFTTrainer(
            shape.plain(torch.bfloat16), config, train_dataset=Dataset.from_dict(rows), peft_config=lora
        )
        start = time.perf_counter()
        trainer.train()
        shape.synchronize()
        return steps * sum(len(example.ids) for example in batch) / (time.perf_counter() - start)


def training(shape: Shape, seconds: float) -> Iterator[tuple[str, float]]:
    """(side and case, tokens per second); sides take turns."""
    sides = {"luthier": our_step(shape), "transformers and PEFT": plain_step(shape)}
    for case, shared in (("chats", 0), ("under shared tokens", SHARED if shape.vocabulary > 1000 else 64)):
        batch = examples(shape.vocabulary, shared)
        tokens, rates = sum(len(example.ids) for example in batch), {name: list[float]() for name in sides}
        end = time.perf_counter() + seconds * len(sides)
        while time.perf_counter() < end or min(map(len, rates.values())) < 3:
            for name, step in sides.items():
                start = time.perf_counter()
                step(batch)
                shape.synchronize()
                rates[name].append(tokens / (time.perf_counter() - start))
        for name, measured in rates.items():
            yield f"{name}, {case}", statistics.median(measured[1:])  # the first is for warming up
        try:
            yield f"TRL, {case}", trl_rate(shape, batch, max(3, len(rates["luthier"]) // 2))
        except ImportError:
            print("TRL is not installed: carry its wheel, and those of accelerate and datasets", flush=True)


def engine_of(shape: Shape) -> Engine:
    options = EngineOptions(engine="batched", device=shape.device.type, precision="bfloat16", prefix_cache_bytes=0)
    return build_engine(shape.folder, options)


def serving(shape: Shape, seconds: float) -> Iterator[tuple[str, float]]:
    """(streams, tokens per second), prompts included in the time."""
    engine = engine_of(shape)
    greedy = SamplingParams(max_tokens=ANSWER, stop_ids=frozenset(), temperature=0.0)
    prompts = [[3 + (seed * 31 + index * 7) % (shape.vocabulary - 3) for index in range(PROMPT)] for seed in range(64)]
    for streams in STREAMS:
        rates, end = list[float](), time.perf_counter() + seconds
        while time.perf_counter() < end or len(rates) < 2:
            start = time.perf_counter()
            running = [engine.submit(EngineRequest(prompt, greedy)) for prompt in prompts[:streams]]
            count = sum(1 for stream in running for _ in stream)
            rates.append(count / (time.perf_counter() - start))
        yield f"{streams} streams", statistics.median(rates[1:])
    engine.close()


@torch.no_grad()
def parity(shape: Shape) -> Iterator[tuple[str, float]]:
    """(what is compared, the mean difference of log-probabilities in nats)."""
    batch = examples(shape.vocabulary, 0)[:4]
    reference, expected = shape.plain(torch.float32), []
    for example in batch:
        ids = torch.tensor([example.ids], device=shape.device)
        logprobs = reference(input_ids=ids).logits[0].float().log_softmax(-1)
        trained = [place for place, weight in enumerate(example.weights) if weight and place]
        expected.append(torch.stack([logprobs[place - 1, example.ids[place]] for place in trained]))
    for precision in ("float32", "bfloat16"):
        model, compute = shape.trained(precision)
        with compute.autocast():
            logprobs, _ = log_probabilities(model, pack(batch, compute.device))
        difference = (logprobs - torch.cat(expected)).abs().mean()
        yield f"training in {precision} against transformers in float32", float(difference)
    engine = engine_of(shape)
    scored = SamplingParams(max_tokens=ANSWER, stop_ids=frozenset(), temperature=0.0)
    prompt = batch[0].ids[:PROMPT]
    tokens = list(engine.submit(EngineRequest(prompt, scored)))
    engine.close()
    ids = torch.tensor([[*prompt, *(token.id for token in tokens)]], device=shape.device)
    logprobs = reference(input_ids=ids).logits[0, PROMPT - 1 : -1].float().log_softmax(-1)
    chosen = torch.stack([row[token.id] for row, token in zip(logprobs, tokens, strict=True)]).cpu()
    engine_logprobs = torch.tensor([token.logprob for token in tokens])
    yield "the engine in bfloat16 against transformers in float32", float((chosen - engine_logprobs).abs().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=DEVICES, default="cuda")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["135m", "1.5b"])
    parser.add_argument("--seconds", type=float, default=10.0, help="per side and case")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not DEVICES[arguments.device].is_available():
        raise SystemExit(f"There is no device {arguments.device} here.")
    print(f"{describe_machine(0)}; {DEVICES[arguments.device].title()}; torch {torch.__version__}", flush=True)
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.shapes:
            shape = Shape(Path(folder), name, arguments.device)
            sections: dict[str, Callable[[], Iterator[tuple[str, float]]]] = {
                "parity": lambda shape=shape: parity(shape),
                "training": lambda shape=shape: training(shape, arguments.seconds),
                "serving": lambda shape=shape: serving(shape, arguments.seconds / 2),
            }
            for section, measure in sections.items():
                row = figures.setdefault(f"{name} {section}", {})
                try:
                    for case, figure in measure():
                        row[case] = figure
                        print(f"{name:6}{section:10}{case:60}{figure:.5g}", flush=True)
                except Exception:
                    print(f"{name:6}{section:10}failed\n{traceback.format_exc()}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
