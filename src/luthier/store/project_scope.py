"""What a project sees of the store: its own rows. Knows nothing about who asks."""

from copy import copy
from typing import Any, Self

from sqlalchemy import Select, Table, select

from luthier.types.projects import DEFAULT_PROJECT


class Scoped:
    """A part of the store, over tables with a column `project`. It shows everything until it is narrowed."""

    _project: str | None = None

    def within(self, project: str | None) -> Self:
        """The same as `project` sees it; new rows are that project's. None: everything, new rows the default's."""
        seen = copy(self)
        seen._project = project
        return seen

    @property
    def _home(self) -> str:
        """The project of new rows."""
        return self._project or DEFAULT_PROJECT

    def _seen(self, table: Table) -> Select[Any]:
        return select(table) if self._project is None else select(table).where(table.c.project == self._project)
