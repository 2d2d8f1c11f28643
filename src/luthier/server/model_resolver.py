"""Resolves a `model=` name: a base model, a fine-tuned model, or a model of the upstream service.

A name from a request is only looked up in the store, the settings and the catalogue; it is never used as a path.
"""

from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from luthier.catalogue import Catalogue
from luthier.data.examples.adapter_metadata import AdapterMetadata, read
from luthier.data.examples.example import WireForm
from luthier.server.http.upstream_models import UpstreamModels
from luthier.settings import Settings
from luthier.store import Store
from luthier.store.models import FineTunedModel
from luthier.types.aliases import UPSTREAM, AliasTarget, parse_target, write_target
from luthier.types.errors import NotFoundError
from luthier.types.models import Model
from luthier.types.names import EMBEDDING_NAMES, TUNED, snapshot
from luthier.types.projects import DEFAULT_PROJECT

SERVED_BY = "x-luthier-served-by"  # response header that names the weights


@dataclass(frozen=True)
class ResolvedModel:
    """The model behind a name: a base model with or without an adapter, or a model of the upstream service.

    Attributes:
        name: The name that responses echo.
        base: The base model's name in the catalogue; None for an upstream model.
        adapter: The folder of a PEFT adapter for `base`.
        metadata: Properties of a fine-tuned model that come from its training data.
        fine_tuned: A fine-tuned model's own name; `name` may be an alias of it.
        upstream_model: The model's name at the upstream service.
        successor: The local model that answers once the upstream service no longer has `upstream_model`.
        share: The share of requests that the successor answers before that, from 0 to 1.
        embedding_model: The folder of the embedding model that is used instead of the base model.
    """

    name: str
    base: str | None = None
    adapter: Path | None = None
    metadata: AdapterMetadata = field(default_factory=AdapterMetadata)
    fine_tuned: str | None = None
    upstream_model: str | None = None
    successor: "ResolvedModel | None" = None
    share: float = 0.0
    embedding_model: Path | None = None

    @property
    def weights_name(self) -> str:
        """The name of the weights as clients see it."""
        return display_name(str(self.embedding_model or self.base or ""))

    @property
    def served_by(self) -> str:
        """The header `SERVED_BY` of local answers; for a successor, it also names the upstream model."""
        if self.successor is None:
            return quote(self.weights_name)
        return f"{self.successor.served_by}; instead-of={quote(UPSTREAM + str(self.upstream_model), safe=':/')}"


class ModelResolver:
    """The tables of aliases are built once for each project."""

    def __init__(self, settings: Settings, store: Store, catalogue: Catalogue, upstream_models: UpstreamModels) -> None:
        self._settings, self._upstream_models = settings, upstream_models
        self._aliases = _parse_aliases(settings, DEFAULT_PROJECT)
        self._base, self._embedding_model = settings.base, settings.embedding_model
        self._models, self._catalogue = store.models, catalogue

    def within(self, store: Store, project: str | None) -> "ModelResolver":
        """The same base models with the aliases of `project` and the fine-tuned models of `store`, the project's view.

        None: the whole organization, which acts in the default project.
        """
        scoped = copy(self)
        scoped._models, scoped._aliases = store.models, _parse_aliases(self._settings, project or DEFAULT_PROJECT)
        return scoped

    def resolve(self, name: str) -> ResolvedModel:
        """Raises NotFoundError in OpenAI's words; for a fine-tuned model's name it adds how to set an alias."""
        resolved = self._resolve(name)
        if resolved is None:
            message = f"The model `{name}` does not exist or you do not have access to it.{_alias_hint(name)}"
            raise NotFoundError(message, code="model_not_found")
        return resolved

    def _resolve(self, name: str) -> ResolvedModel | None:
        target = self._aliases.get(name)
        if target is None:
            return self._resolve_local(name, name)
        successor = self._resolve_local(name, target.local) if target.local else None
        if target.upstream_model is None:
            return successor
        share = target.share if successor else 0.0
        return ResolvedModel(name, upstream_model=target.upstream_model, successor=successor, share=share)

    def _resolve_local(self, name: str, target: str) -> ResolvedModel | None:
        """The local model `target` under `name`; None if it does not exist. Only an alias may be a path."""
        tuned = self._models.find(target)
        if tuned:
            metadata = _metadata(tuned.adapter, tuned.call_form)
            if tuned.standalone:
                return ResolvedModel(name, tuned.standalone_base, metadata=metadata, fine_tuned=tuned.id)
            return ResolvedModel(name, tuned.base, tuned.adapter, metadata, fine_tuned=tuned.id)
        if target.startswith("ft:") or (name not in self._aliases and name not in self._catalogue.names()):
            return None
        return ResolvedModel(snapshot(name), target)

    def resolve_embedding(self, name: str) -> ResolvedModel:
        """Also accepts OpenAI's names of embedding models: the base model embeds, unless an alias says otherwise."""
        if name in EMBEDDING_NAMES and name not in self._aliases:
            return ResolvedModel(name, self._base, embedding_model=self._embedding_model)
        return self.resolve(name)

    def list_models(self) -> Sequence[Model]:
        """Base models, aliases and fine-tuned models; checkpoints can be called but are not listed, as at OpenAI."""
        tuned = {model.id: model for model in self._models.list()}
        bases = [self.describe(name) for name in self._catalogue.names() if name not in self._aliases]
        embedding = {name: AliasTarget(local=self._base) for name in EMBEDDING_NAMES}
        aliases = [
            self._describe_alias(name, target)
            for name, target in (embedding | self._aliases).items()
            if target.upstream_model or _is_available(target, tuned)
        ]
        listed = [model for name, model in tuned.items() if ":ckpt-step-" not in name and name not in self._aliases]
        return [*bases, *aliases, *map(_describe_fine_tuned, listed)]

    @property
    def default_base(self) -> str:
        """The base model behind OpenAI's names, unless an alias replaces it."""
        return self._base

    def alias_names(self) -> list[str]:
        """Names that do not stand for the default base model, sorted."""
        return sorted(name for name, target in self._aliases.items() if target != AliasTarget(local=self._base))

    def trainable_names(self) -> dict[str, str]:
        """Every model name that a job may start from, with the name shown in the job."""
        tuned = [model.id for model in self._models.list()]
        local = [
            name for name, target in self._aliases.items() if not target.upstream_model and _is_available(target, tuned)
        ]
        others = [name for name in [*self._catalogue.names(), *tuned] if name not in self._aliases]
        return {name: snapshot(name) for name in [*local, *others]}

    def describe(self, name: str) -> Model:
        """The model object of `/v1/models`. Raises NotFoundError in OpenAI's words."""
        tuned = self._models.find(name)
        if tuned and name not in self._aliases:
            return _describe_fine_tuned(tuned)
        try:
            target = self.resolve_embedding(name)
        except NotFoundError:
            message = f"The model '{name}' does not exist{_alias_hint(name)}"
            raise NotFoundError(message, param="model", code="model_not_found") from None
        if name in self._aliases:
            return self._describe_alias(name, self._aliases[name])
        local = self._catalogue.pulled.find(name) if name == target.base else None
        if local:
            source = local.source if ":" in local.source else None  # never a path of this machine
            return Model(id=name, created=local.made_at, owned_by="luthier", source=source)
        return Model(id=name, created=0, owned_by="luthier", root=display_name(target.base) if target.base else None)

    def _describe_alias(self, name: str, target: AliasTarget) -> Model:
        """Describe an alias: `root` is the target in the setting's notation, with the upstream model's name and
        without paths."""
        local = display_name(target.local) if target.local else None
        if target.upstream_model is None:
            return Model(id=name, created=0, owned_by="luthier", root=local)
        root = write_target(replace(target, local=local))
        date = self._upstream_models.shutdown_date(target.upstream_model)
        shutdown_date = date.isoformat() if date else None
        return Model(id=name, created=0, owned_by="upstream", root=root, shutdown_date=shutdown_date)


def _parse_aliases(settings: Settings, project: str) -> dict[str, AliasTarget]:
    return {name: parse_target(name, target) for name, target in settings.names(project).items()}


def _is_available(target: AliasTarget, fine_tuned: Collection[str]) -> bool:
    """Whether the project may call the local model of an alias; `fine_tuned`: those of the project."""
    return target.local is not None and (not target.local.startswith("ft:") or target.local in fine_tuned)


def _describe_fine_tuned(model: FineTunedModel) -> Model:
    owner, root = model.id.split(":")[2], display_name(model.base)
    return Model(id=model.id, created=model.created_at, owned_by=owner, root=root, parent=model.root)


def _alias_hint(name: str) -> str:
    """A hint for the operator; empty for names that do not have the format of fine-tuned models."""
    if not name.startswith("ft:"):
        return ""
    return (
        " A model that was fine-tuned at another service needs an alias on this server: "
        'LUTHIER_ALIASES=\'{"NAME": "upstream:"}\' forwards it to LUTHIER_UPSTREAM_BASE_URL, and "upstream:|MODEL" '
        "there answers with the local MODEL once it is gone."
    )


@lru_cache(maxsize=1024)
def _metadata(adapter: Path, call_form: WireForm | None) -> AdapterMetadata:
    """Adapters of earlier versions have no metadata; the store has their `call_form`."""
    metadata = read(adapter)
    return metadata if metadata.call_form or not call_form else replace(metadata, call_form=call_form)


def display_name(base: str) -> str:
    """The name of a base model as clients see it: for a folder its name, never its path."""
    return Path(base).name if Path(base).is_absolute() else base.removeprefix(TUNED)
