"""FSDP2: the base's layers are sharded over the ranks, for a base that is larger than a device.

A rank keeps its part of every frozen weight of a layer. A layer gathers the other parts before its forward and backward
pass, and drops them afterwards. So a forward pass is a collective operation: all ranks do the same number, in the same
order. Embeddings, output layer and adapter are complete on each rank; the adapter's gradients are summed as without
FSDP2. Only transformers' own layers gather, since FSDP2 sees calls of modules, and not the fused layers.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

from luthier.training import token_budget
from luthier.training.compute_device import ComputeDevice
from luthier.training.job_spec import JobSpec
from luthier.training.ranks import Ranks
from luthier.types.errors import JobError
from luthier.types.job_options import TUNING
from luthier.weights import count_layer_parameters, count_parameters

_CODE = "sharding_unsupported"


def require_support(spec: JobSpec, ranks: Ranks) -> None:
    """Raises JobError for a job whose base cannot be sharded."""
    if spec.tuning == "full":
        raise JobError(
            _CODE,
            f"LUTHIER_SHARD_BASE shards a frozen base, and '{TUNING}' trains all of its weights. Leave '{TUNING}' out "
            "to train an adapter, or set LUTHIER_SHARD_BASE=false.",
            "metadata",
        )
    if ranks.count == 1:
        raise JobError(
            _CODE,
            "LUTHIER_SHARD_BASE shards a base over several processes, and this job has one. Set "
            "LUTHIER_TRAINING_PROCESSES to the number of GPUs, or LUTHIER_SHARD_BASE=false.",
        )


def require_memory(spec: JobSpec, compute: ComputeDevice, ranks: Ranks) -> None:
    """Raises JobError on all ranks if the frozen base does not fit into the free memory of each."""
    folder = Path(spec.base)
    parameters, in_layers = count_parameters(folder), count_layer_parameters(folder) if spec.shard_base else 0
    needed = compute.dtype.itemsize * (parameters - in_layers + in_layers // ranks.count)
    free = -ranks.largest(-token_budget.free_bytes(compute.device))
    if needed <= free:
        return
    base, dtype = f"The base model {spec.base_name}", str(compute.dtype).removeprefix("torch.")
    if spec.shard_base:
        subject = f"{base}, sharded over {ranks.count} processes, takes"
        remedy = "Take more GPUs or machines"
    else:
        subject = f"{base} takes"
        remedy = "Set LUTHIER_SHARD_BASE=true with several GPUs or machines (LUTHIER_TRAINING_PROCESSES, torchrun)"
    raise JobError(
        "insufficient_memory",
        f"{subject} {needed / 1e9:.1f} GB of memory in {dtype}, and {free / 1e9:.1f} GB are free. {remedy}, "
        "take a smaller base model, or free some memory.",
    )


def device_mesh(compute: ComputeDevice, ranks: Ranks) -> DeviceMesh:
    """The device mesh; all ranks must call this."""
    return init_device_mesh(compute.device.type, (ranks.count,))


def shard(model: PeftModel, mesh: DeviceMesh, device: torch.device) -> PeftModel:
    """Move this rank's part of the layers, one by one, from the CPU to `device`.

    Raises JobError for a model without layers.
    """
    body = model.get_base_model().base_model
    layers = list(_outermost_layers(body))
    if not layers:
        raise JobError(
            _CODE,
            f"LUTHIER_SHARD_BASE cannot shard a {type(body).__name__}: it has no layers that are called one by one. "
            "Set LUTHIER_SHARD_BASE=false, or take another base model.",
        )
    whole = _whole_parameters(model, layers)
    for module in (*layers, body):  # FSDP2 wants the inner modules first, and the one that is called as the root
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    for tensor in (*whole, *model.buffers()):
        tensor.data = tensor.data.to(device)
    return model


def _whole_parameters(model: PeftModel, layers: Sequence[torch.nn.Module]) -> set[torch.nn.Parameter]:
    """The parameters that are not sharded: trained ones, those outside of layers or used in several places, and
    scalars.

    The others are referred to by their layers alone, so that each layer's memory is free once it is sharded.
    """
    uses = Counter(parameter for _, parameter in model.named_parameters(remove_duplicate=False))
    in_layers = {parameter for layer in layers for parameter in layer.parameters()}
    return {
        parameter
        for parameter, count in uses.items()
        if parameter.requires_grad or parameter not in in_layers or count > 1 or not parameter.ndim
    }


def _outermost_layers(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    for child in module.children():
        if isinstance(child, GradientCheckpointingLayer):
            yield child
        else:
            yield from _outermost_layers(child)


def frozen_weights(model: Any) -> tuple[int, int]:
    """(Number of weights on this rank, number of all weights)."""
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    local = sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in frozen)
    return local, sum(parameter.numel() for parameter in frozen)
