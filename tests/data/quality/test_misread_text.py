"""UTF-8 that was read in another encoding is found by its bytes, and no other text is."""

import json
from pathlib import Path

import pytest

from luthier.data.check.file_check import check_file
from luthier.data.check.quality.misread_text import misread_text
from luthier.data.check.quality.runner import QualityRunner

TEXTS = ["早上好", "银行贷款", "价格为", "Привет", "Спасибо"]


@pytest.mark.parametrize("codec", ["gb18030", "cp932", "cp949", "big5", "cp1252", "latin-1", "cp1251"])
@pytest.mark.parametrize("text", TEXTS)
def test_text_that_was_read_wrongly(text: str, codec: str) -> None:
    try:
        damaged = text.encode().decode(codec)
    except UnicodeDecodeError:  # such bytes become U+FFFD, which is a trace of its own
        return
    misread = misread_text(f"It says {damaged}, as far as I know")
    assert misread is not None
    assert misread[1] in text
    assert misread[1]


@pytest.mark.parametrize(
    "text",
    [
        "「AÇÃO» «IRMÃ» «CAFÉ»",
        "Đây là tiếng Việt, rất đẹp",
        "Съешь ещё этих мягких булок — «да»",
        "色は匂へど散りぬるを。カタカナもある。",
        "다람쥐 헌 쳇바퀴에 타고파",
        "澳門、臺灣的繁體字：龍龜鬱",
        "涓涓细流，浣熊与濂溪，囧",
        "氵冫灬艹 鑫淼焱垚",
        "50 °C ± 1 – naïve – 3 × 4 ½",
        "Ξεσκεπάζω την ψυχοφθόρα",
        "🙂🎉 ok …",
    ],
)
def test_text_that_is_as_it_was_written(text: str) -> None:
    assert misread_text(text) is None


def test_it_is_a_finding_that_shows_what_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    answers = ["早上好。", "早上好".encode().decode("cp1251"), "Good morning."]
    turns = [[{"role": "user", "content": "你好"}, {"role": "assistant", "content": answer}] for answer in answers]
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in turns))
    findings = check_file(path, minimum_examples=1, quality=QualityRunner()).findings
    scripts = [finding for finding in findings if finding.code in ("garbled_text", "foreign_script")]
    assert [(finding.code, finding.line) for finding in scripts] == [("garbled_text", 2)]
    assert "早上好" in scripts[0].text("zh")
