"""Text that needles are hidden in: sentences of files that the user names."""

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tongwen.errors import InputError

LANGUAGES = ("en", "zh")
_SENTENCE_END = {
    "en": re.compile(r"(?<=[.!?])[ \t]+(?=[A-Z“\"(])|\n+"),
    "zh": re.compile(r"(?<=[。！？])|\n+"),
}
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_FEWEST_CHARACTERS = {"en": 20, "zh": 8}
_SUFFIXES = (".txt", ".md", ".rst")


@dataclass(frozen=True)
class Straw:
    """Sentences of one language, each with its length in tokens."""

    sentences: tuple[str, ...]
    tokens: tuple[int, ...]

    @property
    def total_tokens(self) -> int:
        return sum(self.tokens)

    def stack(self, wanted_tokens: int, seed: str) -> list[str]:
        """At most `wanted_tokens` of consecutive sentences from a place that the seed draws. Where
        there are too few they come again from the beginning.
        """
        place = random.Random(seed).randrange(len(self.sentences))
        found: list[str] = []
        left = wanted_tokens
        while True:
            left -= self.tokens[place]
            if left < 0:
                return found
            found.append(self.sentences[place])
            place = (place + 1) % len(self.sentences)


def read_straw(
    paths: Sequence[Path], language: str, encode: Callable[[str], Sequence[int]]
) -> Straw:
    """The sentences of a language in text files, or in the text files of folders.

    A line is of the language whose characters it has more of; headings, lists and other lines
    without a whole sentence stay out.

    Raises:
        InputError: a path is not there or not UTF-8, or there is no sentence of the language.
    """
    sentences = [
        sentence
        for path in _files(paths)
        for sentence in _sentences(_text(path), language)
        if len(sentence) >= _FEWEST_CHARACTERS[language]
    ]
    if not sentences:
        raise InputError(
            f"there is no sentence of {language} in {', '.join(map(str, paths)) or 'no file'}",
            hint="name files or folders of text with --text PATH",
        )
    unique = tuple(dict.fromkeys(sentences))
    tokens = tuple(max(1, len(encode(sentence + " "))) for sentence in unique)
    return Straw(unique, tokens)


def own_documents() -> list[Path]:
    """The project's documentation in both languages, in a checkout; nothing in an installation."""
    folder = Path(__file__).parents[3] / "docs"
    return [folder / language for language in LANGUAGES if (folder / language).is_dir()]


def _files(paths: Iterable[Path]) -> list[Path]:
    found = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES)
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"there is no text {path}", hint="name a file or a folder of text")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8: {error.reason} at byte {error.start}", hint="convert it first"
        ) from error


def _sentences(text: str, language: str) -> list[str]:
    """Whole sentences in running lines of the language."""
    paragraphs = re.sub(r"(?m)^```.*?^```", "\n\n", text, flags=re.DOTALL)
    joint = " " if language == "en" else ""
    found = []
    for paragraph in re.split(r"\n\s*\n", paragraphs):
        if paragraph.lstrip().startswith(("#", "|", "<", "-", "*", "    ")):
            continue
        chinese = len(_CHINESE.findall(paragraph))
        if (chinese * 4 > len(paragraph)) != (language == "zh"):
            continue
        line = joint.join(part.strip() for part in paragraph.splitlines())
        parts = (part.strip() for part in _SENTENCE_END[language].split(line))
        found += [part for part in parts if part.endswith((".", "!", "?", "。", "！", "？"))]
    return found
