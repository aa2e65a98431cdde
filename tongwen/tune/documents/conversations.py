"""General conversations in both languages, for the shape of a conversation; no facts to speak of.

Our own, from `conversations.toml`: the same bytes always, some four hundred dialogues.
"""

import tomllib
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

Turns = tuple[str, ...]
"""Question, answer, question, answer."""

_REWRITES = {
    "en": {
        "shorten": ("Shorten this sentence: {long}", "Say it in fewer words: {long}"),
        "translate": ("Translate into Chinese: {long}", "What is this in Chinese? {long}"),
        "then": ("And in Chinese?", "Shorter, please."),
    },
    "zh": {
        "shorten": ("把这句话缩短：{long}", "用更少的字说：{long}"),
        "translate": ("翻译成英文：{long}", "这句话用英文怎么说？{long}"),
        "then": ("用英文呢？", "请短一点。"),
    },
}
_LISTS = {
    "en": {
        "ask": ("Name {number} {topic}.", "Give me a list of {number} {topic}."),
        "numbers": {3: "three", 5: "five"},
        "then": (
            ("Which was the first?", "The first was {first}."),
            ("Only the last one, please.", "{last}"),
            ("Write them in one line.", "{line}"),
            ("And in Chinese?", "{other}"),
        ),
        "comma": ", ",
    },
    "zh": {
        "ask": ("说出{number}种{topic}。", "请列出{number}种{topic}。"),
        "numbers": {3: "三", 5: "五"},
        "then": (
            ("第一个是什么？", "第一个是{first}。"),
            ("只要最后一个。", "{last}"),
            ("写成一行。", "{line}"),
            ("用英文呢？", "{other}"),
        ),
        "comma": "、",
    },
}


def conversations() -> list[dict[str, Any]]:
    """All of them as rows of `messages`."""
    data = tomllib.loads(
        (files("tongwen.tune.documents") / "conversations.toml").read_text(encoding="utf-8")
    )
    found = dict.fromkeys(turns for language in ("en", "zh") for turns in _all(data, language))
    return [dialogue_row(turns) for turns in found]


def dialogue_row(turns: Turns, **fields: str) -> dict[str, Any]:
    """Questions and answers in our dialogue format, with fields beside the messages."""
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(turns)]
    return {"messages": messages, **fields}


def _all(data: dict[str, Any], language: str) -> Iterator[Turns]:
    for kind in ("single", "refusal"):
        for talk in data[language][kind]:
            answers = talk["answers"]
            for number, question in enumerate(talk["questions"]):
                yield question, answers[number % len(answers)]
    yield from _after_a_greeting(data[language])
    for sentence in data["sentence"]:
        yield from _rewrites(sentence, language)
    for topic in data["topic"]:
        yield from _lists(topic, language)


def _after_a_greeting(own: dict[str, Any]) -> Iterator[Turns]:
    """A greeting and then something else, so that a conversation has more than one turn."""
    greeting, thanks = own["single"][0], own["single"][1]
    rest = [*own["single"][3:], *own["refusal"]]
    for number, talk in enumerate(rest):
        place = number % len(greeting["questions"])
        hello = greeting["questions"][place], greeting["answers"][place % len(greeting["answers"])]
        yield (*hello, talk["questions"][0], talk["answers"][0])
        last = thanks["questions"][number % len(thanks["questions"])], thanks["answers"][0]
        yield (talk["questions"][1], talk["answers"][-1], *last)


def _rewrites(sentence: dict[str, list[str]], language: str) -> Iterator[Turns]:
    other = "zh" if language == "en" else "en"
    (long, short), words = sentence[language], _REWRITES[language]
    for request in words["shorten"]:
        yield request.format(long=long), short
    for request in words["translate"]:
        yield request.format(long=long), sentence[other][0]
    in_other, shorter = words["then"]
    yield words["shorten"][0].format(long=long), short, in_other, sentence[other][1]
    yield words["translate"][0].format(long=long), sentence[other][0], shorter, sentence[other][1]


def _lists(topic: dict[str, list[str]], language: str) -> Iterator[Turns]:
    other = "zh" if language == "en" else "en"
    words: dict[str, Any] = _LISTS[language]
    name, *items = topic[language]
    for place, number in enumerate(words["numbers"]):
        asked = words["ask"][place].format(number=words["numbers"][number], topic=name)
        shown = items[:number]
        answer = _numbered(shown)
        yield asked, answer
        for question, reply in words["then"]:
            said = reply.format(
                first=shown[0], last=shown[-1], line=words["comma"].join(shown),
                other=_numbered(topic[other][1 : number + 1]),
            )  # fmt: skip
            yield asked, answer, question, said


def _numbered(items: list[str]) -> str:
    return "\n".join(f"{number}. {item}" for number, item in enumerate(items, start=1))
