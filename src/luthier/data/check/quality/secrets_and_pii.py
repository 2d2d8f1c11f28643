"""Secrets and personal data: what a model would learn by heart and tell to anybody who asks.

Only what proves itself is told: keys of a known make, numbers whose check digits are right. What was seen is shown
masked. Knows texts and nothing of examples' roles: a secret is one wherever it stands.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date

import numpy as np

from luthier.data.check.quality.columns import Batch, Joined, in_texts
from luthier.data.check.quality.keywords import ALARM, SECRETS
from luthier.data.findings import Finding

Found = Iterator[tuple[str, str]]  # what it is, what was seen

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
_SHARED_BOX = re.compile(
    r"(?:info|support|service|services|contact|admin|hello|hi|sales|help|helpdesk|no-?reply|marketing|press|jobs|hr|office|"
    r"kefu|feedback|team|user(?:name)?|name|your[\w.]*|test|someone|john\.?doe|jane\.?doe|abc|xxx?|email|example|me|you|git)@"
    r"|@(?:[\w-]+\.)*(?:example|test|domain|email|company|xxx|yourdomain|mail)\.",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.,/=_-])\d[\d -]{7,26}[\dXx](?![\w,/=_-])(?!\.\d)")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?!\w)")
# Visa, Mastercard, American Express, UnionPay, JCB, Discover: one number in ten would pass by its check digit alone.
_CARD = re.compile(r"4\d{15}|5[1-5]\d{14}|3[47]\d{13}|62\d{14,17}|35\d{14}|6(?:011|5\d\d)\d{12}")
_DIGITS = re.compile(r"\d[\d -]{7}")
_THREE = re.compile(r"[0-9]{3}|@")
_IN_NUMBER, _DIGIT, _AT = 1, 2, 4
_KINDS = bytes(
    (_IN_NUMBER if chr(byte) in "0123456789 -" else 0)
    | (_DIGIT if chr(byte) in "0123456789" else 0)
    | (_AT if chr(byte) == "@" else 0)
    for byte in range(256)
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


class Private:
    """Looks for secrets and personal data in every text, one finding a message for each kind."""

    def look(self, batch: Batch) -> Iterator[Finding]:
        if not batch.texts.texts:
            return
        joined = batch.joined
        searches = (
            ("secret", secrets_in, ALARM.places(joined, SECRETS)),
            ("personal_data", personal_data_in, _numbered(joined)),
        )
        for code, search, places in searches:
            for _, example, message, text in in_texts(batch.texts, places):
                for kind, seen in search(text):
                    yield batch.finding(code, example, message, seen=seen, key=kind)
                    break

    def finish(self) -> Iterable[Finding]:
        return ()


def _numbered(joined: Joined) -> set[int]:
    """The texts with eight digits, spaces and hyphens in a row, as all numbers of persons have, or an at sign."""
    kinds = np.frombuffer(joined.raw.translate(_KINDS), dtype=np.uint8)
    run = kinds & _IN_NUMBER
    for reach in (1, 2, 4):
        run = run[:-reach] & run[reach:]
    numbers = np.flatnonzero(run & (kinds[: len(run)] >> 1))
    return joined.raw_holders(numbers) | joined.raw_holders(np.flatnonzero(kinds == _AT))


def secrets_in(text: str) -> Found:
    """Keys of known makes, private keys, and passwords that are written out."""
    for found in _KEYS.finditer(text):
        if not _PLACEHOLDER.search(found.group()):
            yield "key", _masked(found.group(), 8, 0)
    for found in _PASSWORD.finditer(text):
        value = found.group(1)
        if (
            re.search(r"\d", value)
            and re.search(r"[A-Za-z]", value)
            and value.isascii()
            and not _PLACEHOLDER.search(value)
        ):
            yield "password", _masked(value, 2, 0)


def personal_data_in(text: str) -> Found:
    """E-mail addresses of persons, telephone, identity card, bank card and social security numbers, IBANs."""
    if not _THREE.search(text):
        return
    if "@" in text:
        for found in _EMAIL.finditer(text):
            if not _SHARED_BOX.search(found.group()):
                yield "email", _masked(found.group(), 2, len(found.group().split("@")[1]) + 1)
    if not _DIGITS.search(text):
        return
    for found in _NUMBER.finditer(text):
        kind = _kind(found.group())
        if kind:
            yield kind, _masked(found.group(), 3, 2)
    for found in _IBAN.finditer(text):
        if _is_iban(found.group().replace(" ", "")):
            yield "IBAN", _masked(found.group(), 4, 2)


def _kind(written: str) -> str | None:
    """What a number with right check digits is; None for any other number."""
    digits = re.sub(r"[ -]", "", written)
    if re.fullmatch(r"\d{3}-\d{2}-\d{4}", written) and _is_ssn(digits):
        return "SSN"
    if not re.fullmatch(r"\d+(?:[ -]\d+)*[Xx]?", written):
        return None
    if re.fullmatch(r"1[3-9]\d{9}", digits) and re.fullmatch(r"\d{11}|\d{3}[ -]\d{4}[ -]\d{4}", written):
        return None if _is_made_up(digits) else "phone"
    if len(digits) == 18 and digits == written and _is_identity_card(digits.upper()):
        return "ID card"
    grouped = re.fullmatch(r"\d{15,19}|\d{4}(?:[ -]\d{4}){3}(?:[ -]\d{1,3})?", written)
    is_card = grouped and _CARD.fullmatch(digits) and _luhn(digits)
    return "bank card" if is_card and not _is_made_up(digits) else None


def _is_identity_card(digits: str) -> bool:
    """Of the People's Republic of China: GB 11643-1999, ISO 7064 MOD 11-2."""
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


def _is_made_up(digits: str) -> bool:
    """Numbers that everybody writes into examples."""
    return len(set(digits)) <= 3 or "12345678" in digits or digits in ("13800138000", "4111111111111111")


def _masked(text: str, head: int, tail: int) -> str:
    return text[:head] + "*" * 4 + (text[-tail:] if tail else "")
