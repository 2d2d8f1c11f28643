"""The log of long-running commands, and warnings about variables that are no settings."""

import json
import logging
import sys

import pytest

from luthier.cli.logs import JsonFormatter, unknown_variables


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


@pytest.mark.parametrize(
    ("variable", "meant"),
    [("LUTHIER_PORTS", "LUTHIER_PORT"), ("LUTHIER_API_KEY", "LUTHIER_API_KEYS"), ("LUTHIER_ENGIN", "LUTHIER_ENGINE")],
)
def test_a_misspelt_variable_is_named_with_what_is_meant(variable: str, meant: str) -> None:
    (warning,) = unknown_variables({variable: "1", "PATH": "x"})
    assert variable in warning
    assert f"Is {meant} meant?" in warning


def test_settings_former_names_and_others_are_no_fault() -> None:
    variables = {"LUTHIER_PORT": "1", "LUTHIER_LANG": "zh", "LUTHIER_CONFIG": "x", "LUTHIER_ADAPTERS_IN_MEMORY": "2"}
    assert list(unknown_variables({**variables, "OPENAI_API_KEY": "x"})) == []
    (unrelated,) = unknown_variables({"LUTHIER_ZZZZZZ": "1"})
    assert "meant" not in unrelated
