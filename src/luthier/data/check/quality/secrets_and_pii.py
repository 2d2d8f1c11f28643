"""Secrets and personal data, which a model would memorise and could repeat to anybody.

Only matches that can be verified are reported: keys of known formats, numbers with correct check digits. Findings show
them masked. Every text is searched, whatever its role.
"""

import re
from collections.abc import Iterator
from datetime import date

import numpy as np

from luthier.data.check.quality.batch import Batch
from luthier.data.check.quality.byte_classes import AT, DIGIT, NUMBER
from luthier.data.check.quality.columns import TextRow
from luthier.data.check.quality.joined_texts import JoinedTexts
from luthier.data.check.quality.keywords import SECRETS, keywords
from luthier.data.check.registry import QualityCheck
from luthier.data.findings import Finding, make_finding

Matches = Iterator[tuple[str, str]]  # (kind, masked text)

_KEYS = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
    r"|(?<![\w-])(?:sk-(?:proj-|ant-|or-)?[A-Za-z0-9_-]{20,}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}"
    r"|github_pat_\w{40,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{20,}|AIza[\w-]{35}|hf_[A-Za-z]{30,}|[sr]k_live_[A-Za-z0-9]{20,}"
    r"|LTAI[A-Za-z0-9]{16,24}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,}|eyJ[\w-]{15,}\.eyJ[\w-]{15,}\.[\w-]{15,})(?![\w-])"
)
_PASSWORD = re.compile(
    r"(?:password|passwd|pwd|passphrase|密码|口令|api[ _-]?key|secret[ _-]?key|access[ _-]?token)[\"']?\s*"
    r"(?:[:=：]|is|是|为)\s*[\"'“]?([^\s\"'”，。；;,<>\0]{8,64})",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"\*{2,}|x{3,}|\.{3}|…|your|example|placeholder|changeme|\$\{|\{\{|%\w|os\.|env|[(\[{<]", re.IGNORECASE
)
_EMAIL = re.compile(r"(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,10}(?![\w-])")
_SHARED_MAILBOX = re.compile(
    r"(?:info|support|service|services|contact|admin|hello|hi|sales|help|helpdesk|no-?reply|marketing|press|jobs|hr|office|"
    r"kefu|feedback|team|user(?:name)?|name|your[\w.]*|test|someone|john\.?doe|jane\.?doe|abc|xxx?|email|example|me|you|git)@"
    r"|@(?:[\w-]+\.)*(?:example|test|domain|email|company|xxx|yourdomain|mail)\.",
    re.IGNORECASE,
)
_MAIL_HEAD = re.compile(
    r"^[ \t>]*(?:from|to|cc|bcc|reply-to|sender|return-path|message-id|in-reply-to|references|x-[\w-]+"
    r"|发件人|收件人|抄送|回复)[ \t]*[:：].*$",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = re.compile(r"(?<![\w.,/=_-])\d[\d -]{7,26}[\dXx](?![\w,/=_-])(?!\.\d)")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?!\w)")
# Visa, Mastercard, American Express, UnionPay, JCB, Discover: the check digit alone passes one number in ten.
_CARD = re.compile(r"4\d{15}|5[1-5]\d{14}|3[47]\d{13}|62\d{14,17}|35\d{14}|6(?:011|5\d\d)\d{12}")
_DIGITS = re.compile(r"\d[\d -]{7}")
_DIGITS_OR_AT = re.compile(r"[0-9]{3}|@")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


class SecretCheck(QualityCheck):
    """At most one finding of each code per text. Addresses in e-mail headers make one note on the whole file."""

    def __init__(self) -> None:
        self._heads: set[int] = set()  # numbers of examples
        self._head_address = ""

    def check(self, batch: Batch) -> Iterator[Finding]:
        if not batch.texts.texts:
            return
        searches = (
            ("secret", secrets_in, keywords().texts_with(batch.joined, SECRETS)),
            ("personal_data", personal_data_in, _texts_with_numbers(batch.joined)),
        )
        for code, search, indices in searches:
            for row in batch.texts.rows(indices):
                text = row.text if code == "secret" else self._without_mail_heads(batch, row)
                for kind, masked in search(text):
                    yield batch.finding(code, row.example, row.message, value=masked, key=kind)
                    break

    def _without_mail_heads(self, batch: Batch, row: TextRow) -> str:
        """The text without e-mail header lines that contain an address; counts the example in the note on headers."""
        if "@" not in row.text:
            return row.text

        def replacement(match: re.Match[str]) -> str:
            address = next((masked for kind, masked in personal_data_in(match.group()) if kind == "email"), None)
            if address is None:
                return match.group()
            self._heads.add(batch.example_numbers[row.example])
            self._head_address = self._head_address or address
            return ""

        return _MAIL_HEAD.sub(replacement, row.text)

    def finish(self) -> Iterator[Finding]:
        if self._heads:
            yield make_finding("mail_head", value=self._head_address, detail=str(len(self._heads)))


def _texts_with_numbers(joined: JoinedTexts) -> set[int]:
    """The texts with an at sign, or with eight digits, spaces and hyphens in a row, as all personal numbers have."""
    classes, indices = joined.classes, set[int]()
    if joined.all_classes & DIGIT:
        run = classes & NUMBER
        for reach in (1, 2, 4):
            run = run[:-reach] & run[reach:]
        indices |= joined.at_utf8(np.flatnonzero(run & (classes[: len(run)] >> 1)))  # DIGIT, as NUMBER is
    if joined.all_classes & AT:
        indices |= joined.at_utf8(np.flatnonzero(classes & AT))
    return indices


def secrets_in(text: str) -> Matches:
    """(kind, masked text) of keys of known formats, private keys, and passwords in plain text."""
    for match in _KEYS.finditer(text):
        if not _PLACEHOLDER.search(match.group()):
            yield "key", _masked(match.group(), 8, 0)
    for match in _PASSWORD.finditer(text):
        value = match.group(1)
        has_both = re.search(r"\d", value) and re.search(r"[A-Za-z]", value)
        if has_both and value.isascii() and not _PLACEHOLDER.search(value):
            yield "password", _masked(value, 2, 0)


def personal_data_in(text: str) -> Matches:
    """(kind, masked text) of personal e-mail addresses, of telephone, identity card, bank card and social security
    numbers, and of IBANs.
    """
    if not _DIGITS_OR_AT.search(text):
        return
    if "@" in text:
        for match in _EMAIL.finditer(text):
            if not _SHARED_MAILBOX.search(match.group()):
                yield "email", _masked(match.group(), 2, len(match.group().split("@")[1]) + 1)
    if not _DIGITS.search(text):
        return
    for match in _NUMBER.finditer(text):
        kind = _number_kind(match.group())
        if kind:
            yield kind, _masked(match.group(), 3, 2)
    for match in _IBAN.finditer(text):
        if _is_iban(match.group().replace(" ", "")):
            yield "IBAN", _masked(match.group(), 4, 2)


def _number_kind(written: str) -> str | None:
    """The kind of a number with correct check digits; None for any other number."""
    digits = re.sub(r"[ -]", "", written)
    if re.fullmatch(r"\d{3}-\d{2}-\d{4}", written) and _is_ssn(digits):
        return "SSN"
    if not re.fullmatch(r"\d+(?:[ -]\d+)*[Xx]?", written):
        return None
    if re.fullmatch(r"1[3-9]\d{9}", digits) and re.fullmatch(r"\d{11}|\d{3}[ -]\d{4}[ -]\d{4}", written):
        return None if _is_placeholder_number(digits) else "phone"
    if len(digits) == 18 and digits == written and _is_identity_card(digits.upper()):
        return "ID card"
    grouped = re.fullmatch(r"\d{15,19}|\d{4}(?:[ -]\d{4}){3}(?:[ -]\d{1,3})?", written)
    is_card = grouped and _CARD.fullmatch(digits) and _luhn(digits)
    return "bank card" if is_card and not _is_placeholder_number(digits) else None


def _is_identity_card(digits: str) -> bool:
    """Whether it is an identity card number of the People's Republic of China (GB 11643-1999, ISO 7064 MOD 11-2)."""
    if not digits[:17].isdigit() or not 11 <= int(digits[:2]) <= 65:
        return False
    try:
        born = date(int(digits[6:10]), int(digits[10:12]), int(digits[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(digits, _WEIGHTS, strict=False))
    return 1900 <= born.year <= 2035 and "10X98765432"[total % 11] == digits[17]


def _is_ssn(digits: str) -> bool:
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000" and digits != "123456789"


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def _is_iban(text: str) -> bool:
    if not 15 <= len(text) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


def _is_placeholder_number(digits: str) -> bool:
    """Whether it is a number that people write as a placeholder."""
    return len(set(digits)) <= 3 or "12345678" in digits or digits in ("13800138000", "4111111111111111")


def _masked(text: str, head: int, tail: int) -> str:
    return text[:head] + "*" * 4 + (text[-tail:] if tail else "")
