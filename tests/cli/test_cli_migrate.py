"""`luthier migrate` on the command line; `luthier.migrate` has its own tests."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Run, run
from rich.cells import cell_len

from migrate.accounts import SUPPORT, RunningAccount, account

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    with RunningAccount(tmp_path_factory.mktemp("account"), account()) as running:
        yield running


@pytest.fixture
def luthier(hosted: RunningAccount, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line against the account."""
    monkeypatch.setenv("OPENAI_BASE_URL", hosted.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    return run


def test_inventory_prints_writes_a_page_and_json(luthier: Run, tmp_path: Path) -> None:
    result = luthier("migrate", "inventory", "--html", "page.html")
    assert result.exit_code == 0, result.output
    assert SUPPORT in result.stdout
    assert SUPPORT in (tmp_path / "page.html").read_text()
    document = json.loads(luthier("migrate", "inventory", "--json").stdout)
    assert SUPPORT in [model["id"] for model in document["models"]]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_inventory_fits_eighty_columns(luthier: Run, monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    wide = luthier("migrate", "inventory", "--lang", language).stdout
    monkeypatch.setattr("luthier.cli.output.PIPE_WIDTH", 80)
    narrow = luthier("migrate", "inventory", "--lang", language).stdout
    assert max(map(cell_len, narrow.splitlines())) <= 80
    numbers = [set(re.findall(r"[\w:.≥-]*\d[\w:.-]*", text)) for text in (wide, narrow)]
    assert numbers[0] == numbers[1]


def test_inventory_of_openai_needs_a_key(luthier: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_API_KEY")
    result = luthier("migrate", "inventory")
    assert result.exit_code == 2
    assert "api.openai.com" in result.stderr
    assert "OPENAI_API_KEY" in result.stderr


def test_a_wrong_key_is_explained(luthier: Run) -> None:
    result = luthier("migrate", "inventory", "--api-key", "wrong")
    assert result.exit_code == 2
    assert "--api-key" in result.stderr


@pytest.mark.parametrize("language", ["en", "zh"])
def test_recording_fits_eighty_columns(luthier: Run, monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    monkeypatch.setattr("luthier.cli.output.PIPE_WIDTH", 80)
    for flags in (["--dry-run"], ["--out", "recording"]):
        lines = luthier("migrate", "record", *flags, "--lang", language).stdout.splitlines()
        assert max(map(cell_len, lines)) <= 80


def test_an_address_without_a_service_is_told_soon(luthier: Run) -> None:
    result = luthier("migrate", "inventory", "--base-url", "http://127.0.0.1:9/v1")
    assert result.exit_code == 2
    assert "cannot be reached" in result.stderr
    assert "luthier serve" not in result.stderr


def test_flags_that_make_no_sense_are_explained(luthier: Run) -> None:
    assert "--price-out" in luthier("migrate", "record", "--price-in", "1").stderr
    assert "MODEL=NAME" in luthier("migrate", "record", "--deployment", "support").stderr
