"""The report in English and Chinese: both are in the page, the style sheet shows one of them."""

from markupsafe import Markup, escape

from tongwen.progress import duration_text
from tongwen.report.dictionary import WORDS


class Bilingual(Markup):
    """Markup that remembers its English and its Chinese text."""

    english: Markup
    chinese: Markup


def words(key: str, /, **values: object) -> Bilingual:
    """A text of the report in both languages, `{name}` replaced by the (escaped) values.

    A value that is itself bilingual, such as `amount` returns, is put into each language as it is.
    """
    english, chinese = WORDS[key]
    return both(
        Markup(english).format(**{name: _part(value, 0) for name, value in values.items()}),
        Markup(chinese).format(**{name: _part(value, 1) for name, value in values.items()}),
    )


def both(english: str, chinese: str) -> Bilingual:
    """One text in each language; `str` is escaped, `Markup` is not."""
    en, zh = escape(english), escape(chinese)
    if en == zh:
        whole = Bilingual(en)
    else:
        whole = Bilingual(
            f'<span class="en" lang="en">{en}</span><span class="zh" lang="zh-Hans">{zh}</span>'
        )
    whole.english, whole.chinese = en, zh
    return whole


def amount(value: float, *, places: int = 3) -> Bilingual:
    """A count in words of the right size: 7.92 M and 792 万; whole and grouped below 10,000."""
    return both(
        _scaled(value, ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " K")), places),
        _scaled(value, ((1e12, " 万亿"), (1e8, " 亿"), (1e4, " 万")), places),
    )


def duration(seconds: float) -> Bilingual:
    """A time: 3 min 20 s, 3 分 20 秒."""
    english = duration_text(seconds) if seconds >= 10 else f"{seconds:.1f} s"
    chinese = english
    for unit, name in ((" min", " 分"), (" s", " 秒"), (" h", " 小时"), (" d", " 天")):
        chinese = chinese.replace(unit, name)
    return both(english, chinese)


def size(count_bytes: float) -> str:
    """Bytes in binary units: 812 MiB."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count_bytes >= 2**power:
            scaled = count_bytes / 2**power
            # "g" would write 1,020 as 1.02e+03
            return f"{scaled:,.0f} {unit}" if scaled >= 1000 else f"{scaled:.3g} {unit}"
    return f"{count_bytes:.0f} B"


def share(part: float, whole: float) -> str:
    """`part` of `whole` in percent, or a dash where there is no whole."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def number(value: float) -> str:
    """A measured value with four significant digits, whole numbers whole."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:,.0f}"


def _part(value: object, language: int) -> Markup:
    if isinstance(value, Bilingual):
        return (value.english, value.chinese)[language]
    return escape(value)


def _scaled(value: float, units: tuple[tuple[float, str], ...], places: int) -> str:
    if abs(value) < 1e4:
        return f"{value:,.0f}" if value == int(value) else f"{value:.{places}g}"
    for scale, unit in units:
        if abs(value) >= scale:
            scaled = value / scale
            # "g" would write 1,234 as 1.23e+03
            return (f"{scaled:,.0f}" if abs(scaled) >= 1000 else f"{scaled:.{places}g}") + unit
    return f"{value:,.0f}"
