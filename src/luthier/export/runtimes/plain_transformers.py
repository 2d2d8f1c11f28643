"""Scores with transformers and PEFT alone, without any of Luthier's own computations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from transformers.utils import logging as transformers_logging

from luthier.arch.model_config import load_config
from luthier.data.rendering.parity_samples import ParitySample
from luthier.export.runtimes.scores import Scores

transformers_logging.disable_progress_bar()  # the command shows its own progress
TRANSFORMERS = f"transformers {transformers.__version__}"
PEFT = f"{TRANSFORMERS}, peft {peft.__version__}"


def score(
    folder: Path, samples: Sequence[ParitySample], device: str, dtype: torch.dtype, base: Path | None = None
) -> list[Scores]:
    """The scores of the samples with the model in `folder`, or with the adapter in `folder` on the model `base`."""
    model = _load(base or folder, dtype)
    if base:
        model = peft.PeftModel.from_pretrained(model, str(folder))
    model = model.to(device).eval()
    return [_score(model, sample, device) for sample in samples]


def _load(folder: Path, dtype: torch.dtype) -> Any:
    options = {"dtype": dtype, "trust_remote_code": False, "use_safetensors": True, "local_files_only": True}
    return transformers.AutoModelForCausalLM.from_pretrained(folder, config=load_config(folder), **options)


@torch.no_grad()
def _score(model: Any, sample: ParitySample, device: str) -> Scores:
    ids = torch.tensor([sample.ids], device=device)
    places = torch.tensor(sample.positions, device=device)
    logits = model(input_ids=ids).logits[0, places - 1].float()  # [targets, vocabulary]
    logprobs = logits.log_softmax(-1).gather(-1, ids[0, places, None])[:, 0]
    return Scores(logprobs.cpu().numpy(), (logprobs >= logits.log_softmax(-1).amax(-1)).cpu().numpy())
