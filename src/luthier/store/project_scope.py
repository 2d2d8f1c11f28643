"""Project scope: the rows of one project, or of all."""

from copy import copy
from typing import Any, Self

from sqlalchemy import Select, Table, select

from luthier.types.projects import DEFAULT_PROJECT


class Scoped:
    """A part of the store over tables with a column `project`. Unscoped until `within` is called."""

    _project: str | None = None

    def within(self, project: str | None) -> Self:
        """The same part, scoped to `project`, which new rows belong to.

        None: the rows of all projects; new rows belong to the default project.
        """
        scoped = copy(self)
        scoped._project = project
        return scoped

    @property
    def project(self) -> str | None:
        return self._project

    @property
    def _new_row_project(self) -> str:
        return self._project or DEFAULT_PROJECT

    def _visible(self, table: Table) -> Select[Any]:
        """Selects the rows of the scope."""
        return select(table) if self._project is None else select(table).where(table.c.project == self._project)
