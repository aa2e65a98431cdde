"""Charts as inline SVG: no script, no font, no request. Every one has its numbers in a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup, escape

from tongwen.report.words import Bilingual, amount

# As wide as a phone, so that its text is as large as the page's there, and three fit a desktop.
_WIDTH, _HEIGHT = 340, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 66, 12, 42  # right: the name of a line, as long as "Chinese"
_MOST_POINTS = 500  # about one a pixel
_HOVER_POINTS = 40  # 340 pixels hold no more circles apart; each is an element of the page
_X_TICKS = 3  # amounts such as 1,000,000 would touch


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: label at the line's end.
        color: class in the style sheet: `ink`, `english`, `chinese` or `run-1` to `run-6`.
        points: (x, y) in order of x; values that are not finite are left out.
        is_noisy: draw the values pale, and their running mean over them.
    """

    name: Bilingual
    color: str
    points: Sequence[tuple[float, float]]
    is_noisy: bool = False


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values (1, 2 or 5 times a power of ten) from `low` to `high`."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def thin(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most about `most` points, with the lowest and the highest of every stretch: a spike in a
    long run stays visible.
    """
    if len(points) <= most:
        return list(points)
    stretches = max(1, (most - 2) // 2)
    kept = {0, len(points) - 1}
    for number in range(stretches):
        start = number * len(points) // stretches
        stretch = range(start, (number + 1) * len(points) // stretches)
        kept.add(min(stretch, key=lambda index: points[index][1]))
        kept.add(max(stretch, key=lambda index: points[index][1]))
    return [points[index] for index in sorted(kept)]


def smooth(points: Sequence[tuple[float, float]], share: float = 0.05) -> list[tuple[float, float]]:
    """The mean over about `share` of the points around each one; the same number on both sides, so
    that the curve neither lags nor is pulled inwards at its ends.
    """
    sums = [0.0, *accumulate(y for _, y in points)]
    reach = round(share * len(points) / 2)
    result = []
    for place, (x, _) in enumerate(points):
        half = min(reach, place, len(points) - 1 - place)
        mean = (sums[place + half + 1] - sums[place - half]) / (2 * half + 1)
        result.append((x, mean))
    return result


def line_chart(
    series: Sequence[Series], *, title: Bilingual, x_label: Bilingual, from_zero: bool = False
) -> Markup:
    """Lines over a common x axis; nothing when no series has two finite points."""
    drawn = []
    for item in series:
        points = [point for point in item.points if all(map(math.isfinite, point))]
        if len(points) >= 2:
            drawn.append((item, points))
    if not drawn:
        return Markup()
    frame = _Frame.around([_fitted(item, points) for item, points in drawn], from_zero=from_zero)
    parts = [_axes(frame, x_label)]
    parts += [_line(item, points, frame) for item, points in drawn]
    parts += _end_labels(drawn, frame)
    return Markup(
        '<div class="chart"><svg viewBox="0 0 {w} {h}" role="img">'
        "<title>{title}</title>{body}</svg></div>"
    ).format(w=_WIDTH, h=_HEIGHT, title=_plain(title), body=Markup("").join(parts))


def bar(share: float, color: str = "ink") -> Markup:
    """A thin horizontal bar, `share` of the full width."""
    width = 100 * min(max(share, 0.0), 1.0)
    return Markup(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rail" width="100" height="8"/><rect class="{}" width="{}" height="8"/></svg>'
    ).format(color, f"{width:.2f}")


def stacked_bar(parts: Sequence[tuple[float, str]], whole: float) -> Markup:
    """A thick bar of several parts side by side, `whole` units wide."""
    rects, x = [], 0.0
    for value, color in parts:
        width = 100 * value / whole if whole else 0.0
        rects.append(
            Markup('<rect class="{}" x="{}" width="{}" height="8"/>').format(
                color, f"{x:.2f}", f"{width:.2f}"
            )
        )
        x += width
    return Markup(
        '<svg class="bar thick" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        "{}</svg>"
    ).format(Markup("").join(rects))


@dataclass(frozen=True)
class _Frame:
    """From values to places in the picture."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    @classmethod
    def around(
        cls, lines: Sequence[Sequence[tuple[float, float]]], *, from_zero: bool = False
    ) -> "_Frame":
        xs = [x for line in lines for x, _ in line]
        ys = [y for line in lines for _, y in line]
        if from_zero and min(ys) >= 0:
            return cls(min(xs), max(xs), 0.0, 1.08 * max(ys) or 1.0)
        room = 0.06 * (max(ys) - min(ys)) or abs(max(ys)) * 0.1 or 1.0
        return cls(min(xs), max(xs), min(ys) - room, max(ys) + room)

    def x(self, value: float) -> float:
        width = self.x_high - self.x_low or 1.0
        return _LEFT + (value - self.x_low) / width * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        part = min(max((value - self.y_low) / (self.y_high - self.y_low), 0.0), 1.0)
        return _TOP + (1 - part) * (_HEIGHT - _TOP - _BOTTOM)


def _fitted(item: Series, points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """The points the axes must hold: of a noisy line its mean, spikes are clipped."""
    return smooth(points) if item.is_noisy else points


def _axes(frame: _Frame, x_label: Bilingual) -> Markup:
    parts = []
    for tick in nice_ticks(frame.y_low, frame.y_high):
        y = frame.y(tick)
        parts.append(
            Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(_LEFT, y, _WIDTH - _RIGHT)
        )
        parts.append(_text(_LEFT - 6, y + 4, _tick_text(tick), "end"))
    parts += [
        _text(frame.x(tick), _HEIGHT - _BOTTOM + 18, amount(tick), "middle")
        for tick in nice_ticks(frame.x_low, frame.x_high, _X_TICKS)
    ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_text(middle, _HEIGHT - 4, x_label, "middle"))
    return Markup("").join(parts)


def _tick_text(value: float) -> Bilingual | str:
    """Short enough for the margin: 3e-4, 0.25, 12 K."""
    if abs(value) >= 1e4:
        return amount(value)
    if 0 < abs(value) < 1e-2:
        return f"{value:.3g}" if abs(value) >= 1e-3 else _scientific(value)
    return f"{value:,g}"


def _scientific(value: float) -> str:
    mantissa, _, exponent = f"{value:.6e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _line(item: Series, points: Sequence[tuple[float, float]], frame: _Frame) -> Markup:
    lines = []
    if item.is_noisy:
        lines.append(_path(thin(points, _MOST_POINTS), frame, f"pale {item.color}"))
        points = smooth(points)
    lines.append(_path(thin(points, _MOST_POINTS), frame, item.color))
    step = max(1, math.ceil(len(points) / _HOVER_POINTS))
    for x, y in [*points[::step], points[-1]]:
        lines.append(
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="7"><title>{}</title></circle>').format(
                frame.x(x), frame.y(y), f"{x:,.0f}: {y:.4g}"
            )
        )
    return Markup("").join(lines)


def _path(points: Sequence[tuple[float, float]], frame: _Frame, css: str) -> Markup:
    places = "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in points)
    return Markup('<path class="line {}" d="M{}"/>').format(css, places)


def _end_labels(
    drawn: Sequence[tuple[Series, Sequence[tuple[float, float]]]], frame: _Frame
) -> list[Markup]:
    """Names at the ends of the lines, pushed apart where they would overlap."""
    ends = [(frame.y(_fitted(item, points)[-1][1]), item) for item, points in drawn]
    labels: list[Markup] = []
    lowest = 0.0
    for y, item in sorted(ends, key=lambda end: end[0]):
        lowest = max(y, lowest + 15) if labels else y
        labels.append(
            _text(_WIDTH - _RIGHT + 6, lowest + 4, item.name, "start", f"label {item.color}")
        )
    return labels


def _text(x: float, y: float, content: Bilingual | str, anchor: str, css: str = "") -> Markup:
    """A text, once for each language where they differ."""
    if not isinstance(content, Bilingual) or content.english == content.chinese:
        versions = [(escape(content), css)]
    else:
        versions = [(content.english, f"{css} en"), (content.chinese, f"{css} zh")]
    return Markup("").join(
        Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
            classes.strip(), x, y, anchor, text
        )
        for text, classes in versions
    )


def _plain(text: Bilingual) -> str:
    return f"{text.english} {text.chinese}" if text.english != text.chinese else str(text.english)
