r"""Formulas in answers: where the result is, and whether two formulas have the same value.

Two answers are equal when their normalised texts are, or when both can be computed and agree at the
same few places for their variables. Nothing is expanded or solved, so the time is linear in the
length of the text: a formula longer than `_LONGEST` is compared as text only.

The normalisation follows what Lewkowycz et al. 2022 (arXiv:2206.14858, appendix D.1) do to answers
of MATH (units, `\text`, spaces and dollar signs go); equal values go beyond it.
"""

import cmath
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

_LONGEST = 300  # bounds the time: nobody writes an answer of a page
_DEEPEST = 40  # brackets: below Python's limit of recursion
_PLACES = (0.7391, 1.9137, 2.6543)
"""Where variables are set: no round number, so that unequal formulas do not meet by chance."""
_SAME = 1e-9  # well above float64's rounding, well below the digits of any answer
_ZERO = 1e-13
"""Rounding of sums that cancel."""

_BOX = re.compile(r"\\(?:boxed|fbox|fboxed)\s?\{|\\[{}]|\{|\}")
_FINAL = re.compile(
    r"(?i:\banswer\s{0,2}(?:is|:|=)|\banswer\*\*\s?:?)\s*:?"
    r"|答案?\s?(?:应该|应)?\s?(?:是|为|為|:|：|等于)\s?[:：]?"
)
_MATH = re.compile(r"\$\$([^$]{1,300})\$\$|\$([^$\n]{1,300})\$|\\\((.{1,300}?)\\\)", re.S)
_SPACING = re.compile(
    r"\\(?:left|right|displaystyle|quad|qquad|big|Big|bigl|bigr)(?![A-Za-z])|(?<!\\)\\[,;:! ]|~"
)
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf|textrm|operatorname)\s?\{([^{}]*)\}")
_UNIT_WORDS = re.compile(
    r"(?<=[\d}])\s*(?:(?:square|cubic|sq\.?)\s)?(?:[A-Za-z]{3,}|cm|mm|km|kg|ft|in|m|个|种|元|米|厘米|度)"
    r"(?:\s?\^\s?\{?[23]\}?)?\.?$"
)
_NAMED = {
    "pi": math.pi, "e": math.e, "i": 1j, "infty": math.inf,
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[[complex], complex]] = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "exp": cmath.exp,
    "arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan,
    "cot": lambda value: 1 / cmath.tan(value), "sec": lambda value: 1 / cmath.cos(value),
    "csc": lambda value: 1 / cmath.sin(value), "ln": cmath.log, "log": cmath.log10,
}  # fmt: skip


@dataclass(frozen=True)
class Formula:
    """The result that an answer gives.

    Attributes:
        text: as it is written, without its marks.
        is_marked: the answer says that this is its result, or is nothing else.
    """

    text: str
    is_marked: bool


def read_formula(text: str) -> Formula | None:
    r"""The formula that an answer gives; None when it gives none.

    What the last `\boxed{}` holds; else what follows the last "answer is" or "答案是"; else a text
    that is one short line; else the last formula between dollar signs.
    """
    if boxes := _boxes(text):
        return Formula(boxes[-1], is_marked=True)
    marks = list(_FINAL.finditer(text))
    for mark in reversed(marks):
        line = text[mark.end() :].strip().split("\n", 1)[0].strip()
        found = _MATH.match(line.lstrip("*: "))
        if found is not None:
            return Formula(_inside(found), is_marked=True)
        line = re.split(r"(?<=[^\d\s])[.。](?:\s|$)|\.(?:\s|$)|。|，所以", line, maxsplit=1)[0]
        if line.strip(" *$"):
            return Formula(line.strip(" *"), is_marked=True)
    lines = text.strip().split("\n")
    inside = _MATH.search(text)
    is_within = inside is not None and inside.group() != text.strip()
    if not is_within and len(lines) == 1 and 0 < len(lines[0]) <= 80 and not _is_sentence(lines[0]):
        return Formula(lines[0].strip(), is_marked=True)
    found_all = list(_MATH.finditer(text))
    return Formula(_inside(found_all[-1]), is_marked=False) if found_all else None


def _is_sentence(line: str) -> bool:
    return len(re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}", line)) > 3


def _inside(found: re.Match[str]) -> str:
    return next(group for group in found.groups() if group is not None).strip()


def _boxes(text: str) -> list[str]:
    """What the boxes hold, in the order of their ends; an open last one to the end of its line."""
    stack: list[tuple[bool, int]] = []
    boxes = []
    for found in _BOX.finditer(text):
        if found.group().startswith("\\") and found.group()[1] in "{}":
            continue
        if found.group() != "}":
            stack.append((len(found.group()) > 1, found.end()))
        elif stack:
            is_box, start = stack.pop()
            if is_box:
                boxes.append(text[start : found.start()].strip())
    bare = re.findall(r"\\f?boxed\s(\w+)", text) if not boxes else []
    return [box for box in boxes if box] or bare


def same_formula(said: str, right: str) -> bool:
    """Whether two formulas are the same text after normalisation, or have the same value."""
    first, second = normalized(said), normalized(right)
    if not first or not second:
        return said.split() == right.split() and bool(said.split())
    if first == second or first.casefold() == second.casefold():
        return True
    if max(len(first), len(second)) > _LONGEST:
        return False
    return _same(first, second, 0)


@lru_cache(maxsize=4096)
def normalized(text: str) -> str:
    """A formula without what does not change it: spaces, dollar signs, units, sizes of brackets."""
    text = unicodedata.normalize("NFKC", text).translate(
        {0x2212: "-", 0x2013: "-", 0xD7: "*", 0xF7: "/", 0x3002: ".", 0x3001: ",", 0x3C0: "\\pi "}
    )
    text = text.replace("\\$", "").replace("$", "").replace("\\%", "").replace("%", "")
    text = re.sub(r"\\[()\[\]]", "", text)
    text = text.replace("{,}", "").replace("\\!", "")
    text = _SPACING.sub(" ", text)
    text = re.sub(r"\^\s?\{?\s?\\?\\circ\s?\}?|°", "", text)
    text = re.sub(r"\\[dtc]frac(?![a-z])", r"\\frac", text)
    text = text.replace("\\leqslant", "\\le").replace("\\geqslant", "\\ge")
    text = re.sub(r"\\(?:leq|geq)(?![a-z])", lambda found: found.group()[:3], text)
    text = text.strip().strip("*").rstrip(".,;:。").strip()
    text = re.sub(r"\\boxed\s?\{(.*)\}$", r"\1", text, flags=re.S)
    text = _without_text(text)
    text = _UNIT_WORDS.sub("", text)
    text = re.sub(r"(?<=\d)[ ,](?=\d{3}(?!\d))(?<!\d\d\d\d[ ,])", "", text)
    text = re.sub(r"\\(?=[{}])", "\\\\", text)
    text = " ".join(text.split())
    # Spaces stay where they end a command.
    return re.sub(r"(?<!\\[a-zA-Z])(?<![a-zA-Z]) | (?![a-zA-Z])", "", text)


def _without_text(text: str) -> str:
    """Units after a value go; words that are the answer stay."""
    text = re.sub(r"\\(?:text|mbox)\s?\{\s*(?:or|and|或|和)\s*\}", ",", text)
    plain = _TEXT.sub(r"\1", text).strip()
    without = _TEXT.sub("", text).strip()
    without = re.sub(r"\^\s?\{?[23]\}?$", "", without) if without != text.strip() else without
    has_value = re.search(r"\d|\\(?:frac|sqrt|pi)|^[a-zA-Z]$", without)
    return without if has_value and without != text.strip() else plain


def _same(first: str, second: str, depth: int) -> bool:
    """Whether two normalised formulas have equal values, part by part where they are lists."""
    if depth > 4:
        return False
    first, second = _without_name(first), _without_name(second)
    if first.casefold() == second.casefold():
        return bool(first)
    for splitter in (_union, _matrix, _list):
        parts, others = splitter(first), splitter(second)
        if parts is None and others is None:
            continue
        if parts is None or others is None or parts[0] != others[0]:
            return False
        return _same_parts(parts, others, depth)
    if "=" in first and "=" in second:
        return _same_equation(first, second)
    return _same_value(first, second)


Parts = tuple[str, bool, list[str]]
"""Kind, whether the order counts, and the parts."""


def _same_parts(first: Parts, second: Parts, depth: int) -> bool:
    _, is_ordered, parts = first
    others = list(second[2])
    if len(parts) != len(others):
        return False
    if is_ordered:
        return all(_equal(a, b, depth) for a, b in zip(parts, others, strict=True))
    for part in parts[:20]:
        match = next(
            (index for index, other in enumerate(others) if _equal(part, other, depth)), -1
        )
        if match < 0:
            return False
        del others[match]
    return not others


def _equal(first: str, second: str, depth: int) -> bool:
    return first == second or _same(first.strip(), second.strip(), depth + 1)


def _without_name(text: str) -> str:
    """`x = 5` and `f(x) = 5` as `5`; `x \\in [1, 2]` as the interval."""
    found = re.match(
        r"\\?[a-zA-Z]{1,6}(?:_\{?\w\}?)?(?:\([a-z]\))?(?:=|\\in(?![a-z]))\s?(.+)$", text
    )
    if found is None or "=" in found[1] or (re.search(r"[a-z]", found[1]) and "=" in text):
        return text
    return found[1]


def _split(text: str, mark: str) -> list[str]:
    """The parts of a text between marks that are in no bracket."""
    parts, depth, start, index = [], 0, 0, 0
    while index < len(text):
        if text[index] in "([{":
            depth += 1
        elif text[index] in ")]}":
            depth -= 1
        elif depth == 0 and text.startswith(mark, index):
            parts.append(text[start:index])
            start = index + len(mark)
            index = start - 1
        index += 1
    return [*parts, text[start:]]


def _union(text: str) -> Parts | None:
    parts = _split(text, "\\cup")
    return ("union", False, parts) if len(parts) > 1 else None


def _list(text: str) -> Parts | None:
    return _members(text) or _plus_minus(text)


def _plus_minus(text: str) -> Parts | None:
    if text.count("\\pm") != 1:
        return None
    return "list", False, [text.replace("\\pm", "+"), text.replace("\\pm", "-")]


def _matrix(text: str) -> Parts | None:
    found = re.fullmatch(r"\\begin\{([pbv]?matrix|array)\}(?:\{[^}]*\})?(.*)\\end\{\1\}", text)
    if found is None:
        return None
    rows = [row for row in re.split(r"\\\\", found[2]) if row.strip()]
    return f"matrix {len(rows)}", True, [cell for row in rows for cell in row.split("&")]


def _members(text: str) -> Parts | None:
    """A list, set, point or interval; the brackets of the last two count."""
    is_set = text.startswith("\\{") and text.endswith("\\}")
    inner = text[2:-2] if is_set else text
    is_pair = not is_set and text[:1] in ("(", "[") and text[-1:] in (")", "]")
    if is_pair and len(_split(text[1:-1], ",")) > 1 and _is_closed(text):
        return text[0] + text[-1], True, _split(text[1:-1], ",")
    parts = [part.strip() for part in re.split(r",|;|\band\b|\bor\b|和|或", inner)]
    if "(" in inner or "[" in inner or "{" in inner:
        parts = _split(inner.replace(";", ","), ",")
    parts = [part for part in parts if part]
    return ("list", False, parts) if len(parts) > 1 or is_set else None


def _is_closed(text: str) -> bool:
    """Whether the first bracket is closed by the last one."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return index == len(text) - 1
    return False


def _same_equation(first: str, second: str) -> bool:
    """Whether two equations have sides whose differences are in a constant ratio."""
    differences = []
    for text in (first, second):
        left, _, right = text.partition("=")
        differences.append(_values(f"({left})-({right})"))
    if differences[0] is None or differences[1] is None:
        return False
    ratios = [a / b for a, b in zip(differences[0], differences[1], strict=True) if abs(b) > _ZERO]
    return len(ratios) == len(_PLACES) and all(abs(ratio - ratios[0]) < _SAME for ratio in ratios)


def _same_value(first: str, second: str) -> bool:
    values, others = _values(first), _values(second)
    if values is None or others is None:
        return False
    return all(_is_close(a, b) for a, b in zip(values, others, strict=True))


def _is_close(first: complex, second: complex) -> bool:
    if cmath.isinf(first) or cmath.isinf(second):
        return first == second
    return abs(first - second) <= max(_ZERO, _SAME * max(abs(first), abs(second)))


def _values(text: str) -> list[complex] | None:
    """The values of a formula where its variables are set; None where it cannot be computed."""
    try:
        return [_Reader(text, place).value() for place in _PLACES]
    except (ValueError, ArithmeticError, RecursionError):
        return None


_LEXEMES = re.compile(r"\d+(?:\.\d+)?|\.\d+|\\[a-zA-Z]+|[a-zA-Z]|[-+*/^_()\[\]{}|!]")


class _Reader:
    """A formula, read by recursive descent and computed as it is read."""

    def __init__(self, text: str, place: float) -> None:
        self.lexemes = _lexemes(text)
        self.at = 0
        self.place = place
        self.depth = 0

    def value(self) -> complex:
        result = self.sum()
        if self.at != len(self.lexemes):
            raise ValueError(self.peek())
        return result

    def peek(self) -> str:
        return self.lexemes[self.at] if self.at < len(self.lexemes) else ""

    def take(self, wanted: str = "") -> str:
        lexeme = self.peek()
        if not lexeme or (wanted and lexeme != wanted):
            raise ValueError(f"{lexeme!r} in place of {wanted!r}")
        self.at += 1
        return lexeme

    def sum(self) -> complex:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError("too deep")
        sign = -1 if self.peek() == "-" else 1
        if self.peek() in ("-", "+"):
            self.take()
        total = sign * self.product()
        while self.peek() in ("+", "-"):
            sign = -1 if self.take() == "-" else 1
            total += sign * self.product()
        self.depth -= 1
        return total

    def product(self) -> complex:
        is_number = self.peek()[:1].isdigit()
        result = self.power()
        while True:
            sign = self.peek()
            if sign in ("*", "\\cdot", "\\times"):
                self.take()
                result *= self.signed()
            elif sign in ("/", "\\div"):
                self.take()
                result /= self.signed()
            elif sign == "\\frac" and is_number and self.is_plain_fraction():
                result += self.power()  # 2\frac{1}{2} is a mixed number
            elif sign and sign not in ("+", "-", ")", "]", "}", "|", "^", "_", "!"):
                result *= self.power()
            else:
                return result
            is_number = False

    def is_plain_fraction(self) -> bool:
        following = self.lexemes[self.at + 1 : self.at + 7]
        return [item for item in following if item.isdigit()] == [
            item for item in following if item not in "{}"
        ] and len(following) >= 2

    def signed(self) -> complex:
        if self.peek() == "-":
            self.take()
            return -self.power()
        return self.power()

    def power(self) -> complex:
        base = self.atom()
        while self.peek() == "!":
            self.take()
            if base.imag or not 0 <= base.real <= 170 or base.real % 1:
                raise ValueError("factorial")
            base = complex(math.factorial(int(base.real)))
        if self.peek() == "^":
            self.take()
            exponent = self.argument()
            if abs(exponent) > 1_000:
                raise ValueError("exponent")
            return complex(base**exponent)
        return base

    def argument(self) -> complex:
        """A group in braces, or the one digit, letter or command that follows."""
        if self.peek() == "{":
            return self.group("{", "}")
        if self.peek() == "-":
            self.take()
            return -self.argument()
        lexeme = self.peek()
        if lexeme.isdigit() and len(lexeme) > 1:  # \frac12, 2^10
            self.lexemes[self.at : self.at + 1] = [lexeme[0], lexeme[1:]]
        return self.atom()

    def group(self, opening: str, closing: str) -> complex:
        self.take(opening)
        result = self.sum()
        self.take(closing)
        return result

    def atom(self) -> complex:
        lexeme = self.take()
        if lexeme[0].isdigit() or lexeme[0] == ".":
            return complex(float(lexeme))
        if lexeme in ("(", "[", "{", "|"):
            result = self.sum()
            self.take({"(": ")", "[": "]", "{": "}", "|": "|"}[lexeme])
            return complex(abs(result)) if lexeme == "|" else result
        name = lexeme.removeprefix("\\")
        if name == "frac":
            above = self.argument()
            return above / self.argument()
        if name == "sqrt":
            if self.peek() == "[":
                root = self.group("[", "]")
                return complex(self.argument() ** (1 / root))
            return cmath.sqrt(self.argument())
        if name in ("binom", "dbinom"):
            above, below = self.argument().real, self.argument().real
            if not 0 <= below <= above <= 1_000 or above % 1 or below % 1:
                raise ValueError("binomial")
            return complex(math.comb(int(above), int(below)))
        if name in _FUNCTIONS and lexeme != name:
            return self.function(name)
        if name in _NAMED and (lexeme != name or name in ("e", "i")):
            return complex(_NAMED[name])
        if len(lexeme) > 1 and name not in _GREEK:
            raise ValueError(lexeme)
        return complex(self.variable(name))

    def function(self, name: str) -> complex:
        exponent, base = complex(1), None
        while self.peek() in ("^", "_"):
            if self.take() == "^":
                exponent = self.argument()
            else:
                base = self.argument()
        inner = self.group("(", ")") if self.peek() == "(" else self.power()
        if name == "log" and base is not None:
            return complex((cmath.log(inner) / cmath.log(base)) ** exponent)
        return complex(_FUNCTIONS[name](inner) ** exponent)

    def variable(self, name: str) -> float:
        """A value of its own for every letter, the same in both formulas."""
        if self.peek() == "_":
            self.take()
            while self.peek() == "{":
                self.take()
            name += self.take()
            if self.peek() == "}":
                self.take()
        return self.place + sum(map(ord, name)) % 97 / 89


_GREEK = frozenset(
    (
        "alpha", "beta", "gamma", "delta", "theta", "lambda", "mu", "omega", "phi", "rho", "sigma",
        "tau", "varphi", "epsilon",
    )
)  # fmt: skip


def _lexemes(text: str) -> list[str]:
    found = [match.group() for match in _LEXEMES.finditer(text)]
    if len("".join(found)) != len(re.sub(r"\s", "", text)):
        raise ValueError(text)
    return found


_NUMBER = re.compile(
    r"[-+]?(?:\d+\.?\d*|\.\d+)(?:/\d+)?|[-+]?\d*\\frac(?:\{-?\d+\}|\d)(?:\{-?\d+\}|\d+)"
)
_CALCULATION = re.compile(
    r"\\(?:sqrt|binom|log|ln|sin|cos|tan|arc\w+|cot|sec|csc)(?![a-z])|!|(?<=[^(\[{])[-+]"
    r"|\*(?!10\^)|\\(?:cdot|times|div)(?!\s?10\^)|\)\("
)


def formula_matches(said: str, accepted: Sequence[str], question: str = "") -> bool:
    """Whether a formula equals one of the accepted ones.

    A formula of the question, and a calculation where the answer is a number, have the right value
    without being an answer ("What is 19^2 + 1?" - "19^2 + 1"): they must be right as text.
    """
    plain = normalized(said)
    is_restated = not _NUMBER.fullmatch(plain) and any(
        plain == normalized(_inside(found)) for found in _MATH.finditer(question)
    )
    for answer in accepted:
        right = normalized(answer)
        is_open = _NUMBER.fullmatch(right) and _CALCULATION.search(_without_name(plain))
        if plain == right if is_restated or is_open else same_formula(said, answer):
            return bool(plain)
    return False
