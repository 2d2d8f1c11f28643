"""`auto`, resolved in one place, with the reason in words.

Sources: `n_epochs` is OpenAI's published rule. The learning rate is the fit that Thinking Machines published in
tinker-cookbook (hyperparam_utils.py) for LoRA, 5e-5 x 10 x (2000 / hidden)^p with p = 0.781 for models built like
Llama. `batch_size` grows with the square root of examples x epochs, as the number of steps does: LoRA tolerates
large batches badly (Schulman et al., LoRA Without Regret, 2025). Where it starts was measured, see docs/training.md.
"""

import math
from dataclasses import dataclass
from typing import Any

from luthier.data.cost_estimate import n_epochs_auto

_EXPONENT = {"qwen2": 0.0775, "qwen3": 0.0775, "llama": 0.781, "mistral": 0.781, "smollm3": 0.781}
_EXPONENT_ELSE = 0.5
_EXAMPLES_OF_BATCH_1 = 75  # times epochs
_LARGEST_AUTO_BATCH = 32
_BETA = 0.1
_FULL_SHARE = 0.1  # of the rate for LoRA: the same fit says so
_DPO_SHARE = 0.1  # of the supervised rate: a preference moves a model that speaks already


@dataclass(frozen=True)
class Resolved:
    """`learning_rate` is the peak rate, the base model's own times `learning_rate_multiplier`."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    learning_rate: float
    steps_per_epoch: int
    message: str
    beta: float | None = None  # dpo

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.n_epochs

    def hyperparameters(self) -> dict[str, Any]:
        """As the job shows them once it runs."""
        shown = {
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        }
        return shown if self.beta is None else {**shown, "beta": self.beta}


def resolve(
    asked: dict[str, Any],
    examples: int,
    model_type: str,
    hidden_size: int,
    method: str = "supervised",
    tuning: str = "lora",
) -> Resolved:
    """Numbers for every `auto` in `asked`."""
    chosen: list[str] = []
    n_epochs = asked.get("n_epochs", "auto")
    if n_epochs == "auto":
        n_epochs = n_epochs_auto(examples)
        chosen.append(f"n_epochs={n_epochs} (OpenAI's rule for {examples} examples)")
    batch_size = asked.get("batch_size", "auto")
    if batch_size == "auto":
        batch_size = _batch_size(examples, n_epochs)
        chosen.append(f"batch_size={batch_size} (it grows with the square root of the examples)")
    batch_size = min(batch_size, examples)
    multiplier = asked.get("learning_rate_multiplier", "auto")
    if multiplier == "auto":
        multiplier = 1.0
        chosen.append("learning_rate_multiplier=1")
    rate = base_learning_rate(model_type, hidden_size) * multiplier
    if tuning == "full":
        rate *= _FULL_SHARE
    beta = None
    if method == "dpo":
        rate *= _DPO_SHARE
        beta = asked.get("beta", "auto")
        if beta == "auto":
            beta = _BETA
            chosen.append(f"beta={beta} (the DPO paper's)")
    message = f"Learning rate {rate:.2e} at its peak"
    if chosen:
        message += "; chosen for auto: " + ", ".join(chosen)
    return Resolved(n_epochs, batch_size, float(multiplier), rate, math.ceil(examples / batch_size), message, beta)


def base_learning_rate(model_type: str, hidden_size: int) -> float:
    """The rate that multiplier 1 stands for: LoRA on all linear layers of this model."""
    return 5e-4 * float((2000 / hidden_size) ** _EXPONENT.get(model_type, _EXPONENT_ELSE))


def _batch_size(examples: int, n_epochs: int) -> int:
    """A power of two; the lower one in doubt, which means more steps."""
    wanted = math.sqrt(examples * n_epochs / _EXAMPLES_OF_BATCH_1)
    return min(_LARGEST_AUTO_BATCH, 1 << math.floor(math.log2(max(wanted, 1))))
