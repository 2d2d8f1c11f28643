"""How long the steps of a job would take if nothing but its matrix products took time; a part of `training.py`.

Counted are the products of the frozen weights, forward and for the gradients of their inputs, those of the adapters,
and those of the output layer at trained positions. Attention is not: its products differ with the lengths of examples.
"""

import time
from pathlib import Path
from typing import NamedTuple

import torch

from luthier.arch import DecoderSpec
from luthier.arch.model_config import load_config
from luthier.arch.projections import output_sizes, shapes
from luthier.data.rendering.renderer import Renderer
from luthier.training import batching, dataset
from luthier.training.compute_device import ComputeDevice
from luthier.training.job_spec import JobSpec
from luthier.training.logprobs import pack

ROWS, REPETITIONS = 2048, 20


class Step(NamedTuple):
    """`tokens`: of its examples; `computed`: those of them that differ, a shared beginning counted once."""

    tokens: int
    computed: int
    trained: int


def read_steps(folder: Path, spec: JobSpec, batch_size: int) -> list[Step]:
    """Of the first epoch."""
    examples = dataset.load(folder / "train.jsonl", dataset.Options(Renderer(Path(spec.base)), 65_536), "training_file")
    order = batching.epoch_order(spec.seed, 0, len(examples))
    rows = [examples.example(int(index))[0] for index in order]
    steps = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        packed = pack(batch, torch.device("cpu"))
        steps.append(Step(sum(len(row.ids) for row in batch), packed.ids.shape[1], len(packed.targets)))
    return steps


class Ceiling:
    """`dtype`: the one that training computes in; `faster`: the one in which this CPU multiplies faster."""

    def __init__(self, spec: JobSpec, threads: int, *, cpu: bool) -> None:
        """`threads`: 0 for as many as PyTorch takes. `cpu`: seconds are CPU seconds, of one thread."""
        if cpu or threads:
            torch.set_num_threads(1 if cpu else threads)
        decoder = DecoderSpec.from_config(load_config(Path(spec.base)))
        assert isinstance(decoder, DecoderSpec)
        self._layers, self._rank = decoder.layers, spec.lora_rank
        self._shapes, self._sizes = shapes(decoder), output_sizes(decoder)
        self._head = decoder.hidden_size, decoder.vocab_size
        self._clock = time.process_time if cpu else time.perf_counter
        self.dtype = ComputeDevice.of_job(spec).dtype
        speeds = {dtype: self._speed(self._shapes["gate_up"], dtype) for dtype in (torch.float32, torch.bfloat16)}
        self.faster = max(speeds, key=speeds.__getitem__)
        self.speeds = {shape: self._speed(shape, self.dtype) for shape in {*self._shapes.values(), self._head}}

    def seconds(self, step: Step) -> float:
        """Of one step's matrix products, at the speeds measured for their shapes."""
        seconds = 4 * self._head[0] * self._head[1] * step.trained / self.speeds[self._head]
        for name, (inputs, outputs) in self._shapes.items():
            base = 4 * inputs * outputs
            adapters = sum(6 * self._rank * (inputs + size) for size in self._sizes[name])
            seconds += self._layers * step.computed * (base + adapters) / self.speeds[inputs, outputs]
        return seconds

    def describe(self) -> str:
        gflops = ", ".join(f"{inputs}x{outputs} {rate / 1e9:.0f}" for (inputs, outputs), rate in self.speeds.items())
        return f"GFLOP/s in {str(self.dtype).removeprefix('torch.')}, by shape: {gflops}"

    def _speed(self, shape: tuple[int, int], dtype: torch.dtype) -> float:
        """Floating-point operations per second of a product with a weight of this shape, at its best."""
        inputs, outputs = shape
        rows = min(ROWS, max(64, 2**24 // outputs))  # of a large output layer as many as training takes at once
        x, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
        best = float("inf")
        for _ in range(REPETITIONS):
            started = self._clock()
            x @ weight.T
            best = min(best, self._clock() - started)
        return 2 * rows * inputs * outputs / best
