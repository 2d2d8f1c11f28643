"""TRL's SFTTrainer on a job folder, with the same `metrics` events; a part of `benchmarks/training.py`.

Equal on both sides: adapter weights, order of the examples, batches, learning rates, trained tokens. The
configuration is the fastest measured for TRL on CPUs: bfloat16, its own collator, no gradient checkpointing.
Environment variables try others: `TRL_CHECKPOINTING=1`; `TRL_AT_ONCE=4` examples per micro-batch, with gradient
accumulation; `TRL_FLOAT32=1` computes in float32 from the same rounded weights, as the reference for losses.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import SequentialSampler
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from luthier.data.rendering.renderer import Renderer
from luthier.data.rendering.tool_dropout import ToolDropout
from luthier.training import batching, dataset
from luthier.training.hyperparameters import resolve
from luthier.training.job_spec import JobSpec
from luthier.training.lr_schedule import learning_rate_factor

OUT = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


class PrintMetrics(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **_):
        if logs and "loss" in logs:
            event = {"type": "metrics", "step": state.global_step, "metrics": {"train_loss": logs["loss"]}}
            print(json.dumps(event), file=OUT, flush=True)


class InOrder(SFTTrainer):
    def _get_train_sampler(self, *_):
        return SequentialSampler(self.train_dataset)


def main(folder: Path) -> None:
    spec = JobSpec.read(folder)
    if spec.threads:
        torch.set_num_threads(spec.threads)
    options = dataset.Options(Renderer(Path(spec.base)), 65_536, dropout=ToolDropout.parse(spec.definitions))
    examples = dataset.load(folder / "train.jsonl", options, "training_file")
    config = AutoConfig.from_pretrained(spec.base)
    resolved = resolve(spec.hyperparameters, len(examples), config.model_type, config.hidden_size)
    order = np.concatenate(
        [batching.epoch_order(spec.seed, epoch, len(examples)) for epoch in range(resolved.n_epochs)]
    )
    rows = [examples.example(int(index))[0] for index in order]
    labels = [[int(t) if w else -100 for t, w in zip(row.ids, row.weights, strict=True)] for row in rows]
    data = Dataset.from_dict({"input_ids": [row.ids.tolist() for row in rows], "labels": labels})
    torch.manual_seed(spec.seed)
    base = AutoModelForCausalLM.from_pretrained(spec.base, dtype=torch.bfloat16)
    lora = {"r": spec.lora_rank, "lora_alpha": spec.lora_alpha, "target_modules": "all-linear", "lora_dropout": 0.0}
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **lora))
    exact = bool(os.environ.get("TRL_FLOAT32"))
    if exact:
        model = model.float()
    at_once = int(os.environ.get("TRL_AT_ONCE", resolved.batch_size))
    sft_config = SFTConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=resolved.batch_size // at_once,
        num_train_epochs=1,
        bf16=not exact,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=bool(os.environ.get("TRL_CHECKPOINTING")),
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        max_length=None,
        max_grad_norm=1.0,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    peak = float(os.environ.get("TRL_RATE", resolved.learning_rate))
    optimizer = torch.optim.AdamW(parameters, lr=peak, weight_decay=0)
    rates = LambdaLR(optimizer, lambda step: learning_rate_factor(step + 1, resolved.total_steps))
    trainer = InOrder(
        model=model,
        args=sft_config,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(spec.base),
        optimizers=(optimizer, rates),
        callbacks=[PrintMetrics()],
    )
    trainer.train()
    if "TRL_SAVE" in os.environ:
        model.save_pretrained(os.environ["TRL_SAVE"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
