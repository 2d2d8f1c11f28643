"""Builds the trainer of a job folder, and reports its components."""

import os
from pathlib import Path
from threading import Event

import torch

from luthier.arch.model_config import load_config
from luthier.base_config import context_tokens
from luthier.data.examples import adapter_metadata
from luthier.data.examples.adapter_metadata import AdapterMetadata
from luthier.data.file_renderer import renderer_of_files
from luthier.data.rendering.renderer import Renderer
from luthier.data.rendering.template_probes import FUNCTION_LOSSES
from luthier.data.rendering.tool_dropout import ToolDropout
from luthier.training import dataset, protocol, reference_logprobs, token_budget
from luthier.training.checkpointing import Checkpoints, ModelFolders
from luthier.training.compute_device import ComputeDevice
from luthier.training.evaluation import Validation
from luthier.training.forward_pass import ForwardPass
from luthier.training.hyperparameters import ResolvedHyperparameters, resolve
from luthier.training.job_spec import TRAIN, VALID, JobSpec
from luthier.training.kernels import bindings
from luthier.training.model import TrainedModel
from luthier.training.objectives import Objective, Preference, Supervised
from luthier.training.protocol import Emit
from luthier.training.rank_environment import rank_of_environment
from luthier.training.ranks import Ranks, join_ranks
from luthier.training.resume_state import DamagedStateError, Progress, ResumeState
from luthier.training.trainer import OptimizerStep, Trainer
from luthier.training.training_data import TrainingData


def build_trainer(folder: Path, emit: Emit, stop: Event, ranks: Ranks | None = None) -> Trainer:
    """Load data and model, and restore the resume state. `ranks` None: those of the environment.

    Raises JobError for problems that the user can fix; Stopped if `stop` is set while reference log-probabilities are
    computed.
    """
    spec = JobSpec.read(folder)
    ranks = ranks or join_ranks(ComputeDevice.select(spec.device, spec.precision).device)
    _set_threads(spec)
    if spec.cache:
        bindings.use_cache(Path(spec.cache))
    renderer = _renderer(folder, spec)
    config = load_config(Path(spec.base))
    with ranks.first_alone():  # the first one tokenizes
        data = TrainingData(folder, _rendering(spec, renderer))
    plan = resolve(
        spec.hyperparameters,
        len(data.train),
        config.model_type,
        config.hidden_size,
        spec.method,
        spec.tuning,
        in_file=data.train.in_file,
        call_share=data.train.call_share,
    )
    metadata = _adapter_metadata(folder, spec)
    _report_data(data, metadata, plan, ToolDropout.parse(spec.definitions), emit)
    _report_template(renderer, metadata, emit)
    model = TrainedModel(spec, ranks)
    _report_model(model, emit)
    forward = ForwardPass(model, _token_budget(model, data.longest, emit, ranks), ranks)
    objective = _objective(folder, spec, plan, data, forward, stop, ranks)
    optimizer = torch.optim.AdamW(model.parameters.values(), lr=plan.learning_rate, weight_decay=0, fused=True)
    progress = Progress(micro_batch_tokens=forward.max_tokens)
    resume_state = ResumeState(folder, spec.fencing_token, model.parameters, optimizer, progress)
    _restore(resume_state, emit)
    forward.max_tokens = resume_state.progress.micro_batch_tokens
    ranks.copy_first_([parameter.data for parameter in model.parameters.values()])
    folders = _model_folders(folder, metadata, renderer, data, forward, ranks)
    return Trainer(
        data,
        plan,
        OptimizerStep(forward, objective, optimizer, model.parameters, plan, ranks),
        Validation(data, forward, objective, plan, spec.validate_at, stop, ranks),
        Checkpoints(folders, plan, spec.early_stopping, emit),
        resume_state,
        emit=emit,
        stop=stop,
        ranks=ranks,
    )


def _renderer(folder: Path, spec: JobSpec) -> Renderer:
    """The renderer, with the template of the adapter that the job continues from, if any."""
    if spec.parent:
        return Renderer(Path(spec.base), Path(spec.parent) / "chat_template.jinja")
    files = [path for path in (folder / TRAIN, folder / VALID) if path.exists()]
    return renderer_of_files(Path(spec.base), files, spec.method)


def _set_threads(spec: JobSpec) -> None:
    """Ranks on one machine share its cores, unless the environment says how many threads each has."""
    count = rank_of_environment().local_ranks
    if spec.threads:
        torch.set_num_threads(max(1, spec.threads // count))
    elif count > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // count))


def _rendering(spec: JobSpec, renderer: Renderer) -> dataset.Options:
    context, dropout = context_tokens(Path(spec.base)), ToolDropout.parse(spec.definitions)
    return dataset.Options(renderer, context, spec.method, dropout, spec.result_turns, spec.seed)


def _report_data(
    data: TrainingData, metadata: AdapterMetadata, plan: ResolvedHyperparameters, dropout: ToolDropout, emit: Emit
) -> None:
    train = data.train
    emit(
        protocol.Resolved(
            hyperparameters=plan.hyperparameters(),
            auto=list(plan.auto),
            learning_rate=plan.learning_rate,
            total_steps=plan.total_steps,
            examples=len(train),
            tokens=data.tokens(epoch=0),
            truncated=train.truncated,
        )
    )
    if metadata.pairs:
        emit(protocol.PromptCompletions())
    if train.views > 1:
        emit(protocol.ToolDropout(full=dropout.full, slim=dropout.slim, none=dropout.none, added_examples=train.added))
    if train.continued:
        emit(protocol.ResultTurns(examples=train.continued))


def _report_template(renderer: Renderer, metadata: AdapterMetadata, emit: Emit) -> None:
    """Report that the base's own template was replaced, unless it only lacks functions and the data has none."""
    lost = set(renderer.choice.lost)
    functions = lost <= FUNCTION_LOSSES
    if lost and (metadata.call_form or not functions):
        emit(protocol.OwnTemplate(functions=functions))


def _report_model(model: TrainedModel, emit: Emit) -> None:
    emit(model.compute.describe())
    emit(model.describe())
    if model.is_sharded:
        emit(model.describe_shards())
    if model.separate_rows:
        emit(protocol.SeparateRows(reason=model.separate_rows))
    if model.compute.device.type == "cpu" and bindings.library() is None:
        emit(protocol.CompilerMissing())


def _token_budget(model: TrainedModel, longest: int, emit: Emit, ranks: Ranks) -> int:
    """Tokens whose activations are in memory at once; turns gradient checkpointing on when the longest example needs
    it."""
    memory = model.config, model.compute.device, model.activation_dtype
    max_tokens = token_budget.tokens_in_memory(*memory, model.step_bytes())
    if ranks.any(token_budget.exceeds_memory(longest, *memory)):
        model.enable_gradient_checkpointing()
        emit(protocol.GradientCheckpointing(longest_tokens=longest))
    return max_tokens


def _objective(
    folder: Path,
    spec: JobSpec,
    plan: ResolvedHyperparameters,
    data: TrainingData,
    forward: ForwardPass,
    stop: Event,
    ranks: Ranks,
) -> Objective:
    """DPO reads its reference log-probabilities from the model before it is trained or restored."""
    if spec.method != "dpo":
        return Supervised()
    for split in data.splits:
        data.reference_logprobs[split] = reference_logprobs.load_or_compute(folder, data, split, forward, stop, ranks)
    return Preference(plan.beta or 0.0)


def _restore(resume_state: ResumeState, emit: Emit) -> None:
    try:
        restored = resume_state.restore()
    except DamagedStateError as error:
        emit(protocol.ResumeStateUnreadable(error=str(error)))
        return
    if restored:
        emit(protocol.Resumed(step=resume_state.progress.step))


def _model_folders(
    folder: Path,
    metadata: AdapterMetadata,
    renderer: Renderer,
    data: TrainingData,
    forward: ForwardPass,
    ranks: Ranks,
) -> ModelFolders | None:
    """None on ranks without a part in them."""
    if not (ranks.is_first or forward.model.is_sharded):
        return None
    folders = ModelFolders(folder, renderer.template.text, metadata, data, forward, writes=ranks.is_first)
    if ranks.is_first:
        folders.complete_earlier()
    return folders


def _adapter_metadata(folder: Path, spec: JobSpec) -> AdapterMetadata:
    """Call format and tool definitions of the training file; missing ones are inherited.

    The job folder holds the survey of a file that was validated. The parent is an adapter, or a base model that was
    itself fully fine-tuned.
    """
    survey = adapter_metadata.read_survey(folder) or adapter_metadata.survey(folder / "train.jsonl")
    return survey.with_defaults(adapter_metadata.read(Path(spec.parent or spec.base)))
