"""Resolves `auto` hyperparameters to numbers; no other module does.

Sources: `n_epochs` is OpenAI's published rule, with more epochs for a small set of function calls (measured). The
learning rate is the fit that Thinking Machines published in tinker-cookbook (hyperparam_utils.py) for LoRA,
5e-5 x 10 x (2000 / hidden)^p with p = 0.781 for models built like Llama. `batch_size` grows with the square root of
examples x epochs, as the number of steps does: LoRA tolerates large batches badly (Schulman et al., LoRA Without
Regret, 2025). Its constant was measured, see docs/training.md.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luthier.data.cost_estimate import auto_epochs, openai_epochs

_EXPONENT = {"qwen2": 0.0775, "qwen3": 0.0775, "llama": 0.781, "mistral": 0.781, "smollm3": 0.781}
_DEFAULT_EXPONENT = 0.5
_EXAMPLES_OF_BATCH_1 = 75  # times epochs
_MAX_AUTO_BATCH = 32
_DEFAULT_BETA = 0.1  # the DPO paper's
_FULL_RATE_FACTOR = 0.1  # relative to LoRA, by the same fit
_DPO_RATE_FACTOR = 0.1  # relative to supervised training: preferences adjust a model that can already answer


@dataclass(frozen=True)
class ResolvedHyperparameters:
    """`learning_rate` is the peak: the base model's own times `learning_rate_multiplier`. `beta`: of DPO.

    `auto`: the names of those that the job left to be resolved.
    """

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    learning_rate: float
    steps_per_epoch: int
    beta: float | None = None
    auto: tuple[str, ...] = ()

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.n_epochs

    def ends_epoch(self, step: int) -> bool:
        return step % self.steps_per_epoch == 0

    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters as the API shows them for a running job."""
        fields = {
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        }
        return fields if self.beta is None else {**fields, "beta": self.beta}


def resolve(
    requested: Mapping[str, Any],
    examples: int,
    model_type: str,
    hidden_size: int,
    method: str = "supervised",
    tuning: str = "lora",
    *,
    in_file: int | None = None,
    call_share: float = 0,
) -> ResolvedHyperparameters:
    """A number for each hyperparameter of the method; missing ones are `auto`.

    `in_file`: the examples of the training file, from which jobs derive more; None: the same number. `call_share`: of
    those, the ones that call a function.
    """
    in_file = examples if in_file is None else in_file
    names = ["n_epochs", "batch_size", "learning_rate_multiplier", *(["beta"] if method == "dpo" else [])]
    auto = tuple(name for name in names if requested.get(name, "auto") == "auto")
    if "n_epochs" in auto:
        n_epochs = auto_epochs(in_file, call_share)
        epochs_of_batch = openai_epochs(in_file)  # the epochs that calls get on top add steps
    else:
        n_epochs = epochs_of_batch = requested["n_epochs"]
    batch_size = _auto_batch_size(examples, epochs_of_batch) if "batch_size" in auto else requested["batch_size"]
    batch_size = min(batch_size, examples)
    multiplier = 1.0 if "learning_rate_multiplier" in auto else float(requested["learning_rate_multiplier"])
    learning_rate = base_learning_rate(model_type, hidden_size) * multiplier
    if tuning == "full":
        learning_rate *= _FULL_RATE_FACTOR
    beta = None
    if method == "dpo":
        learning_rate *= _DPO_RATE_FACTOR
        beta = _DEFAULT_BETA if "beta" in auto else requested["beta"]
    steps = math.ceil(examples / batch_size)
    return ResolvedHyperparameters(n_epochs, batch_size, multiplier, learning_rate, steps, beta, auto)


def base_learning_rate(model_type: str, hidden_size: int) -> float:
    """The learning rate at multiplier 1: for LoRA on all linear layers of this model."""
    return 5e-4 * float((2000 / hidden_size) ** _EXPONENT.get(model_type, _DEFAULT_EXPONENT))


def _auto_batch_size(examples: int, n_epochs: int) -> int:
    """A power of two, rounded down: more steps rather than fewer."""
    target = math.sqrt(examples * n_epochs / _EXAMPLES_OF_BATCH_1)
    return min(_MAX_AUTO_BATCH, 1 << math.floor(math.log2(max(target, 1))))
