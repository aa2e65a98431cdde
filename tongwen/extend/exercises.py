"""Exercises in finding and counting, made from training text: what its author wrote is the answer.

Each is a stretch of text with a few questions about it and their answers, in the text's language:
a sentence to be continued from its first words, a note hidden at a random place, how often words
occur, which word is the most frequent. Ai2 2025 (OLMo 3) inject such tasks into the long stage.
They are derived from the texts and come under the texts' licences. None has the wording of the
needles of `tongwen.evaluate.long`.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_ENGLISH_WORD = re.compile(r"[A-Za-z]{4,}")
_CHINESE_WORD = re.compile(r"[\u4e00-\u9fff]{2}")
_SENTENCE_END = {"en": re.compile(r"(?<=[.!?])\s+|\n+"), "zh": re.compile(r"(?<=[。！？])|\n+")}
_OPENING = {"en": 24, "zh": 8}
"""Characters of a sentence that are shown for it to be continued."""


@dataclass(frozen=True)
class Wording:
    """The exercises in one language."""

    heading: str
    continue_sentence: str
    note: str
    ask_note: str
    count: str
    most_frequent: str


_WORDINGS = {
    "en": Wording(
        heading="Questions about the text above:",
        continue_sentence="Copy the sentence that begins with “{opening}”: {answer}",
        note="[Margin note on {key}: {value}]",
        ask_note="What is the margin note on {key}? {answer}",
        count="How many times does the text say “{word}”? {answer}",
        most_frequent="Which of {words} does the text use most? {answer}",
    ),
    "zh": Wording(
        heading="关于上文的问题：",
        continue_sentence="抄写以“{opening}”开头的句子：{answer}",
        note="【“{key}”的批注：{value}】",
        ask_note="“{key}”的批注是什么？{answer}",
        count="上文中“{word}”出现了几次？{answer}",
        most_frequent="{words}当中，上文用得最多的是哪一个？{answer}",
    ),
}


def script_of(language: str) -> str | None:
    """Whether exercises in a language of the shards are English (`en`) or Chinese (`zh`), or not
    made.
    """
    return {"en": "en", "zh-Hans": "zh", "zh-Hant": "zh"}.get(language)


def exercise(text: str, script: str, generator: random.Random, *, questions: int) -> str | None:
    """`text` with notes hidden in it and questions with answers at its end; None where the text has
    too few sentences or words to ask about.

    Args:
        text: running text.
        script: of `script_of`.
        generator: draws sentences, words and numbers; equal draws make equal exercises.
        questions: of each kind.
    """
    sentences = [part for part in _SENTENCE_END[script].split(text) if part.strip()]
    words = _words(text, script)
    if len(sentences) < 2 * questions or len(set(words)) < max(4, questions):
        return None
    wording = _WORDINGS[script]
    asked: list[str] = []
    asked += _continuations(sentences, script, wording, generator, questions)
    places, notes, about_notes = _notes(sentences, words, wording, generator, questions)
    asked += about_notes
    with_notes = list(sentences)
    for place, note in sorted(zip(places, notes, strict=True), reverse=True):
        with_notes.insert(place, note)
    joint = " " if script == "en" else ""
    body = joint.join(part.strip() for part in with_notes)
    asked += _counts(body, script, wording, generator, questions)
    generator.shuffle(asked)
    return "\n".join([body, wording.heading, *asked])


def _words(text: str, script: str) -> list[str]:
    """English words in lower case; Chinese pairs of characters, none overlapping another."""
    if script == "en":
        return [word.lower() for word in _ENGLISH_WORD.findall(text)]
    return _CHINESE_WORD.findall(text)


def _continuations(
    sentences: Sequence[str], script: str, wording: Wording, generator: random.Random, number: int
) -> list[str]:
    """Sentences that one opening alone begins."""
    length = _OPENING[script]
    openings: dict[str, int] = {}
    for sentence in sentences:
        opening = sentence.strip()[:length]
        openings[opening] = openings.get(opening, 0) + 1
    unique = [
        sentence.strip()
        for sentence in sentences
        if len(sentence.strip()) > 3 * length // 2 and openings[sentence.strip()[:length]] == 1
    ]
    chosen = generator.sample(unique, min(number, len(unique)))
    return [
        wording.continue_sentence.format(opening=sentence[:length], answer=sentence)
        for sentence in chosen
    ]


def _notes(
    sentences: Sequence[str],
    words: Sequence[str],
    wording: Wording,
    generator: random.Random,
    number: int,
) -> tuple[list[int], list[str], list[str]]:
    """Places of hidden notes, the notes, and the questions about them."""
    keys = generator.sample(sorted(set(words)), number)
    values = generator.sample(range(1_000, 100_000), number)
    places = [generator.randrange(len(sentences) + 1) for _ in keys]
    named = list(zip(keys, values, strict=True))
    notes = [wording.note.format(key=key, value=value) for key, value in named]
    asked = [wording.ask_note.format(key=key, answer=value) for key, value in named]
    return places, notes, asked


def _counts(
    text: str, script: str, wording: Wording, generator: random.Random, number: int
) -> list[str]:
    """How often words occur, and which of four is the most frequent.

    Chinese pairs are counted wherever the two characters follow one another in the text; English
    words as words, in either case.
    """
    words = _words(text, script)
    known = sorted(set(words))
    counted: Callable[[str], int] = words.count if script == "en" else text.count
    joint = ", " if script == "en" else "、"
    asked = [
        wording.count.format(word=word, answer=counted(word))
        for word in generator.sample(known, number)
    ]
    for _ in range(number):
        four = generator.sample(known, 4)
        ranked = sorted(four, key=counted, reverse=True)
        if counted(ranked[0]) > counted(ranked[1]):
            asked.append(wording.most_frequent.format(words=joint.join(four), answer=ranked[0]))
    return asked
