"""`/v1/luthier/files`: inspecting a training file before a job is created.

Every route here reads the whole file, so files are limited in size, and few are read at once.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Annotated, Any, TypeVar

import anyio
from fastapi import APIRouter, Query

from luthier.data.findings import FindingError, Report
from luthier.data.findings.names import finding_name
from luthier.data.rendering.renderer import Renderer
from luthier.language import Language, of_request
from luthier.server import file_inspection
from luthier.server.http.json_body import StrictRoute
from luthier.server.model_loader import load_renderer
from luthier.server.model_resolver import display_name
from luthier.server.state import State, StateDep
from luthier.types.errors import BadRequestError, LuthierError, NotFoundError, PayloadTooLargeError
from luthier.types.file_views import ExamplePage, FileEstimate, FileRepair, FileSplit, SplitRequest
from luthier.types.files import FileObject

router = APIRouter(prefix="/v1/luthier/files", tags=["luthier"], route_class=StrictRoute)
MAX_BYTES = 64 * 2**20
Result = TypeVar("Result")


@router.get("/{file_id}/report")
async def report(file_id: str, state: StateDep, lang: Language = "en") -> dict[str, Any]:
    """The report of a job's validation; computed now if no job has validated the file."""
    checked = await _reading(state, lambda: _report(state, file_id))
    names = {code: finding_name(code, lang) for code in checked.counts}
    return {"object": "file.report", "file_id": file_id, "names": names, **checked.to_dict(lang)}


@router.get("/{file_id}/examples")
async def list_examples(
    file_id: str,
    state: StateDep,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    model: str | None = None,
    findings_only: bool = False,
    code: Annotated[str | None, Query(max_length=64)] = None,
    lang: Language = "en",
) -> ExamplePage:
    """Lines with their findings; with `model`, a base model or an alias of one, the tokens that it is trained on.

    `findings_only`: lines with findings; `code`: with findings of this kind.
    """

    def read() -> ExamplePage:
        path, renderer = _path(state, file_id), _renderer(state, model)[1] if model else None
        return file_inspection.examples(
            path, _report(state, file_id), renderer,
            offset=offset, limit=limit, findings_only=findings_only, code=code, language=lang,
        )  # fmt: skip

    return await _reading(state, read)


@router.get("/{file_id}/estimate")
async def estimate(
    file_id: str, state: StateDep, model: str, n_epochs: Annotated[int, Query(ge=1, le=50)] | None = None
) -> FileEstimate:
    """Tokens, epochs, and the duration of training, from rates measured on this machine."""

    def compute() -> FileEstimate:
        folder, renderer = _renderer(state, model)
        cache = state.app.loader.catalogue.cache
        fields = file_inspection.estimate(
            _path(state, file_id), _report(state, file_id), folder, renderer, cache, n_epochs
        )
        return FileEstimate(file_id=file_id, base=display_name(str(folder)), **fields)

    return await _reading(state, compute)


@router.post("/{file_id}/split")
async def split(file_id: str, body: SplitRequest, state: StateDep) -> FileSplit:
    """Two new files; near duplicates stay on one side."""

    def write() -> FileSplit:
        file, path = state.store.files.retrieve(file_id), _path(state, file_id)
        with tempfile.TemporaryDirectory() as folder:
            try:
                result, train, valid = file_inspection.split(
                    path, Path(folder), validation=body.validation, seed=body.seed
                )
            except LuthierError as error:
                raise BadRequestError(_sentence(error), code="cannot_split") from error
            return FileSplit(
                training_file=_create(state, file, "train", train),
                validation_file=_create(state, file, "valid", valid),
                training_examples=result.counts[0],
                validation_examples=result.counts[1],
            )

    return await _reading(state, write)


@router.post("/{file_id}/repair")
async def repair(file_id: str, state: StateDep, preview: bool = False, lang: Language = "en") -> FileRepair:
    """A copy with all certain repairs; lines that still have errors are omitted.

    `preview`: returns only the changes, without a copy.
    """

    def write() -> FileRepair:
        file, path, method = state.store.files.retrieve(file_id), _path(state, file_id), _report(state, file_id).method
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "repaired.jsonl"
            try:
                repairs = file_inspection.repair(path, target, method)
            except FindingError as error:
                raise BadRequestError(_sentence(error), code="cannot_repair") from error
            has_copy = target.stat().st_size > 0 and not preview
            copy = _create(state, file, "repaired", target) if has_copy else None
        return FileRepair(
            file=copy,
            examples=repairs.examples,
            repaired=sum(entry.is_applied for entry in repairs.listed),
            rejected=repairs.rejected,
            repairs=[
                entry.to_dict() | {"names": [finding_name(code, lang) for code in entry.codes]}
                for entry in repairs.listed
            ],
        )

    return await _reading(state, write)


async def _reading(state: State, read: Callable[[], Result]) -> Result:
    return await anyio.to_thread.run_sync(read, limiter=state.app.file_threads)


def _sentence(error: LuthierError) -> str:
    """The error's message, in Chinese if the request asks for it."""
    if isinstance(error, FindingError) and of_request.get() == "zh":
        return f"{error.finding.sentence('zh')}{error.finding.remedy('zh')}"
    return str(error)


def _path(state: State, file_id: str) -> Path:
    """Raises NotFoundError; PayloadTooLargeError for a file that is too large and must be checked with the command
    line."""
    file = state.store.files.retrieve(file_id)
    if file.bytes > MAX_BYTES:
        message = f"Files above {MAX_BYTES:,} bytes are not read here: use `luthier check`, `estimate` or `split`."
        raise PayloadTooLargeError(message, param="file_id", code="file_too_large")
    return state.store.files.path(file_id)


def _report(state: State, file_id: str) -> Report:
    try:
        return Report.from_dict(state.store.files.report(file_id))
    except (NotFoundError, KeyError, TypeError):  # none yet, or one of an earlier release
        checked = file_inspection.check(_path(state, file_id))
    state.store.files.save_report(file_id, {"object": "file.report", "file_id": file_id, **checked.to_dict("en")})
    return checked


def _renderer(state: State, model: str) -> tuple[Path, Renderer]:
    """The folder and renderer of the model behind `model`. Raises BadRequestError if it is not on this machine."""
    target = state.models.resolve(model)
    folder = state.app.loader.local_folder(target)
    return folder, load_renderer(folder, target.adapter)


def _create(state: State, file: FileObject, part: str, path: Path) -> FileObject:
    """Create a file with the content of `path`, named after `file`."""

    def fill(out: IO[bytes]) -> None:
        out.write(path.read_bytes())

    return state.store.files.create(f"{file.filename.removesuffix('.jsonl')}.{part}.jsonl", file.purpose, fill)
