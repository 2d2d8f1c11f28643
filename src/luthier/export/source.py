"""The model to export: its weights, its base model, the job that trained it, and its chat template."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from luthier.arch import DecoderSpec, Unsupported
from luthier.catalogue import Catalogue
from luthier.catalogue.bases import BaseOrigin
from luthier.data.examples import adapter_metadata
from luthier.data.examples.adapter_metadata import AdapterMetadata
from luthier.data.rendering import parity_samples
from luthier.data.rendering.parity_samples import ParitySample
from luthier.data.rendering.renderer import Renderer
from luthier.export.adapter import Adapter
from luthier.export.merge import MergedWeights
from luthier.language import say
from luthier.settings import Settings
from luthier.store import FineTunedModel, Job, Store
from luthier.types.errors import ExportError

TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class ExportSource:
    """A fine-tuned model with everything that an export needs.

    Attributes:
        folder: The PEFT adapter, or the complete model after full fine-tuning.
        base: The folder of the base model; that of the model itself after full fine-tuning.
        base_name: The base model's name as users know it.
    """

    model: FineTunedModel
    job: Job
    base: Path
    base_name: str
    origin: BaseOrigin

    @property
    def folder(self) -> Path:
        return self.model.adapter

    @property
    def template(self) -> Path:
        """The chat template that the model was trained with."""
        return self.folder / TEMPLATE

    @cached_property
    def adapter(self) -> Adapter | None:
        """The adapter; None after full fine-tuning. Raises ExportError."""
        return None if self.model.standalone else Adapter(self.folder)

    @cached_property
    def weights(self) -> MergedWeights:
        """The model's weights, with the adapter merged. Raises ExportError, BaseModelError."""
        return MergedWeights(self.base, self.adapter)

    @cached_property
    def renderer(self) -> Renderer:
        """The renderer of training and serving. Raises BaseModelError."""
        return Renderer(self.base, self.template)

    @cached_property
    def metadata(self) -> AdapterMetadata:
        return adapter_metadata.read(self.folder)

    @cached_property
    def decoder(self) -> DecoderSpec | Unsupported:
        return DecoderSpec.from_folder(self.base)

    def parity_samples(self) -> list[ParitySample]:
        """The model's parity samples; an imported model has none."""
        try:
            return parity_samples.read(self.folder)
        except FileNotFoundError:
            return []


def find_source(name: str, store: Store, catalogue: Catalogue, settings: Settings) -> ExportSource:
    """The model `name`, which may be an alias in the settings.

    Raises:
        ExportError: There is no fine-tuned model of that name.
        CorruptDataError: A file of the model does not match its checksum.
        BaseModelError: The base model is not on this machine.
    """
    model = store.models.find(name) or store.models.find(settings.names().get(name, ""))
    if model is None:
        raise ExportError(_unknown(name, store, catalogue, settings))
    store.checksums.verify(model.adapter, f"The model {model.id}")
    base = model.adapter if model.standalone else catalogue.folder(model.base)
    named = {other.standalone_base: other.id for other in store.models.list() if other.standalone}
    base_name = named.get(model.base, Path(model.base).name if Path(model.base).is_absolute() else model.base)
    return ExportSource(model, store.jobs.get(model.job_id), base, base_name, catalogue.origin(model.base))


def _unknown(name: str, store: Store, catalogue: Catalogue, settings: Settings) -> str:
    models = ", ".join(model.id for model in store.models.list()[-3:]) or say("none", "无")
    if name in catalogue or name in settings.names():
        return say(
            f"'{name}' is a base model: nothing was trained on it here. Fine-tuned models: {models}.",
            f"“{name}”是基座模型，并非在此训练。微调模型：{models}。",
        )
    data = store.models_folder.parent
    return say(
        f"There is no fine-tuned model '{name}' in {data}. The latest: {models}.",
        f"{data} 中没有微调模型“{name}”。最近的：{models}。",
    )
