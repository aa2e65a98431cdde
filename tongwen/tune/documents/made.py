"""Questions and answers that a language model makes of documents, each checked against its text."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from tongwen.ask.questions import Question
from tongwen.ask.server import Answer
from tongwen.curate.extract.language import identify
from tongwen.curate.scorers.samples import language_group
from tongwen.errors import InputError
from tongwen.formats.text_rows import text_files, text_rows
from tongwen.tune.documents.conversations import dialogue_row
from tongwen.tune.documents.evidence import normalised, problem_with
from tongwen.tune.documents.passages import passages

OTHER = {"en": "zh", "zh": "en"}
_FEWEST_CHARACTERS = {"en": 200, "zh": 80}
_FENCED = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_FIELDS = ("question", "answer", "evidence")


@dataclass(frozen=True)
class Passage:
    """A part of a document to ask about.

    Attributes:
        document: its name.
        title: of the document; empty when it has none.
        text: of the part.
        language: `en` or `zh`, of the text.
    """

    document: str
    title: str
    text: str
    language: str


def read_passages(
    paths: Iterable[Path], characters: int, text_field: str = "text"
) -> tuple[list[Passage], dict[str, int]]:
    """The passages of all documents, equal ones once, and how many documents and passages were
    read and passed over.

    Raises:
        InputError: a file cannot be read, or there is no passage in English or Chinese.
    """
    counts: Counter[str] = Counter()
    found: dict[str, Passage] = {}
    for path in text_files(paths):
        for row in text_rows(path, text_field):
            counts["documents"] += 1
            lang = row["lang"] or identify(row["text"][:5_000]).lang
            language = language_group(lang)
            if language is None:
                counts["documents_in_other_languages"] += 1
                continue
            title = row["row"].get("title")
            for text in passages(row["text"], characters):
                counts["passages"] += 1
                if len(normalised(text)) < _FEWEST_CHARACTERS[language]:
                    counts["short_passages"] += 1
                elif text in found:
                    counts["repeated_passages"] += 1
                else:
                    shown = title if isinstance(title, str) else ""
                    found[text] = Passage(row["name"], shown, text, language)
    if not found:
        raise InputError(
            f"there is nothing to ask about in {counts['documents']:,} documents: "
            f"{counts['documents_in_other_languages']:,} are neither English nor Chinese, "
            f"{counts['short_passages']:,} passages are short",
            hint="check the paths and --text-field",
        )
    return list(found.values()), dict(counts)


def passage_questions(
    found: Sequence[Passage], *, model: str, languages: str, pairs: int, max_tokens: int
) -> list[tuple[Passage, str, Question]]:
    """Passage, language of the questions, and the request, in order.

    Args:
        found: passages.
        model: that is asked.
        languages: `same` as the text's, the `other`, or `both`.
        pairs: questions from one passage and language, at most.
        max_tokens: of an answer.
    """
    wanted = []
    for passage in found:
        asked_in = {"same": (passage.language,), "other": (OTHER[passage.language],)}.get(
            languages, (passage.language, OTHER[passage.language])
        )
        for language in asked_in:
            content = _request(passage, language, pairs)
            question = Question(
                about=f"{passage.document} ({language})",
                model=model,
                messages=({"role": "user", "content": content},),
                max_tokens=max_tokens,
            )
            wanted.append((passage, language, question))
    return wanted


@cache
def _requests() -> dict[str, str]:
    path = files("tongwen.tune.documents") / "requests.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _request(passage: Passage, language: str, pairs: int) -> str:
    values = {
        "pairs": str(pairs), "title": passage.title.replace('"', "'"), "text": passage.text
    }  # fmt: skip
    wording = _requests()[language].strip()
    return re.sub(r"\{(pairs|title|text)\}", lambda place: values[place[1]], wording)


def checked_dialogues(
    asked: Sequence[tuple[Passage, str, Question]], answers: Mapping[str, Answer]
) -> tuple[list[dict[str, Any]], list[dict[str, str]], dict[str, int]]:
    """Dialogues, what was dropped with its reason, and the count of each reason."""
    dialogues: list[dict[str, Any]] = []
    dropped: list[dict[str, str]] = []
    counts: Counter[str] = Counter()
    seen: set[str] = set()

    def drop(reason: str, passage: Passage, **what: str) -> None:
        counts[reason] += 1
        dropped.append({"reason": reason, "document": passage.document, **what})

    for passage, language, request in asked:
        answer = answers[request.name]
        if answer.refused:
            drop("refused", passage, answer=answer.refused)
            continue
        pairs = read_pairs(answer.text)
        if pairs is None:
            kind = "cut_answer" if answer.is_cut else "unreadable_answer"
            drop(kind, passage, answer=answer.text[-500:])
            continue
        counts["nothing_to_ask"] += not pairs
        for pair in pairs:
            reason = problem_with(
                pair["question"], pair["answer"], pair["evidence"], passage.text, language
            )
            if reason is None and normalised(pair["question"]) in seen:
                reason = "repeated_question"
            if reason is not None:
                drop(reason, passage, **pair)
                continue
            seen.add(normalised(pair["question"]))
            turns = (pair["question"].strip(), pair["answer"].strip())
            dialogues.append(
                dialogue_row(turns, document=passage.document, evidence=pair["evidence"])
            )
    counts["dialogues"] = len(dialogues)
    return dialogues, dropped, {name: number for name, number in sorted(counts.items()) if number}


def read_pairs(text: str) -> list[dict[str, str]] | None:
    """The questions in an answer: a JSON array of objects with three texts each, alone, between
    fences, or after a model's thoughts. None when it is anything else.
    """
    body = text.rpartition("</think>")[2]
    fenced = _FENCED.search(body)
    try:
        value = json.loads(fenced[1] if fenced else body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list):
        return None
    pairs = []
    for item in value:
        if not isinstance(item, dict):
            return None
        texts = {name: item.get(name) for name in _FIELDS}
        if not all(isinstance(part, str) for part in texts.values()):
            return None
        pairs.append({name: str(part) for name, part in texts.items()})
    return pairs
