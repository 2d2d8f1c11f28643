"""Fine-tuned models and checkpoints as models: a row and a folder each, an adapter's or a whole model's.

The folders lie under `models/` and are named by us; no name from a request is ever part of a path.
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, Select, Table, delete, insert, or_, select

from luthier.store.database import Database, checkpoints, jobs, models
from luthier.store.evaluations import evaluations
from luthier.store.job_records import Event, Job
from luthier.store.jobs import add_event
from luthier.store.permissions import shared_with
from luthier.store.project_scope import Scoped
from luthier.types.common import new_id, now
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.fine_tuning import FINAL
from luthier.types.names import TUNED


@dataclass(frozen=True)
class FineTunedModel:
    """`adapter` is a PEFT folder, or that of a `whole` model, which needs no base.

    `call_form` says how the training data wrote calls (`tools`, `functions`).
    """

    id: str
    job_id: str
    project: str
    base: str
    root: str
    adapter: Path
    call_form: Literal["tools", "functions"] | None
    created_at: int

    @property
    def whole(self) -> bool:
        """Whether all weights were trained: the folder is a base of its own."""
        return (self.adapter / "config.json").is_file()

    @property
    def own_base(self) -> str:
        """A whole model's name as a base."""
        return TUNED + self.adapter.name


class Models(Scoped):
    def __init__(self, database: Database, folder: Path) -> None:
        self._database, self._folder = database, folder
        folder.mkdir(parents=True, exist_ok=True)

    def find(self, name: str) -> FineTunedModel | None:
        """One of the project's own, or one that it has a permission for."""
        with self._database.read() as connection:
            row = connection.execute(self._seen(models).where(models.c.id == name)).mappings().first()
        return self._model(row) if row else None

    def list(self) -> Sequence[FineTunedModel]:
        """Oldest first."""
        with self._database.read() as connection:
            return [
                self._model(row) for row in connection.execute(self._seen(models).order_by(models.c.seq)).mappings()
            ]

    def add_checkpoint(
        self,
        job: Job,
        *,
        name: str,
        step: int,
        metrics: dict[str, Any],
        source: Path,
        call_form: str | None,
        event: Event | None,
        keep: int,
    ) -> str | None:
        """Take over the adapter folder `source` as a model, checkpoint and event; of the job's, the newest `keep` stay.

        Can be done again after a crash at any point: the folder's new place follows from job and step. Returns the
        model's name: that of an earlier run of the same step, where there was one, else `name`. None when the job is
        over and takes nothing more, or when the step was taken over before and has been deleted since.
        """
        adapter = f"{job.id}-step-{step}"
        target = self._folder / adapter
        if source.exists():
            shutil.rmtree(target, ignore_errors=True)
            source.rename(target)
        created = now()
        with self._database.write() as connection:
            known = select(checkpoints.c.model).where(checkpoints.c.job_id == job.id, checkpoints.c.step == step)
            earlier: str | None = connection.scalar(known)
            if earlier is not None or not target.exists():
                return earlier
            # A later one that is known: this one was known too, and went; a crash may have left its folder.
            later = select(checkpoints.c.step).where(checkpoints.c.job_id == job.id, checkpoints.c.step > step)
            over = connection.scalar(select(jobs.c.status).where(jobs.c.id == job.id)) in FINAL
            if over or connection.scalar(later.limit(1)) is not None:
                shutil.rmtree(target)
                return None
            row: dict[str, Any] = {
                "id": name,
                "job_id": job.id,
                "base": job.base,
                "root": job.model,
                "adapter": adapter,
            }
            row |= {"call_form": call_form, "created_at": created, "project": job.project}
            connection.execute(insert(models).values(**row))
            row = {"id": new_id("ftckpt_"), "job_id": job.id, "model": name, "step": step, "metrics": metrics}
            connection.execute(insert(checkpoints).values(**row, created_at=created))
            if event:
                add_event(connection, job.id, event)
            older = select(checkpoints.c.model).where(checkpoints.c.job_id == job.id)
            outdated = connection.scalars(older.order_by(checkpoints.c.step.desc()).offset(keep)).all()
        for old in outdated:
            with suppress(BadRequestError):  # somebody trains on it
                self.delete(old)
        return name

    def delete(self, name: str) -> None:
        """The model with its permissions, evaluations, checkpoint entry and folder; one's own only.

        Raises NotFoundError, and BadRequestError for a whole model that others are adapters on.
        """
        model = self.find(name)
        if model is None or self._project not in (None, model.project):
            raise NotFoundError(f"The model '{name}' does not exist", param="model", code="model_not_found")
        with self._database.write() as connection:
            if model.whole and self._is_a_base(connection, model.own_base):
                message = f"The model '{name}' is what other models or jobs start from; delete or cancel those first."
                raise BadRequestError(message, param="model", code="model_in_use")
            connection.execute(delete(checkpoints).where(checkpoints.c.model == name))
            connection.execute(delete(evaluations).where(evaluations.c.model == name))
            connection.execute(delete(models).where(models.c.id == name))
        shutil.rmtree(model.adapter, ignore_errors=True)

    def _is_a_base(self, connection: Connection, base: str) -> bool:
        """Of an adapter, or of a job that is not over; a whole model that came of it has its own weights."""
        built = connection.execute(select(models).where(models.c.base == base)).mappings()
        going = select(jobs.c.id).where(jobs.c.base == base, jobs.c.status.not_in(FINAL)).limit(1)
        return any(not self._model(row).whole for row in built) or connection.scalar(going) is not None

    def _seen(self, table: Table) -> Select[Any]:
        """A project sees what is shared with it, too."""
        if self._project is None:
            return select(table)
        return select(table).where(or_(table.c.project == self._project, table.c.id.in_(shared_with(self._project))))

    def _model(self, row: RowMapping) -> FineTunedModel:
        values = {key: row[key] for key in ("id", "job_id", "project", "base", "root", "call_form", "created_at")}
        return FineTunedModel(**values, adapter=self._folder / row["adapter"])
