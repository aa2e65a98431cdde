"""Dialogues by a rule, without a model: a heading is asked about, the text below it answers.

Every answer is the document's own words: the first paragraph under the heading, in whole sentences.
That teaches a small model to say what a document says; questions as people ask them need
`made`, or a person.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from tongwen.errors import InputError
from tongwen.files import tree_files
from tongwen.formats.charset.decode import decode
from tongwen.tune.documents.conversations import dialogue_row
from tongwen.tune.documents.passages import Block, blocks, sentences

_MOST_CHARACTERS = 320  # an answer of some sentences, not the section
_FEWEST_CHARACTERS = {"en": 40, "zh": 14}
_HAN = re.compile(r"[\u3400-\u9fff]")
_BETWEEN_HAN = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef]) | (?=[\u3000-\u9fff\uff00-\uffef])")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_NO_PROSE = re.compile(r"\s*(?:\||[-*+] |\d+[.)] |>|<|\$ )")
_SUFFIXES = (".md", ".markdown", ".txt")

_WORDINGS = {
    "en": (
        "What do you know about {topic}?",
        "Tell me about {topic}.",
        "Explain {topic} briefly.",
    ),
    "zh": ("关于{topic}，你知道什么？", "介绍一下{topic}。", "请简单说明{topic}。"),
}


def heading_files(paths: Sequence[str]) -> list[Path]:
    """The Markdown and text files that paths, folders and patterns name, in order.

    Raises:
        InputError: a path names none.
    """
    found: dict[Path, None] = {}
    for name in paths:
        path = Path(name)
        if path.is_dir():
            named = tree_files(path)
        elif path.is_file():
            named = [path]
        else:
            named = sorted(item for item in path.parent.glob(path.name) if item.is_file())
        named = [item for item in named if item.suffix.lower() in _SUFFIXES]
        if not named:
            raise InputError(
                f"there is no Markdown or text file at {name}",
                hint=f"name files that end in {', '.join(_SUFFIXES)}, their folder or a pattern",
            )
        found |= dict.fromkeys(named)
    return list(found)


def heading_dialogues(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Dialogues about the headings of files, those of one text once.

    Raises:
        InputError: a file cannot be read, or there is no heading with a paragraph below it.
    """
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for path in files:
        try:
            text = decode(path.read_bytes(), "").text
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        for turns in _document_turns(text):
            found.setdefault(turns, dialogue_row(turns))
    if not found:
        raise InputError(
            f"no heading with a paragraph below it in {len(files):,} files",
            hint="headings are lines that begin with #; for other documents: "
            "tongwen tune make-dialogues --server URL",
        )
    return list(found.values())


def _document_turns(text: str) -> Iterator[tuple[str, ...]]:
    """Question and answer for every heading in every wording; then two headings in a row."""
    before: tuple[str, str] | None = None
    done: set[tuple[str, ...]] = set()
    for block in blocks(text):
        if not block.headings or block.headings in done or block.is_code:
            continue
        answer = _answer(block)
        if answer is None:
            continue
        done.add(block.headings)
        language = "zh" if _HAN.search(answer) else "en"
        topic = _topic(block.headings, language)
        asked = [wording.format(topic=topic) for wording in _WORDINGS[language]]
        asked = [line[0].upper() + line[1:] for line in asked]
        for question in asked:
            yield question, answer
        if before is not None:
            yield (*before, asked[1], answer)
        before = asked[0], answer


def _answer(block: Block) -> str | None:
    """The first whole sentences of a paragraph; None for a list, a table or something short."""
    lines = list(takewhile(lambda line: not _NO_PROSE.match(line), block.text.splitlines()))
    text = _plain(_BETWEEN_HAN.sub("", " ".join(map(str.strip, lines))))
    language = "zh" if _HAN.search(text) else "en"
    answer = ""
    for sentence in sentences(text):
        gap = " " if answer and not answer.endswith(("。", "！", "？")) else ""
        if answer and len(answer) + len(gap) + len(sentence) > _MOST_CHARACTERS:
            break
        answer += gap + sentence
    if len(answer) < _FEWEST_CHARACTERS[language] or len(answer) > 2 * _MOST_CHARACTERS:
        return None
    # "For example:" introduces what is not in the answer.
    return None if answer.endswith((":", "：")) else answer


def _topic(headings: Sequence[str], language: str) -> str:
    """What a heading is about, with its document's title, since "Limits" alone is anybody's."""
    names = [_plain(name).rstrip("?？.。") for name in headings]
    if len(names) == 1:
        return names[0]
    title = re.split(r"[:：]", names[0])[0].strip()
    return f"“{names[-1]}” in {title}" if language == "en" else f"{title}的“{names[-1]}”"


def _plain(text: str) -> str:
    """Markdown's marks taken away: links keep their words, code and emphasis what is in them."""
    return _LINK.sub(r"\1", text).replace("`", "").replace("**", "").strip()
