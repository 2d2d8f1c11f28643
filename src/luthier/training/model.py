"""The model that a job trains: a base model with LoRA, or all of its weights.

Weights are read only from safetensors, and code that comes with a model is never run.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers.modeling_layers import GradientCheckpointingLayer

from luthier.arch.model_config import load_config
from luthier.arch.peft_rounding import round_once
from luthier.arch.row_mixing import RowReason, separate_rows, short_tokens
from luthier.arch.text_model import load_causal_lm
from luthier.training import sharding
from luthier.training.compute_device import ComputeDevice
from luthier.training.job_spec import JobSpec
from luthier.training.kernels.attention import NAME
from luthier.training.lora import adapter, full_decoder, full_finetune, fused_decoder
from luthier.training.output_head import OutputHead
from luthier.training.packing.row_leak import leaks
from luthier.training.protocol import ShardedBase, TrainableParameters
from luthier.training.rank_environment import rank_of_environment
from luthier.training.ranks import Ranks


class TrainedModel:
    """`module`: a PeftModel, or with full fine-tuning transformers' causal language model."""

    def __init__(self, spec: JobSpec, ranks: Ranks | None = None) -> None:
        """`ranks`: the ranks that load the model together; None: only this process.

        Raises JobError for LoRA targets that the base does not have, for too little memory, and for a base that cannot
        be sharded; BaseModelError.
        """
        self._spec = spec
        self.compute = ComputeDevice.of_job(spec)
        ranks = ranks or Ranks()
        if spec.shard_base:
            sharding.require_support(spec, ranks)
        if spec.tuning == "full":
            full_finetune.require_memory(Path(spec.base), load_config(Path(spec.base)), self.compute.device)
        else:
            sharding.require_memory(spec, self.compute, ranks)
        self.module = load_model(spec, self.compute, ranks)
        self.parameters = trainable_parameters(self.module)

    @property
    def config(self) -> Any:
        return base_of(self.module).config

    @property
    def separate_rows(self) -> RowReason | None:
        """The reason for separate rows; None if examples are packed."""
        reason: RowReason | None = self.module.luthier_separate_rows
        return reason

    @property
    def short_tokens(self) -> int | None:
        """With LongRoPE, the length above which an example does not share a row with shorter ones."""
        return short_tokens(self.config)

    @property
    def is_sharded(self) -> bool:
        """Whether a forward pass needs all ranks (`luthier.training.sharding`)."""
        return self._spec.shard_base

    @property
    def supports_thread_shares(self) -> bool:
        """Whether threads may compute examples at once: on the CPU, with LoRA on the fused path, whose passes change
        nothing that they share. With full fine-tuning, the gradients of each thread would be as large as the model."""
        return (
            self.compute.device.type == "cpu"
            and self._spec.tuning == "lora"
            and self.module.luthier_fused is not None
            and not self.is_sharded
        )

    @property
    def activation_dtype(self) -> torch.dtype:
        """The largest dtype of activations, for memory estimates."""
        return torch.float32 if self._spec.tuning == "full" else self.compute.dtype

    def step_bytes(self) -> int:
        """Memory that the first optimizer step allocates; next to none with LoRA."""
        return full_finetune.step_bytes(self.module) if self._spec.tuning == "full" else 0

    def enable_gradient_checkpointing(self) -> None:
        """Let layers save only their inputs and recompute their activations, which is slower but needs a fraction of
        the memory."""
        fused = self.module.luthier_fused
        if fused is not None:
            fused.gradient_checkpointing = True
        else:
            base_of(self.module).gradient_checkpointing_enable({"use_reentrant": False})
            for layer in self.module.modules():
                if isinstance(layer, GradientCheckpointingLayer):
                    layer.training = True  # otherwise it keeps its activations; its submodules stay without dropout

    @contextmanager
    def without_adapter(self) -> Iterator[bool]:
        """Within the block, the model gives the base model's outputs; yields False, without a change, with full
        fine-tuning."""
        if not isinstance(self.module, PeftModel):
            yield False
            return
        with self.module.disable_adapter():
            yield True

    def describe(self) -> TrainableParameters:
        count = sum(parameter.numel() for parameter in self.parameters.values())
        if not isinstance(self.module, PeftModel):
            return TrainableParameters(count=count)
        config = self.module.peft_config["default"]
        layers = sorted({name.split(".lora_")[0].rsplit(".", 1)[1] for name in self.parameters})
        return TrainableParameters(count=count, rank=config.r, alpha=config.lora_alpha, layers=layers)

    def describe_shards(self) -> ShardedBase:
        local, weights = sharding.frozen_weights(self.module)
        return ShardedBase(processes=rank_of_environment().ranks, local=local, weights=weights)

    def write(self, folder: Path) -> None:
        """Write weights and config: an adapter in PEFT's format, or a complete model with its tokenizer."""
        if self._spec.tuning == "full":
            full_finetune.write(self.module, Path(self._spec.base), folder, self.compute.dtype)
        else:
            adapter.write(self.module, self._spec.base_name, folder)


def load_model(spec: JobSpec, compute: ComputeDevice, ranks: Ranks | None = None) -> Any:
    """The base on its device, with a LoRA adapter or with all weights trainable.

    It is in evaluation mode, as in serving: a base's dropout and jitter are off. `ranks` as in `TrainedModel`. Raises
    JobError for LoRA targets that the base does not have; BaseModelError.
    """
    ranks = ranks or Ranks()
    reason = separate_rows(load_config(Path(spec.base)))
    model = _load(spec, compute, reason, ranks)
    with compute.autocast():
        is_leaking = reason is None and leaks(model, base_of(model).config.vocab_size)
    if is_leaking:
        model = _load(spec, compute, "mixed_rows", ranks)
    return model


def _load(spec: JobSpec, compute: ComputeDevice, reason: RowReason | None, ranks: Ranks) -> Any:
    """`reason`: the reason for separate rows, if any; transformers then chooses the attention that the base needs."""
    torch.manual_seed(spec.seed)
    full = spec.tuning == "full"
    attention = {} if reason else {"attn_implementation": NAME}
    mesh = sharding.device_mesh(compute, ranks) if spec.shard_base else None
    with ranks.in_turn() if mesh else nullcontext():  # the whole base is in memory until it is sharded
        base = load_causal_lm(
            Path(spec.base),
            load_config(Path(spec.base)),
            dtype=torch.float32 if full else compute.dtype,
            **attention,
        )
        head = OutputHead.of(base.eval())
        if full:
            model = full_finetune.prepare(base, spec.parent).to(compute.device).eval()
            model.luthier_fused = None if reason else full_decoder.write_out(model, compute.dtype)
        else:
            model = adapter.attach(base, spec).eval()
            model = sharding.shard(model, mesh, compute.device) if mesh else model.to(compute.device)
            round_once(model)
            model.luthier_fused = None if reason or mesh else fused_decoder.fuse(model)
    model.luthier_head, model.luthier_separate_rows = head, reason
    return model


def base_of(module: Any) -> Any:
    """The model below the adapter; with full fine-tuning the module itself."""
    return module.get_base_model() if isinstance(module, PeftModel) else module


def trainable_parameters(module: Any) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
