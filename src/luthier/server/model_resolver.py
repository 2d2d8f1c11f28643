"""Resolves a `model=` name: a base model, a fine-tuned model, or a model of the upstream service.

A name from a request is looked up in the store, the settings and the catalogue only; it is never used as a path.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from luthier.catalogue import Catalogue
from luthier.data.examples.adapter_metadata import AdapterMetadata, read
from luthier.data.examples.example import CallForm
from luthier.settings import Settings
from luthier.store import Store
from luthier.types.errors import NotFoundError
from luthier.types.models import Model
from luthier.types.names import EMBEDDING_NAMES, TUNED, snapshot

UPSTREAM = "upstream:"
SERVED_BY = "x-luthier-served-by"  # response header that names the weights


@dataclass(frozen=True)
class ResolvedModel:
    """What a name stands for: a base model with or without an adapter, or a model of the upstream service.

    Attributes:
        name: The name that responses echo.
        base: The base model's name in the catalogue; None for an upstream model.
        adapter: A PEFT folder on `base`.
        metadata: What the training data of a fine-tuned model teaches beside its answers.
        upstream_model: The model's name at the upstream service.
        embedding_model: The folder of the embedding model that embeds in the base model's place.
    """

    name: str
    base: str | None = None
    adapter: Path | None = None
    metadata: AdapterMetadata = field(default_factory=AdapterMetadata)
    upstream_model: str | None = None
    embedding_model: Path | None = None

    @property
    def weights_name(self) -> str:
        """The name of the weights as clients see it."""
        return display_name(str(self.embedding_model or self.base or ""))


class ModelResolver:
    """The table of aliases is built once; `within` shares it."""

    def __init__(self, settings: Settings, store: Store, catalogue: Catalogue) -> None:
        self._aliases = settings.names()
        self._base, self._embedding_model = settings.base, settings.embedding_model
        self._models, self._catalogue = store.models, catalogue

    def within(self, store: Store) -> "ModelResolver":
        """The same aliases and base models, with the fine-tuned models of `store`, a project's view."""
        scoped = copy(self)
        scoped._models = store.models
        return scoped

    def resolve(self, name: str) -> ResolvedModel:
        """Raises NotFoundError in OpenAI's words."""
        tuned = self._models.find(name)
        if tuned:
            metadata = _metadata(tuned.adapter, tuned.call_form)
            if tuned.standalone:
                return ResolvedModel(name, tuned.standalone_base, metadata=metadata)
            return ResolvedModel(name, tuned.base, tuned.adapter, metadata)
        target = self._aliases.get(name)
        if target is None and name in self._catalogue.names():
            target = name
        if target is None:
            message = f"The model `{name}` does not exist or you do not have access to it."
            raise NotFoundError(message, code="model_not_found")
        if target.startswith(UPSTREAM):
            return ResolvedModel(name, upstream_model=target.removeprefix(UPSTREAM) or name)
        return ResolvedModel(snapshot(name), target)

    def resolve_embedding(self, name: str) -> ResolvedModel:
        """Also accepts OpenAI's names of embedding models: the base model embeds, unless an alias says otherwise."""
        if name in EMBEDDING_NAMES and name not in self._aliases:
            return ResolvedModel(name, self._base, embedding_model=self._embedding_model)
        return self.resolve(name)

    def list_models(self) -> Sequence[Model]:
        """Base models, aliases and fine-tuned models; checkpoints can be called but are not listed, as at OpenAI."""
        bases = [self.describe(name) for name in self._catalogue.names() if name not in self._aliases]
        aliases = [
            Model(
                id=name,
                created=0,
                owned_by="upstream" if target.startswith(UPSTREAM) else "luthier",
                root=display_name(target),
            )
            for name, target in ({name: self._base for name in EMBEDDING_NAMES} | self._aliases).items()
        ]
        tuned = [self.describe(model.id) for model in self._models.list() if ":ckpt-step-" not in model.id]
        return [*bases, *aliases, *tuned]

    def trainable_names(self) -> dict[str, str]:
        """Every name that a job may start from, with the name that the job echoes."""
        local = [name for name, target in self._aliases.items() if not target.startswith(UPSTREAM)]
        tuned = {model.id: model.id for model in self._models.list()}
        return {name: snapshot(name) for name in [*local, *self._catalogue.names()]} | tuned

    def describe(self, name: str) -> Model:
        """The model object of `/v1/models`. Raises NotFoundError in OpenAI's words."""
        tuned = self._models.find(name)
        if tuned:
            owner, root = name.split(":")[2], display_name(tuned.base)
            return Model(id=name, created=tuned.created_at, owned_by=owner, root=root, parent=tuned.root)
        try:
            target = self.resolve_embedding(name)
        except NotFoundError:
            message = f"The model '{name}' does not exist"
            raise NotFoundError(message, param="model", code="model_not_found") from None
        local = self._catalogue.pulled.find(name) if name == target.base else None
        if local:
            source = local.source if ":" in local.source else None  # never a path of this machine
            return Model(id=name, created=local.made_at, owned_by="luthier", source=source)
        base_name = display_name(target.base) if target.base else None
        return Model(id=name, created=0, owned_by="upstream" if target.upstream_model else "luthier", root=base_name)


@lru_cache(maxsize=1024)
def _metadata(adapter: Path, call_form: CallForm | None) -> AdapterMetadata:
    """Adapters of earlier versions have no metadata; the store has their `call_form`."""
    metadata = read(adapter)
    return metadata if metadata.call_form or not call_form else replace(metadata, call_form=call_form)


def display_name(base: str) -> str:
    """A base model as clients see it: of a folder its name, never its path."""
    return Path(base).name if Path(base).is_absolute() else base.removeprefix(TUNED)
