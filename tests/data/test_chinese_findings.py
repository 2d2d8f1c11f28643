"""Findings in Chinese: the words that a check writes into them are Chinese, too; what stands in the file is not."""

import re

import pytest

from luthier.data.check.quality.byte_classes import FOREIGN_SCRIPTS
from luthier.data.check.quality.secrets_and_pii import personal_data_in, secrets_in
from luthier.data.findings import make_finding

KINDS = {
    "secret": (secrets_in, ("sk-proj-abcd1234efgh5678ijkl9012mnop", "password: hunter2024abc")),
    "personal_data": (
        personal_data_in,
        ("ann.smith@gmail.com", "13912345067", "11010519491231002X", "4539 1488 0343 6467", "219-09-9999",
         "DE89 3704 0044 0532 0130 00"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("code", KINDS)
def test_kinds_of_secrets(code: str) -> None:
    search, texts = KINDS[code]
    kinds = [next(search(text))[0] for text in texts]
    assert len(set(kinds)) == len(texts)
    for kind in kinds:
        finding = make_finding(code, key=kind, value="…")
        assert kind in finding.text("en")
        assert not re.search(r"[a-z]{3}", finding.text("zh")), finding.text("zh")


def test_names_of_scripts() -> None:
    for name, *_ in FOREIGN_SCRIPTS:
        finding = make_finding("foreign_script", value="…", detail=name)
        assert name in finding.text("en")
        assert not re.search(r"[A-Za-z]", finding.text("zh")), finding.text("zh")


def test_why_a_conversation_cannot_be_rendered() -> None:
    reason = "Message 3: the arguments of weather are not a JSON object."
    text = make_finding("base_refuses_example", detail=reason).text("zh")
    assert text.endswith("第 3 条消息：函数 weather 的参数不是 JSON 对象。")
    assert make_finding("base_refuses_example", detail="Another reason.").text("zh").endswith("Another reason.")


def test_a_quoted_text_stays_as_it_is() -> None:
    assert make_finding("refusal", value="key").text("zh").endswith("key")
