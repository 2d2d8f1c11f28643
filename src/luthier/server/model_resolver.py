"""What a `model=` name stands for here: a base, a fine-tuned model, or a model elsewhere.

A name from a request is only ever looked up, in the store, in the settings and in the catalogue; it is never
taken for a path.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from luthier.catalogue import Catalogue
from luthier.data.examples.adapter_metadata import Taught, read
from luthier.data.examples.example import CallForm
from luthier.settings import Settings
from luthier.store import Store
from luthier.types.errors import NotFoundError
from luthier.types.models import Model
from luthier.types.names import EMBEDDING_NAMES, TUNED, snapshot

UPSTREAM = "upstream:"
SERVED_BY = "x-luthier-served-by"  # the header that names the weights behind an answer


@dataclass(frozen=True)
class Target:
    """`name` as responses echo it; `base` as the catalogue knows it; `upstream`: a model of the service elsewhere;
    `embedding_model`: what embeds in the base's place."""

    name: str
    base: str | None = None
    adapter: Path | None = None
    taught: Taught = field(default_factory=Taught)
    upstream: str | None = None
    embedding_model: Path | None = None


class Names:
    def __init__(self, settings: Settings, store: Store, catalogue: Catalogue) -> None:
        self._aliases, self._base, self._store, self._catalogue = settings.names(), settings.base, store, catalogue
        self._embedding_model = settings.embedding_model

    def resolve(self, name: str) -> Target:
        """Raises NotFoundError in OpenAI's words."""
        tuned = self._store.models.find(name)
        if tuned and tuned.whole:
            return Target(name, tuned.own_base, taught=_taught(tuned.adapter, tuned.call_form))
        if tuned:
            return Target(name, tuned.base, tuned.adapter, _taught(tuned.adapter, tuned.call_form))
        target = self._aliases.get(name)
        if target is None and name in self._catalogue.names():
            target = name
        if target is None:
            message = f"The model `{name}` does not exist or you do not have access to it."
            raise NotFoundError(message, code="model_not_found")
        if target.startswith(UPSTREAM):
            return Target(name, upstream=target.removeprefix(UPSTREAM) or name)
        return Target(snapshot(name), target)

    def resolve_embedding(self, name: str) -> Target:
        """OpenAI's names of embedding models too: unless the operator says otherwise the base model embeds."""
        if name in EMBEDDING_NAMES and name not in self._aliases:
            return Target(name, self._base, embedding_model=self._embedding_model)
        return self.resolve(name)

    def list(self) -> Sequence[Model]:
        """Bases, aliases and fine-tuned models; checkpoints can be called but are not listed, as at OpenAI."""
        bases = [self.model(name) for name in self._catalogue.names() if name not in self._aliases]
        aliases = [
            Model(
                id=name,
                created=0,
                owned_by="upstream" if target.startswith(UPSTREAM) else "luthier",
                root=shown(target),
            )
            for name, target in ({name: self._base for name in EMBEDDING_NAMES} | self._aliases).items()
        ]
        tuned = [self.model(model.id) for model in self._store.models.list() if ":ckpt-step-" not in model.id]
        return [*bases, *aliases, *tuned]

    def trainable(self) -> dict[str, str]:
        """Every name that training may start from, with the name that its jobs echo."""
        here = [name for name, target in self._aliases.items() if not target.startswith(UPSTREAM)]
        tuned = {model.id: model.id for model in self._store.models.list()}
        return {name: snapshot(name) for name in [*here, *self._catalogue.names()]} | tuned

    def model(self, name: str) -> Model:
        """Raises NotFoundError in OpenAI's words."""
        tuned = self._store.models.find(name)
        if tuned:
            owner = name.split(":")[2]
            return Model(id=name, created=tuned.created_at, owned_by=owner, root=shown(tuned.base), parent=tuned.root)
        try:
            target = self.resolve_embedding(name)
        except NotFoundError:
            message = f"The model '{name}' does not exist"
            raise NotFoundError(message, param="model", code="model_not_found") from None
        pulled = self._catalogue.pulled.find(name) if name == target.base else None
        if pulled:
            where = pulled.source if ":" in pulled.source else None  # no path of this machine is told
            return Model(id=name, created=pulled.made_at, owned_by="luthier", source=where)
        root = shown(target.base) if target.base else None
        return Model(id=name, created=0, owned_by="upstream" if target.upstream else "luthier", root=root)


@lru_cache(maxsize=1024)
def _taught(adapter: Path, call_form: CallForm | None) -> Taught:
    """Adapters of earlier versions say nothing themselves; the store knows how they call."""
    made = read(adapter)
    return made if made.call_form or not call_form else replace(made, call_form=call_form)


def shown(base: str) -> str:
    """A base model as clients see it: of a folder its name, not where it lies."""
    return Path(base).name if Path(base).is_absolute() else base.removeprefix(TUNED)
