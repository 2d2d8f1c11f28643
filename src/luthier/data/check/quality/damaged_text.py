"""Texts that a program has damaged: wrongly decoded escapes, missing values, placeholders that were not filled in."""

import re
from collections.abc import Iterator

from luthier.data.check.quality.batch import Batch
from luthier.data.check.quality.byte_classes import BRACKET
from luthier.data.check.quality.joined_texts import SEPARATOR
from luthier.data.check.quality.keywords import CONTROLS, ENTITIES, ESCAPES, keywords
from luthier.data.check.registry import QualityCheck
from luthier.data.findings import Finding
from luthier.data.findings.kinds import Kind

# Every match of these two patterns contains one of `keywords`; extend those together with the patterns.
# Control characters, and the rest of a LaTeX command whose backslash and first letter were read as an escape.
_CONTROL = re.compile(
    r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]\w{0,12}"
    r"|\t(?:imes|heta|ext\{|extbf|au\b|anh\b)|\r(?:ho\b|ight|angle|m\{)|\n(?:eq\b|abla\b|u\b(?= )|otin\b)"
)
_RESIDUE = re.compile(
    rf"_x00[0-9A-Fa-f]{{2}}_|\\u[0-9a-fA-F]{{4}}|(?:\\x[0-9a-fA-F]{{2}}){{2,}}|&(?:{ENTITIES});"
    r"|&#x?[0-9a-fA-F]{2,6};|(?<![\w/=?&.%-])(?:%[eE][4-9]%[89abAB][0-9a-fA-F]%[89abAB][0-9a-fA-F]){2,}"
    r"|=(?:C3=[89AB][0-9A-F]|E2=80=[89AB][0-9A-F]|E[4-9]=[89AB][0-9A-F]=[89AB][0-9A-F])"
)
_PLACEHOLDER = re.compile(
    r"\{\{\s*[\w.\u4e00-\u9fff -]{1,40}\s*\}\}|\$\{\w{1,40}\}|<%=?[^%\n]{1,40}%>"
    r"|\{(?:user_?name|(?:[a-z]{2,12}_)?name|author|company|date|city|product|title|email|姓名|名字|作者|公司|日期|城市|产品)\}"
    r"|\[(?:(?:your|insert)[ _][^\]\n]{1,30}|(?:(?:first|last|full|company|customer|client|sender|product)[ _])?name"
    r"|(?:phone|order|account|tracking|invoice)[ _]number|(?:email|street)[ _]address|(?:(?:start|end|due)[ _])?date"
    r"|company|姓名|名字|您的[^\]\n]{1,10}|公司(?:名称)?|日期|联系(?:人|电话|方式))\](?!\()"
    r"|<(?:YOUR|INSERT)[_ A-Z]{2,30}>",
    re.IGNORECASE,
)
_MISSING = frozenset(
    ("nan", "none", "null", "n/a", "na", "#n/a", "#ref!", "#value!", "#name?", "#div/0!", "#null!", "#num!",
     "undefined", "nil", "<na>", "nat", "inf", "-inf", "[object_object]", "nonetype", "missing",
     "todo", "tbd", "fixme", "…", "...", "(blank)", "(empty)", "(null)", "<empty>", "<null>", "to_be_added",
     "待补充", "待填写", "此处省略", "略")
)  # fmt: skip
_LONGEST_MISSING = 16  # bytes
_CODE = re.compile(r"```|^ {4}|<[a-z]+[ />]|\bdef |\bfunction\b|\bimport ", re.MULTILINE)


class DamagedTextCheck(QualityCheck):
    """Searches all texts for traces of escapes, and the answers for missing values and placeholders."""

    kinds = {  # noqa: RUF012 - as the base class declares it
        "escape_damage": Kind(
            "warning",
            "a control character in the text, perhaps from a backslash that was read as an escape (the \\f of \\frac): "
            "{value}",
            "文本里有控制字符，可能是把 \\frac 之类的反斜杠当成了转义（\\f）：{value}",
            "Write a backslash in JSON twice (\\\\frac), or let json.dumps do it.",
            "JSON 里的反斜杠要写两次（\\\\frac），或交给 json.dumps。",
            "{place}: a control character in the text",
        ),
        "escape_residue": Kind(
            "warning",
            "an escape sequence that was not decoded: {value}",
            "含有未解码的转义序列：{value}",
            "Decode it before you write the file; otherwise the model learns to write escape sequences.",
            "请在写出文件之前解码；否则模型会学着这样写。",
            "{place}: an escape sequence that was not decoded",
        ),
        "placeholder": Kind(
            "warning",
            "a placeholder that was not filled in: {value}",
            "含有未填写的占位符：{value}",
            "Fill it in; otherwise the model learns to write the placeholder.",
            "请填上实际内容；否则模型会学着写出占位符。",
            "{place}: a placeholder that was not filled in",
        ),
        "missing_value": Kind(
            "warning",
            "the answer is only {value}, which looks like a missing value",
            "回答只有 {value}，像是程序写出的缺失值",
            "Write the answer, or remove the example; keep it if it is a label.",
            "请写上回答或删去样本；如果它是一个标签，可以保留。",
            "{place}: the answer is a missing value",
        ),
    }

    def check(self, batch: Batch) -> Iterator[Finding]:
        if not batch.texts.texts:
            return
        if batch.joined.has_separators_inside:
            yield from _zero_characters(batch)
        yield from _control_characters(batch)
        yield from _residues(batch)
        if batch.joined.all_classes & BRACKET:
            yield from _placeholders(batch)
        yield from _missing_values(batch)


def _zero_characters(batch: Batch) -> Iterator[Finding]:
    with_zero = (index for index, text in enumerate(batch.texts.texts) if SEPARATOR in text)
    for row in batch.texts.rows(with_zero):
        yield batch.finding("escape_damage", row.example, row.message, value=ascii(SEPARATOR)[1:-1])


def _control_characters(batch: Batch) -> Iterator[Finding]:
    for row in batch.texts.rows(keywords().texts_with(batch.joined, CONTROLS)):
        if match := _CONTROL.search(row.text):
            yield batch.finding("escape_damage", row.example, row.message, value=ascii(match.group())[1:-1])


def _residues(batch: Batch) -> Iterator[Finding]:
    for row in batch.texts.rows(keywords().texts_with(batch.joined, ESCAPES)):
        match = _RESIDUE.search(row.text)
        if match and not _CODE.search(row.text) and row.text[:1] not in "{[":
            yield batch.finding("escape_residue", row.example, row.message, value=match.group())


def _placeholders(batch: Batch) -> Iterator[Finding]:
    answers = batch.answers
    for row in answers.rows(answers.among(batch.joined.matching(_PLACEHOLDER))):
        match = _PLACEHOLDER.search(row.text)
        if match and match.group() not in answers.questions[row.number] and not _CODE.search(row.text):
            yield batch.finding("placeholder", row.example, row.message, value=match.group())


def _missing_values(batch: Batch) -> Iterator[Finding]:
    for row in batch.answers.rows(batch.answers.among(batch.joined.of_at_most(_LONGEST_MISSING))):
        if row.text.strip().lower().replace(" ", "_") in _MISSING:
            yield batch.finding("missing_value", row.example, row.message, value=row.text.strip())
