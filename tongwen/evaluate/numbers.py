"""Numbers in answers: every notation of both languages, as exact values, in linear time.

Reading works on a plain copy of the text (`_plain`), in which width, dashes and LaTeX are folded.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

_DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")} | {
    "〇": 0,
    "两": 2,
    "兩": 2,
}
SMALL_UNITS = {"十": 10, "百": 100, "千": 1_000}
LARGE_UNITS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
NUMERALS = "".join((*_DIGITS, *SMALL_UNITS, *LARGE_UNITS))
_BANKERS = str.maketrans("壹贰貳叁叄參肆伍陆陸柒捌玖拾佰仟", "一二二三三三四五六六七八九十百千")
"""The numerals of cheques; some are surnames, so they count only where a whole text is a number."""
_UNITS = "".join((*SMALL_UNITS, *LARGE_UNITS))
_ENGLISH_UNITS = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip
_LONGEST = 60
"""Characters of a number; a longer run is noise, and exact arithmetic on it would not be linear."""

_CURRENCY = "$€£¥₹₩元"
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\u207b\ufe63\uff0d"), "-")
_THIN_SPACES = "\u00a0\u2007\u2008\u2009\u200a\u202f\u205f"
_SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074-\u2079"

_RUN = r"(?:\d++(?:[.,'_\u2019]\d++)*+|\.\d++)"
_TOKEN = re.compile(
    rf"""
    (?P<minus>(?<![\w)\]}}%])-[{_CURRENCY}]?(?=[.\d])|[负負]\s?|\b[Nn]egative\s[{_CURRENCY}]?)?+
    (?:
        (?P<per>[百千]分之)?+
        (?:
            (?:(?<![A-Za-z0-9_^])|(?<=USD)|(?<=RMB)|(?<=CNY)|(?<=EUR)|(?<=Rs))(?<![A-Za-z0-9]\.)
            (?P<digits>{_RUN})
            (?:
                \s?(?P<units>[{_UNITS}]++(?:\d++[{_UNITS}]*+)*+)
              | \s?(?P<word>hundred|thousand|million|billion|trillion)\b
              | (?P<ordinal>(?:st|nd|rd|th)\b)
            )?+
          | (?P<chinese>[{NUMERALS}]++)(?:点(?P<decimals>[零〇一二三四五六七八九]++))?+
            (?P<scale>[万萬亿億]++)?+
        )
    )
    """,
    re.VERBOSE | re.ASCII,
)
_PLAIN_NUMBER = re.compile(rf"-?\d{{1,{_LONGEST}}}(?:\.\d{{1,{_LONGEST}}})?", re.ASCII)
_GROUPED = re.compile(
    r"\d{1,3}(?P<mark>[,'_\u2019])\d{3}(?:(?P=mark)\d{3})*(?:\.\d+)?"
    r"|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?",  # 12,34,567 as written in India
    re.ASCII,
)
_POINT_GROUPED = re.compile(r"\d{1,3}(?:(?:\.\d{3}){2,}|(?:\.\d{3})+,\d{1,2})", re.ASCII)


@dataclass(frozen=True)
class Number:
    """A number in a plain text: where it is and what it is worth."""

    start: int
    end: int
    value: Fraction
    is_chinese: bool = False


@dataclass(frozen=True)
class Reading:
    """The number that an answer gives.

    Attributes:
        text: how it is written, in the plain copy.
        value: what it is worth.
        is_marked: the answer says that this is its result, or is nothing else.
    """

    text: str
    value: Fraction
    is_marked: bool


def parse_number(text: str) -> Fraction | None:
    """The value of a text that is one number: `1,234.5`, `$18`, `3/4`, `五百二十`, `3.5万`.

    Currency signs and a percent sign around it do not change the value: `50%` is 50.
    """
    text = text.strip()
    if _PLAIN_NUMBER.fullmatch(text):
        return Fraction(text)
    if not text or len(text) > 4 * _LONGEST:
        return None
    plain = _plain(text).translate(_BANKERS)
    plain = re.sub(r"(?<=\d) (?=\d{3}(?!\d))", ",", plain, flags=re.ASCII)
    found = list(numbers_in(plain))
    if len(found) != 1:
        return None
    (number,) = found
    before, after = plain[: number.start], plain[number.end :]
    is_alone = re.fullmatch(rf"(?:[\s*_`({{\[\\{_CURRENCY}+]|US|USD|RMB|CNY)*", before)
    ends = re.fullmatch(rf"[\s*_`)}}\]\\{_CURRENCY}%.。整]*", after)
    return number.value if is_alone and ends else None


def chinese_number(text: str) -> int | None:
    """The value of Chinese numerals: `二〇二四`, `十五`, `三万零五十`; None when they say none."""
    if not text or len(text) > _LONGEST:
        return None
    if all(character in _DIGITS for character in text):
        return int("".join(str(_DIGITS[character]) for character in text))
    total = section = 0
    digit: int | None = None
    unit = 1
    for character in text:
        if character in _DIGITS:
            if digit:
                return None
            digit = _DIGITS[character]
            unit = unit if digit else 10  # after a spoken zero a last digit means ones
        elif character in SMALL_UNITS:
            if digit is None and (character != "十" or section % 100):
                return None
            unit = SMALL_UNITS[character]
            section += (1 if digit is None else digit) * unit
            digit = None
        else:
            section += digit or 0
            if not section and not total:
                return None
            unit = LARGE_UNITS[character]
            if character in "亿億":
                total, section = (total + section) * unit, 0
            else:
                total, section = total + section * unit, 0
            digit = None
    # 三百五 is 350 and 一万二 is 12,000: a last digit counts in the next lower unit.
    return total + section + (digit or 0) * max(unit // 10, 1)


def _plain(text: str) -> str:
    """A copy in which width, dashes, thin spaces in numbers and LaTeX are folded."""
    text = re.sub(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e])", " ", text)  # 10½ is not 101/2
    text = re.sub(f"[⁺⁻]?[{_SUPERSCRIPTS}]+", r"^\g<0>", text)
    text = re.sub(rf"(?<=\d)[{_THIN_SPACES}](?=\d{{3}}(?!\d))", ",", text)
    text = unicodedata.normalize("NFKC", text).translate(_DASHES).replace("\u2044", "/")
    if "\\" in text or "{" in text:
        text = _without_latex(text)
    text = re.sub(
        r"(?<![\w.])(\d{1,20}(?:\.\d{1,20})?)\s?[*×]\s?10\^\{?([-+]?\d{1,2})\}?",
        lambda found: _decimal(Fraction(found[1]) * Fraction(10) ** int(found[2])),
        text,
        flags=re.ASCII,
    )
    return re.sub(r"\^\s?\{?[-+]?\w{0,9}\}?", "^", text, flags=re.ASCII)  # cm^2 holds no 2


def _decimal(value: Fraction) -> str:
    """A value whose denominator is a power of ten, written out."""
    places = len(str(value.denominator)) - 1
    while 10**places % value.denominator:
        places += 1
    digits = str(value.numerator * 10**places // value.denominator).zfill(places + 1)
    return f"{digits[: len(digits) - places]}.{digits[len(digits) - places :] or 0}"


def _without_latex(text: str) -> str:
    text = text.replace("{,}", ",").replace("\\%", "%").replace("\\$", "$").replace("\\#", "#")
    text = re.sub(r"(?<=\d)\\[,;:! ](?=\d{3}(?!\d))", ",", text, flags=re.ASCII)
    text = re.sub(r"\\[,;:!]|\\(?:left|right|displaystyle|quad)(?![A-Za-z])", " ", text)
    text = re.sub(r"\\(?:text|textbf|mathrm|mathbf|mathit|boldsymbol|bm|mbox)(?=\s?\{)", "", text)
    text = re.sub(r"\\(?:times|cdot)(?![A-Za-z])", "×", text)
    text = re.sub(r"\\div(?![A-Za-z])", "/", text)
    text = re.sub(r"\\(?:approx|simeq)(?![A-Za-z])", "≈", text)
    number = r"\s?(-?[\d.,]{1,40})\s?"
    text = re.sub(rf"\\[dtc]?frac\s?\{{{number}\}}\s?\{{{number}\}}", r" \1/\2 ", text)
    text = re.sub(r"\\[dtc]?frac\s?(\d)\s?(\d)(?!\d)", r" \1/\2 ", text, flags=re.ASCII)
    return re.sub(r"(?<![\w)\]}])-\s+(?=\d{1,20}/\d)", "-", text, flags=re.ASCII)


def numbers_in(plain: str) -> Iterator[Number]:
    """The numbers of a plain text, in order; fractions and mixed numbers count as one."""
    before: Number | None = None
    for number in _simple_numbers(plain):
        if before is not None and number.start < before.end:
            continue  # the numerator or denominator of a mixed number
        joined = None if before is None else _joined(plain, before, number)
        if joined is not None:
            before = joined
            continue
        if before is not None:
            yield before
        before = number
    if before is not None:
        yield before


def _joined(plain: str, first: Number, second: Number) -> Number | None:
    """Two neighbours as one number: `3/4`, `四分之三`, `2 1/2`."""
    between = plain[first.end : second.start]
    if len(between) > 3 or len(plain[first.start : first.end]) > _LONGEST:
        return None
    value: Fraction | None = None
    if between.strip() == "/" and second.value > 0:
        is_date = "/" in (plain[first.start - 1 : first.start], plain[second.end : second.end + 1])
        if is_date or "/" in plain[first.start : first.end]:
            return None
        value = first.value / second.value
    elif between == "分之" and first.value > 0:
        value = second.value / first.value
    elif between == " " and first.value.denominator == 1 and first.value >= 0:
        # 2 1/2: the second number must be followed by its denominator.
        found = re.match(
            r"(\d{1,3})\s?/\s?(\d{1,3})(?![\d/])", plain[second.start : second.end + 8]
        )
        if found is None or not 0 < int(found[1]) < int(found[2]):
            return None
        end = second.start + found.end()
        return Number(first.start, end, first.value + Fraction(int(found[1]), int(found[2])))
    if value is None:
        return None
    return Number(first.start, second.end, value, first.is_chinese and second.is_chinese)


def _simple_numbers(plain: str) -> Iterator[Number]:
    for found in _TOKEN.finditer(plain):
        if found["ordinal"]:
            continue
        sign = -1 if found["minus"] else 1
        scale = {"百分之": Fraction(1), "千分之": Fraction(1, 1000)}.get(found["per"], Fraction(1))
        if found["chinese"]:
            value = _chinese_value(found)
            if value is not None:
                yield Number(found.start(), found.end(), sign * scale * value, is_chinese=True)
            continue
        pieces = list(_pieces(found["digits"], found.start("digits")))
        for index, (start, end, value) in enumerate(pieces):
            is_first, is_last = index == 0, index == len(pieces) - 1
            if is_last and (found["units"] or found["word"]):
                value, end = _with_units(found, value), found.end()
            yield Number(
                found.start() if is_first else start, end, (sign if is_first else 1) * scale * value
            )


def _chinese_value(found: re.Match[str]) -> Fraction | None:
    numerals, decimals, scale = found["chinese"], found["decimals"] or "", found["scale"] or ""
    whole = chinese_number(numerals)
    if whole is None or len(decimals) + len(scale) > _LONGEST:
        return None
    value = Fraction(whole)
    for place, digit in enumerate(decimals, start=1):
        value += Fraction(_DIGITS[digit], 10**place)
    for unit in scale:
        value *= LARGE_UNITS[unit]
    return value


def _pieces(run: str, start: int) -> Iterator[tuple[int, int, Fraction]]:
    """The number of a run of digits and separators, or the numbers of a list such as `3,5`."""
    value = _run_value(run)
    if value is not None:
        yield start, start + len(run), value
        return
    for found in re.finditer(r"[^,'_\u2019]+", run):
        value = _run_value(found.group())
        if value is not None:
            yield start + found.start(), start + found.end(), value


def _run_value(run: str) -> Fraction | None:
    if len(run) > _LONGEST:
        return None
    if _POINT_GROUPED.fullmatch(run):
        run = run.replace(".", "").replace(",", ".")
    elif _GROUPED.fullmatch(run):
        run = re.sub(r"[,'_\u2019]", "", run)
    return Fraction(run) if re.fullmatch(r"\d*\.?\d+", run, re.ASCII) else None


def _with_units(found: re.Match[str], value: Fraction) -> Fraction:
    """`3.5万`, `2百万`, `12万5千`, `3 million`."""
    if found["word"]:
        return value * _ENGLISH_UNITS[found["word"]]
    total = Fraction(0)
    unit = 1
    parts = re.findall(rf"(\d*)([{_UNITS}]*)", found["units"][:_LONGEST])
    for index, (digits, units) in enumerate(parts):
        number = value if index == 0 else Fraction(int(digits or "0"))
        if units:
            unit = 1
            for character in units:
                unit *= SMALL_UNITS.get(character) or LARGE_UNITS[character]
            total += number * unit
        elif digits:  # 1万2 is 12,000
            total += number * (max(unit // 10, 1) if len(digits) == 1 else 1)
    return total


_GAP = re.compile(
    rf"(?:[\s*_`({{\[:=≈~{_CURRENCY}>]|\\[(\[]|\\boxed\b|US|USD|RMB|CNY|Rs"
    r"|(?:about|approximately|around|roughly|exactly|equal\sto|also|just|simply|only)\b"
    r"|大约|约为|约|一共是?|总共|共是?|是|为|為){0,24}+"
)
_HASHES = re.compile(r"####+\s*+(?:(?i:(?:final\s)?answer)\s?(?:is)?\s?:?|答案[是为為:]?)?+")
_PHRASES = re.compile(
    r"(?i:\banswer(?:\s?\*\*|\*)?\s{0,3}(?:(?:is|equals|would\sbe|should\sbe|comes\sto)\b|[:=]|(?=\d)))"
    r"|答案?\s{0,3}(?:应该|應該|应|應|就)?\s?(?:[是为為:=]|等于|等於|(?<=答案)(?=[\s\d]))"
)
_HEADING = re.compile(r"[.):、]\s*[^\W\d]")
_CHAIN = re.compile(rf"\s?([-+*/×÷=xX])\s?[{_CURRENCY}]?")
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*|__([^_\n]{1,80})__")
_UNIT_WORDS = re.compile(r"(?:\s?[^\W\d_]{1,30}|[%°/^]){0,6}\s?[.。!]?")
_NOT_COUNTED = re.compile("一[共起样些直般定下旦切律]")


def read_number(text: str) -> Reading | None:
    """The number that an answer gives; None when it holds none.

    The number after the first `####` (GSM8K's mark, Cobbe et al. 2021, arXiv:2110.14168); else the
    last in `\\boxed{}`; else the one after the last "answer is", "Answer:", "答案是"; else a first
    line that is only a number; else a bold one in the last line with numbers; else the last one.
    """
    plain = _plain(text)
    numbers = list(numbers_in(plain))
    if not numbers:
        return None
    starts = {number.start: number for number in numbers}
    marked = (
        _after_hashes(plain, starts)
        or _boxed(plain, numbers)
        or _after_phrase(plain, starts)
        or _only_number_of_first_line(plain, numbers)
    )
    if marked is not None:
        return _reading(plain, marked, is_marked=True)
    found = _bold(plain, starts, numbers) or _last(plain, numbers)
    return None if found is None else _reading(plain, found, is_marked=False)


def last_number(text: str) -> Fraction | None:
    """The value of the last number in a text, whatever is said around it."""
    plain = _plain(text)
    found = _last(plain, list(numbers_in(plain)))
    return None if found is None else found.value


def _reading(plain: str, number: Number, *, is_marked: bool) -> Reading:
    return Reading(plain[number.start : number.end].strip(), number.value, is_marked)


def _after_hashes(plain: str, starts: dict[int, Number]) -> Number | None:
    for mark in _HASHES.finditer(plain):
        number = _number_after(plain, mark.end(), starts)
        if number is not None and not _HEADING.match(plain, number.end):
            return number
    return None


def _after_phrase(plain: str, starts: dict[int, Number]) -> Number | None:
    last = None
    for mark in _PHRASES.finditer(plain):
        last = _number_after(plain, mark.end(), starts) or last
    return last


def _number_after(plain: str, place: int, starts: dict[int, Number]) -> Number | None:
    """The number that follows directly; of a calculation written there, its result."""
    gap = _GAP.match(plain, place)
    assert gap is not None
    number = starts.get(gap.end())
    if number is None:  # its currency sign is part of a negative number: -$5
        return None
    number = _spaced(plain, number, starts)
    result, current = number, number
    for _ in range(30):
        link = _CHAIN.match(plain, current.end)
        following = starts.get(link.end()) if link else None
        if link is None or following is None:
            break
        current = following
        if link[1] == "=":
            result = current
    return result


def _spaced(plain: str, number: Number, starts: dict[int, Number]) -> Number:
    """A number whose thousands are set apart by plain spaces: `9 500`."""
    found = re.compile(r"\d{1,3}(?: \d{3})+(?![\d.,])", re.ASCII).match(plain, number.start)
    if found is None or found.end() <= number.end or found.end() - found.start() > _LONGEST:
        return number
    return Number(number.start, found.end(), Fraction(found.group().replace(" ", "")))


def _boxed(plain: str, numbers: list[Number]) -> Number | None:
    """The number in the last box that holds one; after an equals sign where there is one."""
    stack: list[tuple[bool, int]] = []
    boxes: list[tuple[int, int]] = []
    for found in re.finditer(r"\\f?boxed\s?\{|\{|\}", plain):
        if found.group() != "}":
            stack.append((len(found.group()) > 1, found.end()))
        elif stack:
            is_box, start = stack.pop()
            if is_box:
                boxes.append((start, found.start()))
    boxes += [(start, len(plain)) for is_box, start in stack if is_box][-1:]
    for start, end in sorted(boxes, key=lambda box: box[1])[:-9:-1]:
        equals = plain.rfind("=", start, end)
        for number in numbers:
            if max(start, equals) <= number.start and number.end <= end:
                return number
    return None


def _only_number_of_first_line(plain: str, numbers: list[Number]) -> Number | None:
    line = plain.lstrip().split("\n", 1)[0]
    start = len(plain) - len(plain.lstrip())
    if parse_number(line) is None:
        return None
    inside = [number for number in numbers if start <= number.start < start + len(line)]
    if len(inside) == 1:
        return inside[0]
    value = parse_number(line)
    return None if value is None else Number(start, start + len(line.rstrip()), value)


def _bold(plain: str, starts: dict[int, Number], numbers: list[Number]) -> Number | None:
    line_start = plain.rfind("\n", 0, numbers[-1].start) + 1
    best = None
    for found in _BOLD.finditer(plain, line_start):
        group = 1 if found[1] is not None else 2
        inside = found[group]
        place = found.start(group) + max(inside.rfind("="), inside.rfind(":")) + 1
        number = _number_after(plain, place, starts)
        if number and _UNIT_WORDS.fullmatch(plain, number.end, max(number.end, found.end(group))):
            best = number
    return best


def _last(plain: str, numbers: list[Number]) -> Number | None:
    """The last number in digits; else the last in Chinese numerals that is not part of a word."""
    for number in reversed(numbers):
        if not number.is_chinese:
            return number
    for number in reversed(numbers):
        is_word = _NOT_COUNTED.match(plain, number.start) or plain[: number.start].endswith("第")
        if not is_word:
            return number
    return None
