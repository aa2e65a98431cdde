"""Personal data and secrets in a text, as spans that later become typed tokens.

What is looked for: e-mail addresses, public internet addresses, telephone numbers (`phones`),
resident identity numbers, bank cards, QQ and WeChat names, keys to services; digits may be
full-width. A compiled pass finds where
digits and signs make one possible, so that a page without any costs next to nothing. In doubt a
number stays: dates, prices, versions, ISBNs, DOIs and order numbers are text.
"""

import ipaddress
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.records.edits import EDIT, KINDS, Edits, no_edits, token_of
from tongwen.curate.rules.phones import phone_spans
from tongwen.curate.rules.secrets import KEY_SIGNS, api_keys
from tongwen.curate.text.characters import CodePoints, code_points
from tongwen.kernels import ZERO, inner, kernel

EMAIL, PHONE, RESIDENT_ID = token_of("email"), token_of("phone"), token_of("resident_id")

_Span = tuple[int, int, str]

_EMAIL = re.compile(
    r"[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+([A-Za-z]{2,24})\b",
    re.A,
)
_LOCAL_PART = re.compile(r"[\w.+-]{1,64}\Z", re.A)
_NO_DOMAINS = frozenset((
    "css", "gif", "html", "java", "jpeg", "jpg", "js", "json", "md", "png", "py", "service",
    "socket", "svg", "target", "ts", "txt", "webp", "zip",
))  # fmt: skip
_NO_PERSONS = frozenset(("git", "hg", "svn", "noreply", "no-reply"))
_RESIDENT_ID = re.compile(
    r"(?<![0-9A-Za-z.])[1-8]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]"
    r"(?![0-9A-Za-z])",
    re.A,
)
_BANK_CARD = re.compile(
    r"(?<![\d._/-])(?<![A-Za-z])(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?"
    r"|\d{4}([ -])\d{6}\2\d{5}|[2-6]\d{14,18})(?![\d_-]|\.\d|[A-Za-z])",
    re.A,
)
_IPV4 = re.compile(r"(?<![\w./-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\w)", re.A)
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:]|\.\d)", re.A)
_FEWEST_IPV6_GROUPS = 3  # `::1` and names such as `a::b` have fewer
_SMALL_OCTET = 32  # of the numbers of chapters and versions most are small
_IS_VERSION = re.compile(
    r"(?:\bv|\bver|version|版本?[号]?|build|release|driver|firmware|chrome|firefox|oid|section|§"
    r"|[章节節第])[\s.:：为是]{0,3}\Z",
    re.I,
)
_IS_ADDRESS = re.compile(
    r"(?:\bips?\b|地址|address|server|服务器|host|dns|ping|login|登录|ssh)\W{0,6}(?:\w{1,8}\W{1,2})?\Z",
    re.I,
)
_IS_CARD = re.compile(
    r"(?:卡|[账帐帳賬][号號户戶]|[银銀]行|\bcard|visa|master|unionpay|银联|account|acct|a/c|iban)[^\n]{0,16}\Z",
    re.I,
)
_QQ = re.compile(
    r"(?<![A-Za-z])(?:Q\s?Q|扣扣)(?:交流)?(群|[号號])?(?:[号號]?[码碼]?)(?:是|为|為)?\s*([:：])?\s*"
    r"([1-9]\d{4,10})(?!\d|\.\d|[年月日人万萬元个個次条條款亿])",
    re.I | re.A,
)
_WECHAT_NAME = r"([A-Za-z][A-Za-z0-9_-]{5,19}|1[3-9]\d{9})(?![A-Za-z0-9_(]|\.\w)"
_WECHAT = re.compile(
    r"(?:微信|威信|薇信|(?<![A-Za-z])(?:wechat|weixin|vx|wx|v信))\s?([号號]|id|[账帐][号號])?"
    r"(?:是|为|為)?\s*[:：]?\s*" + _WECHAT_NAME,
    re.I | re.A,
)
_ADD_WECHAT = re.compile(
    r"加(?:我|个|下)?的?(?:微信?|薇信?|威信|v信?x?|wx|vx)[号號]?\s*[:：]?\s*" + _WECHAT_NAME,
    re.I | re.A,
)

_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECK_DIGITS = "10X98765432"
_IPV6_SIGNS = frozenset("0123456789abcdefABCDEF:")
# From the word to the end of the name behind it, so that the search is bounded.
_ANNOUNCED_WITHIN = 48
_FEWEST_DIGITS = 7  # of a local telephone number, the shortest that is looked for
_FULL_WIDTH = str.maketrans(
    "０１２３４５６７８９＋－（）．＠\u2010\u2011\u2012\u2013\u00a0\u3000", "0123456789+-().@----  "
)


def personal_edits(text: str, *, record: int = 0, is_code: bool = False) -> Edits:
    """The edits that replace personal data in `text`, sorted, none over another.

    In code only e-mail addresses and keys are looked for: its numbers are nobody's.
    """
    text = _with_plain_digits(text)
    signs, chunks, hints = _survey(code_points(text), _key_table())
    spans = list(_emails(text)) if signs & _AT else []
    if signs & _MAY_BE_KEY:
        spans += [(start, end, "api_key") for start, end in api_keys(text)]
    if not is_code:
        for start, end in chunks.tolist():
            spans += _numbers(text, start, end)
        for place, sign in hints.tolist():
            spans += _ipv6(text, place) if sign == _COLONS else _contacts(text, place, sign)
    spans.sort(key=lambda span: (span[0], -span[1]))
    if not spans:
        return no_edits()
    kept: list[_Span] = []
    for span in spans:
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return np.array([(record, start, end, KINDS.index(kind)) for start, end, kind in kept], EDIT)


def _with_plain_digits(text: str) -> str:
    """The text with full-width digits and the signs between them as ASCII, character by character;
    itself when it has no such digits or dashes.
    """
    if text.isascii():
        return text
    points = code_points(text)
    places = np.flatnonzero(_full_width_table()[np.minimum(points, 0xFFFF)])
    if not len(places):
        return text
    points = points.copy()
    points[places] = [_FULL_WIDTH[int(point)] for point in points[places]]
    return points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


@cache
def _full_width_table() -> npt.NDArray[np.bool_]:
    table = np.zeros(1 << 16, np.bool_)
    table[list(_FULL_WIDTH)] = True
    return table


def is_resident_id(number: str) -> bool:
    """Whether the check digit of an 18-digit number is right (GB 11643-1999)."""
    total = sum(int(digit) * weight for digit, weight in zip(number, _ID_WEIGHTS, strict=False))
    return _ID_CHECK_DIGITS[total % 11] == number[17].upper()


def is_bank_card(number: str) -> bool:
    """Whether digits are a card's: length and prefix of an issuer, check digit (ISO/IEC 7812-1)."""
    length, head = len(number), int(number[:4])
    is_issued = (
        (number[0] == "4" and length in (16, 19))
        or (length == 16 and (51 <= head // 100 <= 55 or 2221 <= head <= 2720))
        or (length == 16 and (head == 6011 or head // 100 == 65 or 3528 <= head <= 3589))
        or (length == 15 and head // 100 in (34, 37))
        or (16 <= length <= 19 and head // 100 == 62)
    )
    if not is_issued or len(set(number)) < 4:
        return False
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def _emails(text: str) -> Iterator[_Span]:
    position = text.find("@")
    while position >= 0:
        local = _LOCAL_PART.search(text, max(0, position - 64), position)
        if local is not None:
            start = local.end() - len(local.group().lstrip("._+-"))
            found = _EMAIL.match(text, start)
            if (
                found is not None
                and found[1].lower() not in _NO_DOMAINS
                and text[start:position].lower() not in _NO_PERSONS
            ):
                yield start, found.end(), "email"
                position = found.end() - 1
        position = text.find("@", position + 1)


def _numbers(text: str, start: int, end: int) -> Iterator[_Span]:
    """What the digits of one chunk are; the same digits can be proposed twice."""
    before = max(0, start - 3)
    after = end + 3
    for found in _RESIDENT_ID.finditer(text, before, after):
        if is_resident_id(found.group()):
            yield found.start(), found.end(), "resident_id"
    for found in _BANK_CARD.finditer(text, before, after):
        is_grouped = found[1] or found[2]
        digits = "".join(filter(str.isdigit, found.group()))
        ahead = text[max(0, found.start() - 24) : found.start()]
        if is_bank_card(digits) and (is_grouped or _IS_CARD.search(ahead)):
            yield found.start(), found.end(), "bank_card"
    for first, last in phone_spans(text, start, end):
        yield first, last, "phone"
    for found in _IPV4.finditer(text, before, after):
        if _is_public(text, found):
            yield found.start(), found.end(), "ip_address"


def _is_public(text: str, found: re.Match[str]) -> bool:
    """Whether four numbers are a public address, not the number of a version or a chapter."""
    octets = found.group().split(".")
    if any(int(octet) > 255 or (octet[0] == "0" and octet != "0") for octet in octets):
        return False
    ahead = text[max(0, found.start() - 24) : found.start()]
    if _IS_VERSION.search(ahead):
        return False
    small = sum(int(octet) < _SMALL_OCTET for octet in octets)
    if small > 2 and not _IS_ADDRESS.search(ahead):
        return False
    return ipaddress.IPv4Address(found.group()).is_global


def _ipv6(text: str, place: int) -> Iterator[_Span]:
    """A public address with a colon at `place`, the first of two that are near."""
    start = place
    while start and place - start < 40 and text[start - 1] in _IPV6_SIGNS:
        start -= 1
    found = _IPV6.match(text, start)
    if found is not None:
        groups = [group for group in found.group().split(":") if group]
        try:
            is_public = ipaddress.IPv6Address(found.group()).is_global
        except ValueError:
            return
        if is_public and len(groups) >= _FEWEST_IPV6_GROUPS:
            yield found.start(), found.end(), "ip_address"


def _contacts(text: str, place: int, sign: int) -> Iterator[_Span]:
    """QQ numbers and WeChat names behind the word that announces them and ends near `place`."""
    start, end = max(0, place - 4), place + _ANNOUNCED_WITHIN
    if sign == _MAY_BE_QQ:
        for found in _QQ.finditer(text, start, end):
            if found[1] or found[2] or len(found[3]) > 5:
                yield found.start(3), found.end(3), "contact"
    elif sign == _MAY_BE_WECHAT:
        for found in _WECHAT.finditer(text, start, end):
            is_named = found[1] or any(not letter.isalpha() for letter in found[2])
            if is_named and found[2].lower() not in ("wechat", "weixin"):
                yield found.start(2), found.end(2), "contact"
    else:
        for found in _ADD_WECHAT.finditer(text, start, end):
            yield found.start(1), found.end(1), "contact"


@cache
def _key_table() -> npt.NDArray[np.bool_]:
    """Which three ASCII characters, seven bits each, are in every key to a service."""
    table = np.zeros(1 << 21, np.bool_)
    for letters in KEY_SIGNS:
        first, second, third = map(ord, letters)
        table[first << 14 | second << 7 | third] = True
    return table


_AT, _COLONS, _MAY_BE_KEY, _MAY_BE_QQ, _MAY_BE_WECHAT, _MAY_BE_ADDED = 1, 2, 4, 8, 16, 32
_LOW_Q, _LOW_V, _LOW_W, _LOW_X = map(ord, "qvwx")
_LOW_E, _LOW_C, _LOW_I = map(ord, "eci")
_BUTTON, _LETTER, _TINY, _MAJESTIC, _ROSE, _PLUS = map(ord, "扣信微威薇加")


@kernel(allocates=True)
def _survey(points: CodePoints, keys: npt.NDArray[np.bool_]) -> Any:
    """Which signs there are; the chunks of digits, separators among them, that are long
    enough to be looked at: [n, 2] starts and ends; the hints of addresses and contacts: [n, 2]
    places and signs.
    """
    signs = number = hinted = 0
    place = ZERO
    total = len(points)
    chunks = np.empty((total // 7 + 1, 2), np.int64)
    hints = np.empty((total + 1, 2), np.int64)
    window = np.uint32(0)
    added = -99
    while place < total:
        point = points[place]
        window = (window << np.uint32(7) | min(point, np.uint32(127))) & np.uint32(0x1FFFFF)
        if keys[window]:
            signs |= _MAY_BE_KEY
        if point == _PLUS:
            added = place
        sign = _contact_sign(points, place, place - added < 5)
        if sign:
            hints[hinted, 0], hints[hinted, 1] = place, sign
            hinted += 1
        if point == 64:
            signs |= _AT
        elif point == 58:
            following = place + 1
            while following < min(total, place + 6) and _is_hexadecimal(points[following]):
                following += 1
            if following < total and points[following] == 58:
                hints[hinted, 0], hints[hinted, 1] = place, _COLONS
                hinted += 1
        elif 48 <= point <= 57:
            start, digits, dots = place, 0, 0
            while place < total:
                point = points[place]
                if 48 <= point <= 57:
                    digits += 1
                elif _is_between(points, place):
                    dots += point == 46
                else:
                    break
                place += 1
            if digits >= _FEWEST_DIGITS or dots >= 3:
                chunks[number, 0], chunks[number, 1] = start, place
                number += 1
            continue
        place += 1
    return signs, chunks[:number], hints[:hinted]


@inner
def _is_between(points: CodePoints, place: int) -> bool:
    """Whether a separator stands here that a digit follows: a space, hyphen, dot or bracket, or a
    bracket beside one of them.
    """
    point = points[place]
    if point not in (32, 40, 41, 45, 46) or place + 1 >= len(points):
        return False
    following = points[place + 1]
    if 48 <= following <= 57:
        return True
    is_pair = (point == 41 and following in (32, 45)) or (point in (32, 45) and following == 40)
    return bool(is_pair and place + 2 < len(points) and 48 <= points[place + 2] <= 57)


@inner
def _contact_sign(points: CodePoints, place: int, is_added: bool) -> int:
    """The sign of a contact that ends with the character at `place`, 0 for none."""
    point = points[place]
    low = point | np.uint32(32)
    before = points[place - 1] if place else np.uint32(0)
    earlier = points[place - 2] | np.uint32(32) if place > 1 else np.uint32(0)
    if is_added and (low in (_LOW_V, _LOW_W) or point in (_TINY, _MAJESTIC, _ROSE)):
        return _MAY_BE_ADDED
    if point == _BUTTON or (
        low == _LOW_Q and (before | 32 == _LOW_Q or (before == 32 and earlier == _LOW_Q))
    ):
        return _MAY_BE_QQ
    if point == _LETTER and before in (_TINY, _MAJESTIC, _LOW_V, _LOW_V - 32):
        return _MAY_BE_WECHAT
    if low == _LOW_X and before | 32 in (_LOW_V, _LOW_W):
        return _MAY_BE_WECHAT
    if earlier == _LOW_W and before | 32 == _LOW_E and low in (_LOW_C, _LOW_I):
        return _MAY_BE_WECHAT
    return 0


@inner
def _is_hexadecimal(point: int) -> bool:
    return bool(48 <= point <= 57 or 65 <= point <= 70 or 97 <= point <= 102)
