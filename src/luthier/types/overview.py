"""Responses of Luthier's own routes about the server itself, and about a migration from a hosted account."""

from typing import Literal

from luthier.types.common import Response


class CallerView(Response):
    """`project`: null for the whole organization."""

    project: str | None
    role: Literal["admin", "member", "reader"]


class ServerOverview(Response):
    """`workers`: processes that claim work from the data folder. `device`, `precision`: as set, `auto` included.

    `aliases`: those of the settings that apply to the caller's project, with their targets.
    """

    object: Literal["luthier.server"] = "luthier.server"
    version: str
    caller: CallerView
    keys_required: bool
    workers: int
    device: str
    precision: str
    cpu: str
    cpu_cores: int
    available_memory_bytes: int
    base: str
    aliases: dict[str, str | None]


class RecordedModel(Response):
    """A fine-tuned model of the old account, as recorded; unknown values are null.

    `shutdown_date`: YYYY-MM-DD. `files`: whether its training file was recorded. `answered` of `questions`: the number
    of recorded answers.
    """

    model: str
    base: str | None
    shutdown_date: str | None
    files: bool
    questions: int
    answered: int


class MigratedModel(RecordedModel):
    """`days_left`: until the shutdown date, negative afterwards.

    `job`: the newest job that trains a successor, with its `status`; `successor`: the model that it produced.
    `switched`: whether requests for the old name are answered here, completely or by `share`.
    """

    days_left: int | None
    job: str | None
    status: str | None
    successor: str | None
    switched: bool
    share: float


class MigrationOverview(Response):
    """`recorded`: whether the setting `recording` is set; `data` then has the recorded models, the first to be shut
    down first.

    `updated_at`: of the recording, ISO 8601.
    """

    object: Literal["luthier.migration"] = "luthier.migration"
    recorded: bool
    provider: str | None
    updated_at: str | None
    data: list[MigratedModel]
