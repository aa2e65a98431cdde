"""Personal data in a text: found, counted, and replaced by a token that says what stood there."""

import re
from dataclasses import dataclass

EMAIL, PHONE, RESIDENT_ID = "[email]", "[phone]", "[resident-id]"

_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b", re.A
)
_PHONE = re.compile(
    r"(?<![\d.-])(?:(?:\+|00)86[ -]?)?1[3-9]\d([ -]?)\d{4}\1\d{4}(?![\d-]|\.\d)", re.A
)
_RESIDENT_ID = re.compile(
    r"(?<![0-9A-Za-z])[1-8]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]"
    r"(?![0-9A-Za-z])",
    re.A,
)
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECK_DIGITS = "10X98765432"


@dataclass(frozen=True)
class Redacted:
    """A text with personal data replaced, and how many spans were."""

    text: str
    emails: int
    phones: int
    resident_ids: int


def is_resident_id(number: str) -> bool:
    """Whether the check digit of an 18-digit number is right (GB 11643-1999)."""
    total = sum(int(digit) * weight for digit, weight in zip(number, _ID_WEIGHTS, strict=False))
    return _ID_CHECK_DIGITS[total % 11] == number[17].upper()


def redact(text: str) -> Redacted:
    """Replace e-mail addresses, mainland mobile numbers and resident identity numbers."""
    resident_ids = 0

    def replace_id(match: re.Match[str]) -> str:
        nonlocal resident_ids
        if not is_resident_id(match.group()):
            return match.group()
        resident_ids += 1
        return RESIDENT_ID

    emails = phones = 0
    if "@" in text:
        text, emails = _EMAIL.subn(EMAIL, text)
    text = _RESIDENT_ID.sub(replace_id, text)
    text, phones = _PHONE.subn(PHONE, text)
    return Redacted(text, emails, phones, resident_ids)
