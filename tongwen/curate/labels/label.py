"""Documents to grades: which are asked about, the questions, and the rows of labels."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import xxhash

from tongwen.ask.questions import Question
from tongwen.ask.server import Answer
from tongwen.curate.extract.language import identify
from tongwen.curate.labels.rubric import Rubric, grade_of
from tongwen.curate.scorers.samples import language_group
from tongwen.errors import InputError
from tongwen.formats.text_rows import text_files, text_rows

_FEWEST_CHARACTERS = 20  # no rubric can grade a title
_CUT_SHARE = 0.8  # a paragraph that ends earlier would waste what the grader may read


@dataclass(frozen=True)
class Chosen:
    """A document that is graded.

    Attributes:
        name: its address, id, or file and row.
        language: `en` or `zh`.
        lang: its tag, such as `zh-Hant`.
        host: of its address; empty when it has none.
        text: all of it.
        shown: its beginning, as the server sees it.
    """

    name: str
    language: str
    lang: str
    host: str
    text: str
    shown: str


def choose_documents(
    paths: Iterable[Path],
    *,
    sample: int,
    characters: int,
    seed: int,
    text_field: str = "text",
) -> tuple[list[Chosen], dict[str, int]]:
    """Documents drawn by their text, as many in each language as there are, half of `sample` each.

    Neither the order of files nor that of rows changes the choice; a larger sample holds the
    smaller one. Equal texts are one.

    Args:
        paths: of documents: a run, a curate folder, files.
        sample: documents in all.
        characters: of a document that are shown, cut where a paragraph, line or sentence ends.
        seed: of the draw.
        text_field: of rows.

    Returns:
        The documents, in the order they were drawn, and how many were read and passed over.

    Raises:
        InputError: a file cannot be read, or no document can be graded.
    """
    counts: Counter[str] = Counter()
    drawn = {language: _Lowest(sample) for language in ("en", "zh")}
    for path in text_files(paths):
        for row in text_rows(path, text_field):
            counts["documents"] += 1
            text = row["text"].strip()
            if len(text) < _FEWEST_CHARACTERS:
                counts["too_short"] += 1
                continue
            lang = row["lang"] or identify(text[:5_000]).lang
            language = language_group(lang)
            if language is None:
                counts["other_language"] += 1
                continue
            key = xxhash.xxh3_64_intdigest(text.encode("utf-8", "replace"), seed=seed)
            shown = beginning(text, characters)
            drawn[language].add(
                key, Chosen(row["name"], language, lang, row["host"], text, shown), counts
            )
    by_language = [lowest.items() for lowest in drawn.values()]
    half = [min(len(items), sample // 2) for items in by_language]
    half[0] = min(len(by_language[0]), sample - half[1])
    half[1] = min(len(by_language[1]), sample - half[0])
    taken = [pair for items, number in zip(by_language, half, strict=True)
             for pair in items[:number]]  # fmt: skip
    if not taken:
        raise InputError(
            f"none of {counts['documents']:,} documents can be graded: "
            f"{counts['too_short']:,} are too short, {counts['other_language']:,} are neither "
            "English nor Chinese"
        )
    return [item for _, item in sorted(taken, key=lambda pair: pair[0])], dict(counts)


class _Lowest:
    """The documents with the lowest keys, at most so many; of equal texts one by name."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_key: dict[int, Chosen] = {}
        self._keys: list[int] = []  # negative: the highest key comes first

    def add(self, key: int, document: Chosen, counts: Counter[str]) -> None:
        known = self._by_key.get(key)
        if known is not None:
            counts["duplicates"] += 1
            if document.name < known.name:
                self._by_key[key] = document
            return
        if len(self._keys) >= self._most:
            if key > -self._keys[0]:
                return
            del self._by_key[-heappop(self._keys)]
        heappush(self._keys, -key)
        self._by_key[key] = document

    def items(self) -> list[tuple[int, Chosen]]:
        return sorted(self._by_key.items(), key=lambda pair: pair[0])


def beginning(text: str, characters: int) -> str:
    """At most `characters` of a text, to the end of a paragraph, line or sentence near that."""
    if len(text) <= characters:
        return text
    for mark in ("\n\n", "\n", "。", ". "):
        place = text.rfind(mark, int(characters * _CUT_SHARE), characters)
        if place >= 0:
            return text[: place + len(mark)].rstrip()
    return text[:characters]


def label_questions(
    documents: Sequence[Chosen], rubrics: Sequence[Rubric], *, model: str, max_tokens: int
) -> dict[tuple[int, str], Question]:
    """The questions by document and rubric, document after document; a rubric without a
    document's language asks nothing about it.
    """
    return {
        (place, rubric.name): Question(
            about=f"{document.name} ({rubric.name})",
            model=model,
            messages=(
                {"role": "user", "content": rubric.question(document.shown, document.language)},
            ),
            max_tokens=max_tokens,
        )
        for place, document in enumerate(documents)
        for rubric in rubrics
        if document.language in rubric.wording
    }


def label_rows(
    documents: Sequence[Chosen],
    questions: Mapping[tuple[int, str], Question],
    answers: Mapping[str, Answer],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row a document with its text and a grade for each rubric, and what came of all.

    A grade is null where the answer had none; the row's `unreadable` has that answer. The text is
    what was graded, so that no scorer learns from a part that nobody saw.
    """
    rows: list[dict[str, Any]] = [
        {
            "name": document.name, "lang": document.lang, "host": document.host,
            "text": document.shown, "graded_characters": len(document.shown),
            "characters": len(document.text),
        }
        for document in documents
    ]  # fmt: skip
    grades: dict[str, Counter[str]] = {}
    unreadable: list[dict[str, str]] = []
    for (place, rubric), question in questions.items():
        answer = answers[question.name]
        grade = None if answer.refused or answer.is_cut else grade_of(answer.text)
        rows[place][rubric] = grade
        language = documents[place].language
        counted = grades.setdefault(f"{rubric} {language}", Counter())
        counted["unreadable" if grade is None else str(grade)] += 1
        if grade is None:
            why = _problem(answer)
            rows[place].setdefault("unreadable", {})[rubric] = why
            unreadable.append({"name": documents[place].name, "rubric": rubric, "answer": why})
    return rows, {
        "graded": {name: dict(sorted(counts.items())) for name, counts in sorted(grades.items())},
        "cut_documents": sum(len(item.shown) < len(item.text) for item in documents),
        "unreadable": unreadable,
    }


def _problem(answer: Answer) -> str:
    if answer.refused:
        return f"refused: {answer.refused}"
    if answer.is_cut:
        return f"cut at --max-tokens: {answer.text[-200:]}"
    return answer.text[-200:] or "empty"
