"""A quality check of another distribution runs with the built-in ones, and brings its own finding kinds."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier import plugins
from luthier.data.check.file_check import check_file
from luthier.data.check.quality.runner import QualityRunner
from luthier.data.check.registry import EXAMPLE_CHECKS, MESSAGE_CHECKS, QualityCheck, quality_checks
from luthier.data.findings import Report, all_kinds

CHECK = """
from luthier.data.check.registry import QualityCheck
from luthier.data.findings.kinds import Kind


class ShoutCheck(QualityCheck):
    kinds = {"shouting": Kind("note", "shouts: {value}", "全是大写：{value}", "Use lower case.", "请改写。", "{at}")}

    def check(self, batch):
        for row in batch.answers.rows(range(len(batch.answers.texts))):
            if row.text.isupper():
                yield batch.finding("shouting", row.example, row.message, value=row.text)
"""


@pytest.fixture
def shout_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    metadata = tmp_path / "acme-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[luthier.checks]\nshouting = acme_shouting:ShoutCheck\n")
    (tmp_path / "acme_shouting.py").write_text(CHECK, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "acme_shouting", raising=False)
    plugins.load.cache_clear()
    yield
    plugins.load.cache_clear()


@pytest.mark.usefixtures("shout_check")
def test_a_plugin_is_one_more_check(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "LOUD"}]
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps({"messages": messages}) + "\n")
    report = check_file(path, minimum_examples=1, quality=QualityRunner())
    assert [finding.text("en") for finding in report.findings] == ["line 1, message 2: shouts: LOUD"]
    assert Report.from_dict(report.to_dict("zh")).findings[0].text("zh").endswith("全是大写：LOUD")
    assert "shouting" in all_kinds()


def test_built_in_checks_have_names() -> None:
    assert {"near_duplicates", "secrets_and_pii", "answers"} <= set(quality_checks())
    assert all(issubclass(check, QualityCheck) for check in quality_checks().values())  # type: ignore[arg-type]
    assert list(MESSAGE_CHECKS) == ["message_keys", "role", "content", "weight", "call_form"]
    assert {"definitions", "argument_schemas", "calls_without_result"} <= set(EXAMPLE_CHECKS)
