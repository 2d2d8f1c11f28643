"""`/v1/luthier/models`: abilities of base models; lineage, files and exports of fine-tuned models.

Names hold `:`, also as `%3A`.
"""

import re
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from luthier.catalogue.abilities import abilities, ability_rows
from luthier.language import Language
from luthier.lineage import lineage
from luthier.server.http.auth import CallerDep
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.model_path import model_in_path
from luthier.server.http.zip_stream import zip_response
from luthier.server.model_exports import Export
from luthier.server.state import StateDep
from luthier.store import FineTunedModel
from luthier.types.common import ListPage
from luthier.types.errors import NotFoundError, PermissionDeniedError
from luthier.types.model_views import (
    AbilityView,
    CreateExportRequest,
    ModelAbilities,
    ModelExport,
    ModelExportDeleted,
    ModelLineage,
)


def _fine_tuned(model: str, state: StateDep) -> FineTunedModel:
    """Raises NotFoundError for any other name."""
    tuned = state.store.models.find(model)
    if tuned is None:
        raise NotFoundError(f"'{model}' is not a fine-tuned model.", param="model", code="model_not_found")
    return tuned


def _own(tuned: Annotated[FineTunedModel, Depends(_fine_tuned)], caller: CallerDep) -> FineTunedModel:
    """Raises NotFoundError for a shared model: it may be called, but its data and files belong to its project."""
    if caller.project not in (None, tuned.project):
        raise PermissionDeniedError(f"The model '{tuned.id}' is shared with this project, which may only call it.")
    return tuned


ModelDep = Annotated[FineTunedModel, Depends(_own)]

router = APIRouter(prefix="/v1/luthier/models/" + model_in_path(), tags=["luthier"], route_class=StrictRoute)


@router.get("/abilities")
async def retrieve_abilities(model: str, state: StateDep, lang: Language = "en") -> ModelAbilities:
    """The abilities of the base model behind any name; `lang=zh` for Chinese."""

    def probe() -> ModelAbilities:
        target, loader = state.models.resolve(model), state.app.loader
        folder = loader.local_folder(target)
        able = _abilities(folder, lang)
        unusable = able.get("unusable")
        return ModelAbilities(
            model=model,
            base=target.weights_name,
            licence=loader.catalogue.origin(target.base or "").licence or None,
            unusable=unusable,
            abilities=[] if unusable else [AbilityView(**row._asdict()) for row in ability_rows(able, lang)],
        )

    return await anyio.to_thread.run_sync(probe, limiter=state.app.file_threads)


@router.get("/lineage")
def retrieve_lineage(tuned: ModelDep, state: StateDep) -> ModelLineage:
    return ModelLineage.model_validate(lineage(tuned, state.store, state.app.loader.catalogue))


@router.post("/exports")
async def create_export(
    tuned: ModelDep, body: CreateExportRequest, state: StateDep, lang: Language = "en"
) -> ModelExport:
    """Starts `luthier export`, which verifies what it writes; one runs at a time. `lang`: of its messages."""
    return _view(state.app.exports.start(tuned.id, body.to, base_id=body.base_id, language=lang))


@router.get("/exports")
def list_exports(tuned: ModelDep, state: StateDep) -> ListPage[ModelExport]:
    """Newest first."""
    exports = [_view(export) for export in state.app.exports.list(tuned.id)]
    first, last = (exports[0].id, exports[-1].id) if exports else (None, None)
    return ListPage(data=exports, first_id=first, last_id=last)


@router.get("/exports/{export_id}/content", response_class=StreamingResponse)
def export_content(tuned: ModelDep, export_id: str, state: StateDep) -> StreamingResponse:
    return zip_response(state.app.exports.path(tuned.id, export_id), _plain(f"{tuned.id}-{export_id[-6:]}"))


@router.delete("/exports/{export_id}")
def delete_export(tuned: ModelDep, export_id: str, state: StateDep) -> ModelExportDeleted:
    state.app.exports.delete(tuned.id, export_id)
    return ModelExportDeleted(id=export_id)


# After the content of exports: a path that ends with `/content` would match this one first.
@router.get("/content", response_class=StreamingResponse)
def content(tuned: ModelDep, state: StateDep) -> StreamingResponse:
    """The model's folder as a ZIP archive: a PEFT adapter, or a complete model after full fine-tuning.

    Raises CorruptDataError for a folder that differs from what was written.
    """
    state.store.checksums.verify(tuned.adapter, f"The model {tuned.id}")
    return zip_response(tuned.adapter, _plain(tuned.id))


@lru_cache(maxsize=64)
def _abilities(folder: Path, language: Language) -> dict[str, Any]:
    """Probe the abilities, which takes a second."""
    return abilities(folder, language)


def _view(export: Export) -> ModelExport:
    return ModelExport.model_validate(asdict(export))


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
