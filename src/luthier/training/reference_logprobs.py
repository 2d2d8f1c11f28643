"""The reference model of DPO: log-probabilities of both answers before training, computed once per job."""

from pathlib import Path
from threading import Event

import numpy as np
import torch

from luthier.training.forward_pass import ForwardPass, in_chunks
from luthier.training.objectives import sequence_logprobs
from luthier.training.ranks import Ranks
from luthier.training.training_data import Split, TrainingData
from luthier.types.durable_text import replace_durably


@torch.no_grad()
def load_or_compute(
    folder: Path, data: TrainingData, split: Split, forward: ForwardPass, stop: Event, ranks: Ranks
) -> np.ndarray:
    """float32 [examples, 2], memory-mapped from `SPLIT.reference.npy`. Raises Stopped once `stop` is set."""
    path = folder / f"{split}.reference.npy"
    if ranks.any(ranks.is_first and not path.exists()):
        count = len(data.splits[split])
        logprobs = torch.zeros(count, 2, device=forward.model.compute.device)
        for examples in in_chunks(data, split, range(count), stop, ranks):
            for micro in forward.micro_batches(examples):
                sums = sequence_logprobs(micro.logprobs, micro.packed, 2 * len(micro.examples)).view(-1, 2)
                logprobs[[example.index for example in micro.examples]] = sums
        ranks.sum_(logprobs)
        with ranks.first_alone():
            if ranks.is_first:
                with replace_durably(path) as file:
                    np.save(file, logprobs.cpu().numpy())
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
