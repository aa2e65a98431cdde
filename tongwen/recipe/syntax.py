"""What is wrong with a text that is not TOML, and the line that was probably meant.

`tomllib` says what it expected at which column; a person wants the line with the fix. Each guess
below mends the line, and counts only when TOML then reads on past it.
"""

import re
import tomllib
from collections.abc import Callable, Iterator

from tongwen.errors import RecipeError
from tongwen.recipe.lines import toml_lines, written_keys

_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'')
_FULL_WIDTH = {
    **dict.fromkeys("“”„‟＂「」『』", '"'), **dict.fromkeys("‘’＇", "'"),
    "＝": "=", "，": ",", "、": ",", "．": ".", "。": ".", "：": "=", "［": "[", "］": "]",
    "【": "[", "】": "]", "｛": "{", "｝": "}", "＃": "#", "＿": "_", "－": "-", "—": "-",
    "\u3000": " ", "\u00a0": " ", "\ufeff": "", "\u200b": "",
    **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
}  # fmt: skip
_WORDS = {
    "True": "true", "TRUE": "true", "yes": "true", "on": "true", "False": "false",
    "FALSE": "false", "no": "false", "off": "false", "None": "false", "null": "false",
    "none": "false", "nil": "false",
}  # fmt: skip
_UNENDED = ("Unclosed array", 'Expected \'"""\'', "Expected \"'''\"", "Unterminated", "Invalid")
_SCALES = {"k": 3, "m": 6, "g": 9, "b": 9, "t": 12}

Guess = tuple[str, str]
"""Why, and the line as it was probably meant."""


def syntax_error(text: str, name: str, error: tomllib.TOMLDecodeError) -> RecipeError:
    """The error to raise for `text`, which `tomllib` has refused with `error`."""
    lines = toml_lines(text)
    number = error_line(error, len(lines))
    said = _PLACE.sub("", str(error))
    twice = _declared_twice(text, number, said)
    if twice is not None:
        return RecipeError(f"{name}, line {number}: {twice[0]}", hint=twice[1])
    opened = _opened_before(lines, number, said)
    if opened is not None:
        return RecipeError(f"{name}, line {opened[0]}: {opened[1]}", hint=opened[2])
    message = f"{name}, line {number}: not valid TOML: `{lines[number - 1].strip()[:100]}`"
    for why, mended in _guesses(lines[number - 1]):
        if mended != lines[number - 1] and _reads_past(lines, number, mended):
            return RecipeError(message, hint=f"{why}: {mended.strip()}")
    return RecipeError(message, hint=_general_hint(lines, number, said))


def _general_hint(lines: list[str], number: int, said: str) -> str:
    """What to do about a line whose meaning nobody can guess."""
    if number == 1 and lines[0].lstrip().startswith("{"):
        return "this looks like JSON; a recipe is TOML: [section], then key = value"
    if lines[number - 1].rstrip().endswith("="):
        return "write a value after the =; `false` for none"
    if said.startswith("Expected newline"):
        return "one key = value a line"
    if said.startswith("Expected '=' after"):
        return "write key = value"
    return said[:1].lower() + said[1:]


def error_line(error: tomllib.TOMLDecodeError, lines: int) -> int:
    """Number of the line that `error` names, of so many."""
    place = _PLACE.search(str(error))
    number = int(place[1]) if place and place[1] else lines
    return max(1, min(number, lines))


def number_hint(text: str) -> str | None:
    """How TOML writes a number that somebody wrote as `1,000`, `10k` or `2.5M`."""
    grouped = re.fullmatch(r"[+-]?\d{1,3}(?:[,， ']\d{3})+", text.strip())
    if grouped:
        return re.sub(r"[,， ']", "_", text.strip())
    scaled = re.fullmatch(r"([+-]?\d+(?:\.\d+)?) ?([kKmMgGbBtT])", text.strip())
    return f"{scaled[1]}e{_SCALES[scaled[2].lower()]}" if scaled else None


def _guesses(line: str) -> Iterator[Guess]:
    """Mended forms of a line, alone and over one another, the likeliest first."""
    for why, mend in _MENDS:
        mended = mend(line)
        if mended is not None:
            yield why, mended
    plain = _plain_signs(line)
    if plain is not None:
        for why, mend in _MENDS[1:]:
            mended = mend(plain)
            if mended is not None:
                yield f"{_MENDS[0][0]}; {why}", mended


def _plain_signs(line: str) -> str | None:
    """Full-width signs outside strings as TOML's own; a pair of “ ” begins and ends a string."""
    mended, last = "", 0
    for string in [*_STRING.finditer(line), None]:
        outside = line[last : string.start()] if string else line[last:]
        mended += "".join(_FULL_WIDTH.get(sign, sign) for sign in outside)
        if string:
            mended, last = mended + string[0], string.end()
    return mended if mended != line else None


def _value_of(line: str) -> tuple[str, str, str] | None:
    """What comes before the value, the value, and the comment after it."""
    match = re.match(r"^(\s*[^=\[\]{}\"']+?=\s*)(.*)$", line)
    if match is None:
        return None
    masked = _STRING.sub(lambda string: "x" * len(string[0]), match[2])
    comment = masked.find("#")
    end = len(match[2]) if comment < 0 else comment
    return match[1], match[2][:end].rstrip(), match[2][end:]


def _mend_value(change: Callable[[str], str | None]) -> Callable[[str], str | None]:
    def mend(line: str) -> str | None:
        parts = _value_of(line)
        value = change(parts[1]) if parts else None
        if parts is None or value is None:
            return None
        return f"{parts[0]}{value} {parts[2]}".rstrip()

    return mend


def _word(value: str) -> str | None:
    return _WORDS.get(value.rstrip(","))


def _words_inside(value: str) -> str | None:
    """A list or inline table with `True` or `None` in it."""
    return re.sub(r"\b(True|False|None)\b", lambda word: _WORDS[word[0]], value)


def _quoted(value: str) -> str | None:
    """A bare word or path as a string."""
    return f'"{value}"' if value and not re.search(r"[\"'\\\[\]{}]", value) else None


def _literal(value: str) -> str | None:
    """A string with backslashes, as of a Windows path, in single quotes."""
    inner = value.strip("\"'")
    return f"'{inner}'" if "\\" in inner and "'" not in inner else None


def _closed(value: str) -> str | None:
    """A string that lacks a quote at its end or beginning."""
    if value[:1] in ('"', "'") and not value.endswith(value[0]):
        return value + value[0]
    if value[-1:] in ('"', "'") and not value.startswith(value[-1]):
        return value[-1] + value
    return None


def _quoted_items(value: str) -> str | None:
    """A list of bare words as a list of strings."""
    if not (value.startswith("[") and value.endswith("]")) or re.search(r"[\"'{}]", value):
        return None
    items = [item.strip() for item in value[1:-1].split(",")]
    return "[" + ", ".join(f'"{item}"' for item in items if item) + "]"


def _without_comma(line: str) -> str | None:
    return re.sub(r"[,;]\s*(#.*)?$", lambda end: f" {end[1]}" if end[1] else "", line)


def _with_equals(line: str) -> str | None:
    match = re.match(r"^(\s*[\w.-]+)\s*:=?\s*(.+)$", line)
    return f"{match[1]} = {match[2]}" if match else None


def _header_closed(line: str) -> str | None:
    block = re.match(r"^(\w+):\s*$", line)
    if block:
        return f"[{block[1]}]"
    match = re.match(r"^\s*(\[{1,2})\s*([\w. -]+?)\s*\]{0,2}\s*$", line)
    return match[1] + match[2] + "]" * len(match[1]) if match else None


def _commented(line: str) -> str | None:
    match = re.match(r"^(.*?)\s*(//|;|--)\s*(.*)$", line)
    return f"{match[1]}  # {match[3]}".strip() if match else None


_MENDS: tuple[tuple[str, Callable[[str], str | None]], ...] = (
    ("signs of TOML are ASCII, not full-width", _plain_signs),
    ("written in lower case", _mend_value(_word)),
    ("`true` and `false` are written in lower case", _mend_value(_words_inside)),
    ("digits are grouped by _ and powers of ten written 1e6", _mend_value(number_hint)),
    ("there is no comma between keys", _without_comma),
    ("a backslash is kept in single quotes", _mend_value(_literal)),
    ("the quote is closed", _mend_value(_closed)),
    ("a string has quotes", _mend_value(_quoted)),
    ("strings in a list have quotes", _mend_value(_quoted_items)),
    ("a key and its value have = between them", _with_equals),
    ("a section's name is in brackets", _header_closed),
    ("a comment begins with #", _commented),
    (
        "a key and its string have = and quotes",
        lambda line: _mend_value(_quoted)(_with_equals(line) or ""),
    ),
)


def _reads_past(lines: list[str], number: int, mended: str) -> bool:
    """Whether TOML no longer refuses line `number` once it is `mended`."""
    try:
        tomllib.loads("\n".join([*lines[: number - 1], mended, *lines[number:]]))
    except tomllib.TOMLDecodeError as error:
        return error_line(error, len(lines)) > number
    return True


def _declared_twice(text: str, number: int, said: str) -> tuple[str, str] | None:
    """Of a key or table that is written twice: what, and where it was first."""
    if not re.match(r"Cannot (overwrite|declare|mutate)|Duplicate", said):
        return None
    lines = toml_lines(text)
    keys = list(written_keys(text))
    name = next((key for key, line in keys if line == number), lines[number - 1].strip())
    first = next((line for key, line in keys if key == name and line < number), None)
    is_table = lines[number - 1].lstrip().startswith("[")
    shown = f"[{name}]" if is_table else f"`{name}`"
    if first is None:
        return f"{shown} is there already", "leave one of the two out"
    hint = f"put the keys of line {number} below line {first}" if is_table else "leave one out"
    return f"{shown} is already in line {first}", hint


def _opened_before(lines: list[str], number: int, said: str) -> tuple[int, str, str] | None:
    """Of a list, table or text of several lines that does not end: where it begins."""
    if not said.startswith(_UNENDED):
        return None
    for begin in range(number, 0, -1):
        match = re.search(r"=\s*(\[|\"\"\"|''')", lines[begin - 1])
        if match is None:
            continue
        alone = "\n".join(lines[begin - 1 : begin])
        try:
            tomllib.loads(alone)
        except tomllib.TOMLDecodeError:
            if begin == number:
                return None  # on one line: the guesses know better
            what, end = ("list", "]") if match[1] == "[" else ("text", match[1])
            return begin, f"the {what} that begins here is not closed", f"close it with {end}"
        return None
    return None
