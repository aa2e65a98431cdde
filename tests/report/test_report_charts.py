"""Charts and numbers of the report."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from tongwen.report.charts import Series, line_chart, nice_ticks, smooth, stacked_bar, thin
from tongwen.report.dictionary import WORDS
from tongwen.report.words import amount, both, duration, share, size, words

NAME = both("loss", "损失")
VALUES = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=300)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_few_and_inside(low: float, width: float) -> None:
    ticks = nice_ticks(low, low + width)
    room = width * 1e-6 + abs(low) * 1e-9
    assert len(ticks) <= 7
    assert all(low - room <= tick <= low + width + room for tick in ticks)


@given(VALUES, st.integers(10, 50))
def test_thinning_keeps_ends_and_extremes(values: list[float], most: int) -> None:
    points = [(float(x), y) for x, y in enumerate(values)]
    kept = thin(points, most)
    assert len(kept) <= most + 2
    assert kept == sorted(kept)
    assert {points[0], points[-1]} <= set(kept)
    assert {min(values), max(values)} <= {y for _, y in kept}


@given(st.floats(-1e3, 1e3), st.integers(2, 200))
def test_smoothing_leaves_a_straight_line_as_it_is(slope: float, count: int) -> None:
    points = [(float(x), slope * x) for x in range(count)]
    for (_, expected), (_, found) in zip(points, smooth(points), strict=True):
        assert math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-6)


def test_a_chart_is_whole_xml_and_survives_values_that_are_no_numbers() -> None:
    points = [(1.0, 3.0), (2.0, math.nan), (3.0, math.inf), (4.0, 1.0)]
    series = [Series(both('<&">', "中"), "ink", points, is_noisy=True)]
    root = ElementTree.fromstring(line_chart(series, title=NAME, x_label=NAME))
    text = ElementTree.tostring(root, encoding="unicode")
    assert "nan" not in text
    assert "inf" not in text
    assert '&lt;&amp;"&gt;' in text


def test_a_chart_without_two_points_is_no_chart() -> None:
    assert line_chart([Series(NAME, "ink", [(1.0, 2.0)])], title=NAME, x_label=NAME) == ""


def test_labels_of_lines_that_end_together_do_not_overlap() -> None:
    series = [Series(both(str(n), str(n)), "ink", [(0, 1), (1, 2 + n / 1e6)]) for n in range(4)]
    svg = line_chart(series, title=NAME, x_label=NAME)
    places = sorted(float(y) for y in re.findall(r'class="label ink" x="[^"]*" y="([^"]*)"', svg))
    assert all(after - before >= 14.9 for before, after in pairwise(places))


def test_parts_of_a_stacked_bar_stand_side_by_side() -> None:
    svg = stacked_bar([(30.0, "english"), (50.0, "chinese"), (20.0, "taken")], 100)
    assert re.findall(r'x="([\d.]+)" width="([\d.]+)"', svg) == [
        ("0.00", "30.00"), ("30.00", "50.00"), ("80.00", "20.00"),
    ]  # fmt: skip


def test_numbers_are_said_as_each_language_says_them() -> None:
    for value, english, chinese in (
        (0, "0", "0"),
        (9_999, "9,999", "9,999"),
        (86_100, "86.1 K", "8.61 万"),
        (861_000, "861 K", "86.1 万"),
        (7_920_000, "7.92 M", "792 万"),
        (123_456_789, "123 M", "1.23 亿"),
        (3.1e12, "3.1 T", "3.1 万亿"),
    ):
        said = amount(value)
        assert (said.english, said.chinese) == (english, chinese)
    said = duration(7_500)
    assert (said.english, said.chinese) == ("2 h 05 min", "2 小时 05 分")
    assert size(812 * 2**20) == "812 MiB"
    assert share(1, 3) == "33.3 %"
    assert share(0, 0) == "–"


def test_both_languages_have_the_same_placeholders() -> None:
    for key, (english, chinese) in WORDS.items():
        found = [sorted(re.findall(r"\{\w+\}", text)) for text in (english, chinese)]
        assert found[0] == found[1], key
        assert english.strip(), key
        assert chinese.strip(), key


def test_values_in_texts_are_escaped_and_bilingual_ones_go_to_their_language() -> None:
    said = words("run_named", name="<b>{time}")
    assert "<b>" not in said
    assert "&lt;b&gt;{time}" in said.english
    said = words("cost_intro", total=duration(200))
    assert "3 min 20 s" in said.english
    assert "3 分 20 秒" in said.chinese
    assert "min" not in said.chinese
