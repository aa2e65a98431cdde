"""Telephone numbers: mainland mobiles, landlines, Hong Kong, Taiwan, America, Britain and what
begins with a country's code.

Regular expressions propose what is written like a number; the numbering plans that come with
`phonenumbers` (Google's libphonenumber) say whether it is one. How a number is written decides
together with what stands before it: groups with a trunk or country code speak for themselves,
bare digits need a word such as 电话 or "Tel". In doubt it stays text. Service numbers such as 400
and 110 are nobody's and stay.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

_AHEAD = 44  # characters: room for "you can reach our service hotline at"
_BEFORE = r"(?<![\w.,/¥$€£=#@+*^-])(?<!\d[ (])"
_AFTER = r"(?![\w%*^]|[.,:/-]\d| \d|\s?[年月日元万萬亿億人个個次条條款美件])"
_MAINLAND_MOBILE = re.compile(
    r"(?<![\d._/¥$€£-])(?<![A-Za-z])(?:(?:\+|00)86[ -]?)?1[3-9]\d([ -]?)\d{4}\1\d{4}"
    r"(?![\d_-]|[.,]\d|[A-Za-z%])",
    re.A,
)
_INTERNATIONAL = re.compile(
    r"(?<![\w+.,/=)*^-])(?<![=<>*/^] )"
    r"(?:\+ ?|00(?=\d{1,3}[ (-])|(?=\(\d{3}\)))(\(?\d[\d ().-]{5,22}\d)",
    re.A,
)
_TRUNK = re.compile(
    _BEFORE + r"(?:\(0\d{1,4}\)[ -]?|0\d{1,4}[ -])\d{3,8}(?:[ -]\d{3,4}){0,2}"
    r"(?:-\d{1,5})?" + _AFTER,
    re.A,
)
_LAST_GROUP = re.compile(r"-\d{1,5}\Z")
_AMERICAN = re.compile(
    _BEFORE + r"(?:1[ .-])?(?:\(([2-9]\d{2})\)[ -]?|[2-9]\d{2}([ .-]))[2-9]\d{2}([ .-])\d{4}"
    r"(?![\w%*^-]|[.,:/]\d| \d)",
    re.A,
)
_BARE = re.compile(
    _BEFORE + r"(?:0\d{8,11}|[2-9]\d{9}|[2-9]\d{3}[ -]?\d{4}|[2-9]\d{2}-?\d{4})" + _AFTER, re.A
)
_IS_ANNOUNCED = re.compile(
    r"(?:电话|電話|手机|手機|座机|座機|热线|熱線|传真|傳真|致电|致電|来电|來電|联系|聯絡|聯繫|[查咨諮][询詢]|☎|📞"
    r"|\b(?:tele)?phone|\btel|\bmobile|\bcell|\bfax|\bcall|\bdial|\bwhats ?app)[^\n\d]{0,12}"
    r"(?:[\d ()+-]{7,20}[、,，/;；或和and ]{1,5})?\Z",  # the second of two
    re.I,
)
_IS_NUMBERED = re.compile(
    r"(?:[单單][号號]|[订訂][单單]|[编編][号號]|流水[号號]?|序列[号號]|[货貨][号號]|型[号號]|批[号號]|文[号號]|[证證]书?[号號]"
    r"|[坐座][标標]|[哈雜]希|哈希|校验|\b(?:order|serial|invoice|tracking|isbn|issn|doi|sku|item|part|model|ref"
    r"|no|number|id|uid|version|v|build|sha\d*|md5|crc|pmid|arxiv|#))"
    r"(?:\s?(?:no|number|id|is|为|是))?[\s.:：#№(（]{0,3}\Z",
    re.I,
)
_IS_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_TRUNK_REGIONS = ("CN", "TW", "GB")
_FEWEST_DIGITS, _MOST_DIGITS = 8, 15
_COUNTRY_IN_BRACKETS = ("852", "853", "886")


def phone_spans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of the numbers in a chunk of digits and separators, which `text` has between
    `start` and `end`; the same one can be proposed twice.
    """
    before, after = max(0, start - 3), end + 6
    for found in _MAINLAND_MOBILE.finditer(text, before, after):
        if not _is_numbered(text, found.start()):
            yield found.span()
    for found in _INTERNATIONAL.finditer(text, before, end):
        last = None if _is_numbered(text, found.start()) else _international_end(text, found)
        if last is not None:
            yield found.start(), last
    for found in _TRUNK.finditer(text, before, after):
        # A last group behind a hyphen is an extension, or the end of the number itself.
        forms = (found.group(), _LAST_GROUP.sub("", found.group()))
        is_one = any(_is_valid(form, _TRUNK_REGIONS) for form in forms)
        if is_one and not _is_numbered(text, found.start()):
            yield found.span()
    for found in _AMERICAN.finditer(text, before, after):
        speaks = found[1] or found[2] == found[3] == "-"
        if (
            (speaks or _is_announced(text, found.start()))
            and not _is_numbered(text, found.start())
            and _is_valid(found.group(), ("US",))
        ):
            yield found.span()
    for found in _BARE.finditer(text, before, after):
        if (
            _is_announced(text, found.start())
            and not _is_numbered(text, found.start())
            and _is_bare_number(found.group())
        ):
            yield found.span()


def _international_end(text: str, found: re.Match[str]) -> int | None:
    """Where a number with a country's code ends: after the most groups that make it valid."""
    first = found.start(1)
    is_without_sign = not text[found.start() : first]  # (852) 2345 6789
    if is_without_sign and found[1][1:4] not in _COUNTRY_IN_BRACKETS:
        return None
    for group in reversed(list(re.finditer(r"\d+\)?", found[1]))):
        last = first + group.end()
        number = text[first:last].replace("(0)", "")
        digits = "".join(filter(str.isdigit, number))
        if len(digits) < _FEWEST_DIGITS:
            return None
        if len(digits) > _MOST_DIGITS or text[last : last + 1].isalnum():
            continue
        # What follows must be a number of its own, not more digits of a list of figures.
        rest = text[last : last + 3].lstrip(" .-")
        if rest[:1].isdigit() and rest[0] not in "01":
            continue
        if _is_valid(f"+{digits}", (None,)):
            return last
    return None


def _is_bare_number(number: str) -> bool:
    digits = "".join(filter(str.isdigit, number))
    if len(digits) <= 8:  # a local one: no plan knows it without the area
        return not _IS_DATE.fullmatch(digits) and len(set(digits)) > 1
    regions = _TRUNK_REGIONS if digits[0] == "0" else ("US",)
    return _is_valid(digits, regions)


def _is_announced(text: str, start: int) -> bool:
    return _IS_ANNOUNCED.search(text[max(0, start - _AHEAD) : start]) is not None


def _is_numbered(text: str, start: int) -> bool:
    """Whether what stands before says that it is the number of an order, a book, a version."""
    return _IS_NUMBERED.search(text[max(0, start - _AHEAD) : start]) is not None


def _is_valid(number: str, regions: tuple[str | None, ...]) -> bool:
    library = _library()
    for region in regions:
        try:
            parsed = library.parse(number, region)
        except library.NumberParseException:
            continue
        if library.is_valid_number(parsed):
            return True
    return False


@cache
def _library() -> Any:
    # Imported here: most texts have no number, and the plans take a moment.
    import phonenumbers

    return phonenumbers
