"""The inventory of an account, read over real HTTP; shutdown dates; what is lost first."""

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import openai
import pytest

from luthier.language import Language
from luthier.migrate.account import Account, Provider, provider_of
from luthier.migrate.inventory import Inventory, losses
from luthier.migrate.inventory_text import last_day, notes, render_html
from luthier.migrate.shutdown import account_date, base_of, published_date
from luthier.migrate.survey import Survey
from migrate.accounts import ROUTER, SUPPORT, VISION, RunningAccount, account

pytestmark = pytest.mark.services

TODAY = date(2026, 11, 29)
TURBO = "ft:gpt-3.5-turbo-0125:acme::DDDD4444"


def survey(base_url: str, key: str = "sk-test", project: str | None = None) -> Inventory:
    async def read() -> Inventory:
        http_client = openai.DefaultAsyncHttpxClient(trust_env=False)
        async with openai.AsyncOpenAI(
            base_url=base_url, api_key=key, project=project, http_client=http_client
        ) as client:
            return await Survey(Account(client)).inventory(TODAY, project)

    return asyncio.run(read())


def _read(tmp_path: Path, document: dict[str, Any], **options: Any) -> Inventory:
    with RunningAccount(tmp_path / "account", document) as running:
        return survey(running.base_url, **options)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """Of the account without faults, as it is on TODAY."""
    document = account()
    for completion in document["stored"]:
        completion["created"] = int(datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC).timestamp()) - 86400 * 20
    return _read(tmp_path_factory.mktemp("plain"), document)


def test_models_with_their_last_days_files_and_checkpoints(plain: Inventory) -> None:
    inventory = plain
    assert [model.id for model in inventory.models] == [ROUTER, VISION, SUPPORT]  # the base's date in GET /models wins
    assert [model.days_left(TODAY) for model in inventory.models] == [46, 46, 52]
    assert len(inventory.jobs) == 34  # two pages
    support = inventory.models[2].job
    assert support is not None
    assert support.checkpoints == (f"{SUPPORT}:ckpt-step-10", f"{SUPPORT}:ckpt-step-20")
    states = {file_id: file.state for file_id, file in inventory.files.items()}
    assert states["file-gone"] == "deleted"
    assert states["file-valid1"] == "available"
    assert inventory.stored.count == 25
    assert inventory.gaps == ()


def test_what_is_lost_comes_in_the_order_of_its_last_day(plain: Inventory) -> None:
    entries = losses(plain, "en")
    assert [loss.kind for loss in entries] == [
        "stored_completions", "answers", "answers", "batch_outputs", "files", "jobs"
    ]  # fmt: skip
    days = [loss.days_left for loss in entries if loss.days_left is not None]
    assert days == sorted(days)


def test_an_absolute_learning_rate_is_warned_about(plain: Inventory) -> None:
    document = plain.to_dict()
    warned = [job["id"] for job in document["jobs"] if job["warnings"]]
    assert warned == ["ftjob-2"]


def test_parts_that_the_key_may_not_read_are_gaps(tmp_path: Path) -> None:
    inventory = _read(tmp_path, account(forbidden={"/fine_tuning": "training_not_available"}))
    assert [(gap.area, gap.status, gap.code) for gap in inventory.gaps] == [("jobs", 403, "training_not_available")]
    assert [model.id for model in inventory.models] == [ROUTER, VISION, SUPPORT]
    assert inventory.files["file-valid1"].state == "available"


def test_a_wrong_key_and_an_account_that_refuses_everything_are_errors(tmp_path: Path) -> None:
    with pytest.raises(openai.AuthenticationError):
        _read(tmp_path, account(), key="wrong")
    with pytest.raises(openai.PermissionDeniedError):
        _read(tmp_path / "all", account(forbidden={"/": "denied"}))


def test_another_project_has_other_jobs(tmp_path: Path) -> None:
    document = account() | {"projects": {"proj_2": []}}
    with RunningAccount(tmp_path / "account", document) as running:
        assert survey(running.base_url, project="proj_2").jobs == ()
        assert len(survey(running.base_url, project="proj_1").jobs) == 34


@pytest.fixture(scope="module")
def old_models(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """Of an account that also has a model that is off, and one with a name to be escaped."""
    document = account()
    for name in (TURBO, "ft:<script>:x::y"):
        document["models"].append({"id": name, "object": "model", "created": 1, "owned_by": "acme"})
    return _read(tmp_path_factory.mktemp("old"), document)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_escapes_what_the_account_says(old_models: Inventory, language: Language) -> None:
    page = render_html(old_models, language)
    assert "<script>" not in page
    assert SUPPORT in page


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://acme.openai.azure.com/openai/v1/", "azure"),
        ("https://acme.services.ai.azure.com/api/projects/p/openai/v1", "azure"),
        ("https://api.openai.com.example.org/v1", "other"),
        ("http://127.0.0.1:8000/v1", "other"),
    ],
)
def test_the_provider_is_known_by_its_host(url: str, provider: str) -> None:
    assert provider_of(url) == provider


@pytest.mark.parametrize(
    ("base", "provider", "day", "source", "earliest"),
    [
        ("gpt-4o-mini-2024-07-18", "openai", date(2027, 1, 14), "published", False),
        ("gpt-4.1-mini-2025-04-14", "openai", date(2027, 1, 14), "published", False),
        ("gpt-3.5-turbo-1106", "openai", date(2026, 9, 28), "published", False),
        ("gpt-3.5-turbo-0125", "openai", date(2026, 10, 23), "inferred", False),  # the page names the family
        ("gpt-4o-2024-05-13", "openai", date(2027, 1, 14), "inferred", False),
        ("gpt-4.1-2025-04-14", "azure", date(2027, 10, 14), "inferred", True),  # the page names three days
    ],
)
def test_dates_by_the_page_of_the_service_say_their_source(
    base: str, provider: Provider, day: date, source: str, earliest: bool
) -> None:
    shutdown = published_date(base, provider)
    assert shutdown
    assert (shutdown.date, shutdown.source, shutdown.earliest) == (day, source, earliest)


def test_no_date_is_made_up() -> None:
    assert published_date("qwen", "openai") is None
    assert published_date("gpt-35-turbo", "azure") is None
    assert account_date(None) is None
    assert base_of("gpt-4o-mini-2024-07-18.ft-0e208cf33a6a466994aff31a08aba678") == "gpt-4o-mini-2024-07-18"
    assert base_of("gpt-4o") is None


@pytest.mark.parametrize(("language", "word"), [("en", "inferred"), ("zh", "推断")])
def test_an_inferred_date_is_called_so_on_screen_and_page(old_models: Inventory, language: Language, word: str) -> None:
    assert f"2026-10-23 ({word})" in last_day(old_models.models[0], language)
    assert any(line.lower().startswith(word) for line in notes(old_models, language))
    assert f"({word})" in render_html(old_models, language)


def test_models_that_are_off_are_no_longer_a_loss(old_models: Inventory) -> None:
    assert old_models.models[0].id == TURBO
    assert old_models.models[0].is_off(TODAY)
    assert sum(loss.count for loss in losses(old_models) if loss.kind == "answers") == 4  # all but that one
    assert any("already off: 1" in line for line in notes(old_models, "en"))


def test_a_part_that_the_service_does_not_have_is_told_as_such(tmp_path: Path) -> None:
    inventory = _read(tmp_path, account(absent=["/batches"]))
    assert [gap.is_absent for gap in inventory.gaps] == [True]
    assert any("does not support: batches" in line for line in notes(inventory, "en"))


def test_the_inventory_of_a_luthier_has_no_last_day(tmp_path: Path) -> None:
    document = account()
    for model in document["models"]:
        model["owned_by"] = "luthier"
    inventory = _read(tmp_path, document)
    assert [model.days_left(TODAY) for model in inventory.models] == [52, None, None]  # one date is the account's own
    assert "answers" not in {loss.kind for loss in losses(inventory)}
