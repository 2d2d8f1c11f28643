"""Fine-tuned models, including checkpoints: a row and a folder each, with an adapter or a complete model.

The names of the folders never come from a request.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, Select, Table, delete, exists, insert, or_, select

from luthier.store.checksums import checksums, delete_checksums, record_checksum
from luthier.store.content import Content
from luthier.store.database import Database, checkpoints, jobs, models
from luthier.store.evaluations import evaluations
from luthier.store.job_records import Event, Job
from luthier.store.jobs import add_event
from luthier.store.model_folders import MODELS, ModelFolders
from luthier.store.permissions import shared_with
from luthier.store.project_scope import Scoped
from luthier.store.work_queue import LeasedTable
from luthier.types.common import now
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.fine_tuning import FINAL
from luthier.types.ids import new_id
from luthier.types.names import TUNED


@dataclass(frozen=True)
class FineTunedModel:
    """`adapter`: a PEFT folder or, after full fine-tuning, the folder of a complete model. It is on this machine if
    `Models.find` returned the model.

    `standalone`: whether it was fully fine-tuned, so that the folder is a complete model, which needs no base. `base`:
    the catalogue's name of the base model. `root`: the model given in the job. `call_form`: how the training data wrote
    calls.
    """

    id: str
    job_id: str
    project: str
    base: str
    root: str
    adapter: Path
    standalone: bool
    call_form: Literal["tools", "functions"] | None
    created_at: int

    @property
    def standalone_base(self) -> str:
        """The name of a standalone model as a base model."""
        return TUNED + self.adapter.name


class Models(Scoped):
    def __init__(self, database: Database, folders: ModelFolders) -> None:
        self._database, self._folders = database, folders

    def find(self, name: str) -> FineTunedModel | None:
        """Find a model of the project, or one that is shared with it; None if there is none.

        Its folder, and that of a fine-tuned model that it is based on, are made available on this machine.
        """
        model = self._find_row(name)
        if model:
            self._folders.make_local(model.adapter.name)
            self.make_base_local(model.base)
        return model

    def _find_row(self, name: str) -> FineTunedModel | None:
        with self._database.read() as connection:
            row = connection.execute(self._visible(models).where(models.c.id == name)).mappings().first()
        return self._model(row) if row else None

    def make_base_local(self, base: str) -> None:
        """Make a fine-tuned model that serves as base available on this machine; nothing happens for other bases."""
        if base.startswith(TUNED):
            self._folders.make_local(base.removeprefix(TUNED))

    def list(self) -> Sequence[FineTunedModel]:
        """List the models, oldest first; their folders may not be on this machine."""
        with self._database.read() as connection:
            rows = connection.execute(self._visible(models).order_by(models.c.seq)).mappings()
            return [self._model(row) for row in rows]

    def checkpoint_folder(self, job_id: str, step: int) -> Path:
        """The folder that `add_checkpoint` moves a checkpoint to; job and step determine it, also after a crash in
        between."""
        return self._folders.path(f"{job_id}-step-{step}")

    def add_checkpoint(
        self,
        job: Job,
        *,
        name: str,
        step: int,
        metrics: Mapping[str, Any],
        source: Path,
        call_form: str | None,
        event: Event | None,
        keep: int,
    ) -> str | None:
        """Move the folder `source` into `models/` and add its model, checkpoint and event; only the `keep` newest are
        kept.

        Idempotent after a crash at any point, since job and step determine the folder. Returns the model's name: that
        of an earlier run of the step, else `name`; None for a finished job, and for a step whose model was added
        earlier and has been deleted. Raises StaleClaimError, with the folders unchanged, if another worker has claimed
        `job` since it was read.
        """
        target = self.checkpoint_folder(job.id, step)
        adapter = target.name
        self._require_claim(job)
        written = self._folders.move_in(source, adapter)
        with self._database.write() as connection:
            claimed = select(jobs.c.status, jobs.c.fencing_token).where(jobs.c.id == job.id).with_for_update()
            row = connection.execute(claimed).one()
            recorded: str | None = connection.scalar(
                select(checkpoints.c.model).where(checkpoints.c.job_id == job.id, checkpoints.c.step == step)
            )
            is_stale = row.fencing_token != job.fencing_token
            is_new = not is_stale and recorded is None and target.exists()
            refused = is_new and (row.status in FINAL or _is_outdated(connection, job.id, step))
            outdated: Sequence[str] = ()
            if is_new and not refused:
                _insert(connection, job, name, adapter, call_form, written)
                _insert_checkpoint(connection, job, name, step, metrics)
                if event:
                    add_event(connection, job.id, event)
                newest_first = select(checkpoints.c.model).where(checkpoints.c.job_id == job.id)
                outdated = connection.scalars(newest_first.order_by(checkpoints.c.step.desc()).offset(keep)).all()
                recorded = name
        if is_stale:
            LeasedTable(self._database, jobs).refuse(job.id)
        if refused:
            self._folders.delete(adapter)
        for model in outdated:
            with suppress(BadRequestError):  # another job or model is based on it
                self.delete(model)
        return recorded

    def _require_claim(self, job: Job) -> None:
        """Raises StaleClaimError if another worker has claimed `job` since it was read."""
        with self._database.read() as connection:
            token = connection.scalar(select(jobs.c.fencing_token).where(jobs.c.id == job.id))
        if token != job.fencing_token:
            LeasedTable(self._database, jobs).refuse(job.id)

    def add_imported(self, job: Job, *, name: str, base: str, source: Path) -> None:
        """Move the folder `source` into `models/` and add its model, for a finished job that represents its training
        elsewhere.
        """
        adapter = f"{job.id}-step-0"
        written = self._folders.move_in(source, adapter)
        with self._database.write() as connection:
            _insert(connection, replace(job, base=base), name, adapter, None, written)

    def delete(self, name: str) -> None:
        """Deletes a model of the project with its permissions, evaluations, checkpoint and folder.

        Raises NotFoundError; BadRequestError for a standalone model that adapters or unfinished jobs are based on.
        """
        model = self._find_row(name)
        if model is None or self._project not in (None, model.project):
            raise NotFoundError(f"The model '{name}' does not exist", param="model", code="model_not_found")
        self.delete_together([model])

    def of_job(self, job_id: str) -> Sequence[FineTunedModel]:
        """The models of a job of the project, including checkpoints."""
        return [model for model in self.list() if model.job_id == job_id and self._project in (None, model.project)]

    def delete_together(
        self, together: Sequence[FineTunedModel], also: Callable[[Connection], None] = lambda connection: None
    ) -> None:
        """Delete models like `delete`, all or none. `also` runs in the transaction; if it raises, nothing is deleted.

        Raises BadRequestError for a standalone model that adapters or unfinished jobs are based on.
        """
        with self._database.write() as connection:
            for model in together:
                self._delete_rows(connection, model)
            also(connection)
        for model in together:
            self._folders.delete(model.adapter.name)

    def _delete_rows(self, connection: Connection, model: FineTunedModel) -> None:
        if model.standalone and self._is_base(connection, model.standalone_base):
            message = f"Other models or jobs start from the model '{model.id}'; delete or cancel those first."
            raise BadRequestError(message, param="model", code="model_in_use")
        connection.execute(delete(checkpoints).where(checkpoints.c.model == model.id))
        connection.execute(delete(evaluations).where(evaluations.c.model == model.id))
        connection.execute(delete(models).where(models.c.id == model.id))
        delete_checksums(connection, f"{MODELS}/{model.adapter.name}")

    def delete_orphans(self) -> None:
        """Delete checkpoints that crashes left without a row, if they are a day old and their job has finished.

        Other folders than those of `add_checkpoint` are kept.
        """
        old = self._folders.old_checkpoints()
        if not old:
            return
        with self._database.read() as connection:
            adapters = set(connection.scalars(select(models.c.adapter)))
            unfinished = set(connection.scalars(select(jobs.c.id).where(jobs.c.status.not_in(FINAL))))
        for name in old:
            if name not in adapters and name.rpartition("-step-")[0] not in unfinished:
                self._folders.delete(name)

    def _is_base(self, connection: Connection, base: str) -> bool:
        """Whether it is the base of an adapter or an unfinished job; a standalone model trained from it has its own
        weights."""
        derived = connection.execute(_with_config(select(models).where(models.c.base == base))).mappings()
        unfinished = select(jobs.c.id).where(jobs.c.base == base, jobs.c.status.not_in(FINAL)).limit(1)
        has_adapter = any(not self._model(row).standalone for row in derived)
        return has_adapter or connection.scalar(unfinished) is not None

    def _visible(self, table: Table) -> Select[Any]:
        """Includes the models that are shared with the project."""
        query = _with_config(select(table))
        if self._project is None:
            return query
        return query.where(or_(table.c.project == self._project, table.c.id.in_(shared_with(self._project))))

    def _model(self, row: RowMapping) -> FineTunedModel:
        values = {key: row[key] for key in ("id", "job_id", "project", "base", "root", "call_form", "created_at")}
        folder = self._folders.path(row["adapter"])
        standalone = row["has_config"] or (folder / "config.json").is_file()  # earlier releases kept no checksums
        return FineTunedModel(**values, adapter=folder, standalone=standalone)


def _with_config(query: Select[Any]) -> Select[Any]:
    """Adds whether a file config.json was recorded in the model's folder."""
    config = f"{MODELS}/" + models.c.adapter + "/config.json"
    return query.add_columns(exists().where(checksums.c.path == config).label("has_config"))


def _is_outdated(connection: Connection, job_id: str, step: int) -> bool:
    """Whether a later step is recorded: then this one's model was deleted, and a crash left its folder."""
    later = select(checkpoints.c.step).where(checkpoints.c.job_id == job_id, checkpoints.c.step > step).limit(1)
    return connection.scalar(later) is not None


def _insert(
    connection: Connection,
    job: Job,
    name: str,
    adapter: str,
    call_form: str | None,
    written: Mapping[str, Content],
) -> None:
    """The model's row, and the checksums of the files in its folder `adapter`."""
    row: dict[str, Any] = {"id": name, "job_id": job.id, "base": job.base, "root": job.model, "adapter": adapter}
    row |= {"call_form": call_form, "created_at": now(), "project": job.project}
    connection.execute(insert(models).values(**row))
    for path, content in written.items():
        record_checksum(connection, f"{MODELS}/{adapter}/{path}", content)


def _insert_checkpoint(connection: Connection, job: Job, name: str, step: int, metrics: Mapping[str, Any]) -> None:
    row = {"id": new_id("ftckpt_"), "job_id": job.id, "model": name, "step": step, "metrics": dict(metrics)}
    connection.execute(insert(checkpoints).values(**row, created_at=now()))
