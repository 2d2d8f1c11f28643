"""The log of long-running commands, and warnings about variables that are no settings."""

import json
import logging
import sys
import warnings
from typing import Literal

import pytest

from luthier.cli.logs import JsonFormatter, configure_logging, unknown_variables


def test_a_json_line_has_the_fields_of_its_event() -> None:
    record = logging.LogRecord("luthier.server", logging.WARNING, "x.py", 1, "%(status)s", ({"status": 503},), None)
    record.fields = {"status": 503, "request_id": "req_1", "path": "/v1/文件"}
    line = json.loads(JsonFormatter().format(record))
    assert line["time"].endswith("+00:00")
    assert (line["level"], line["message"], line["status"]) == ("warning", "503", 503)
    assert line["path"] == "/v1/文件"


def test_a_traceback_stays_in_its_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("luthier", logging.ERROR, "x.py", 1, "failed", (), sys.exc_info())
    text = JsonFormatter().format(record)
    assert "\n" not in text
    assert "ValueError: two\nlines" in json.loads(text)["exception"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_every_line_of_a_json_log_is_an_object(
    log_format: Literal["text", "json"], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the command says of itself, and warnings of Python, too."""
    monkeypatch.setenv("LUTHIER_PORTS", "1")
    loggers = [logging.getLogger(name) for name in ("", "luthier", "py.warnings")]
    monkeypatch.setattr(loggers[0], "handlers", [])
    monkeypatch.setattr(loggers[1], "level", logging.INFO)
    logging.captureWarnings(False)  # another test may have left it on
    try:
        configure_logging("info", log_format)("Luthier is listening")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    finally:
        logging.captureWarnings(False)
    lines = capsys.readouterr().err.splitlines()
    texts = [json.loads(line)["message"] for line in lines] if log_format == "json" else lines
    assert texts[0].startswith("LUTHIER_PORTS")
    assert texts[1] == "Luthier is listening"
    assert "old" in texts[2]


@pytest.mark.parametrize(
    ("variable", "meant"),
    [("LUTHIER_PORTS", "LUTHIER_PORT"), ("LUTHIER_API_KEY", "LUTHIER_API_KEYS"), ("LUTHIER_ENGIN", "LUTHIER_ENGINE")],
)
def test_a_misspelt_variable_is_named_with_what_is_meant(variable: str, meant: str) -> None:
    (warning,) = unknown_variables({variable: "1", "PATH": "x"})
    assert variable in warning
    assert f"Did you mean {meant}?" in warning


def test_settings_former_names_and_others_are_no_fault() -> None:
    variables = {"LUTHIER_PORT": "1", "LUTHIER_LANG": "zh", "LUTHIER_CONFIG": "x", "LUTHIER_ADAPTERS_IN_MEMORY": "2"}
    assert list(unknown_variables({**variables, "OPENAI_API_KEY": "x"})) == []
    (unrelated,) = unknown_variables({"LUTHIER_ZZZZZZ": "1"})
    assert "Did you mean" not in unrelated
