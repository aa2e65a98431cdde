"""Needles: facts hidden in a haystack, and what is asked about them.

The kinds are those of RULER (Hsieh et al. 2024, arXiv:2404.06654, section 3), in English and
Chinese, and an easier one: in `code` the number follows its key at once, so that copying what came
after the key is enough. Unlike in RULER one haystack holds the needles of many questions, so that a
long text is read once: the facts of other questions are further distractors for each.
"""

import itertools
import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

KINDS = ("code", "single", "multi_key", "multi_value", "multi_query", "variables", "common_words")

_ASCII_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_NAMES = {
    "en": re.findall(
        r"\w+",
        "Alder Amber Aspen Badger Basil Birch Bison Cedar Clover Condor Copper Coral Crane Daisy "
        "Ember Falcon Fern Finch Garnet Ginger Granite Hazel Heron Indigo Iris Ivory Jasmine "
        "Juniper Kestrel Laurel Lilac Linden Lotus Magnolia Maple Marble Merlin Mint Myrtle Nettle "
        "Olive Onyx Opal Orchid Osprey Otter Pearl Pepper Poplar Quartz Raven Robin Rowan Ruby "
        "Saffron Sage Sapphire Sparrow Spruce Swan Tansy Thistle Topaz Tulip Umber Violet Walnut "
        "Willow",
    ),
    "zh": list("松柏梅兰竹菊桃李杏梨枫桐柳槐榆桂荷莲菱芦鹤雁鹰燕鹊鸥鹭鹿狐熊虎豹狮象马牛羊龟鲸鲤"
               "玉珠金银铜铁锡石砂岩云雾雨雪霜露风雷星月"),
}  # fmt: skip


@dataclass(frozen=True)
class Wording:
    """How facts and questions sound in one language. Answers begin as a base model would go on."""

    joint: str
    code: str
    ask_code: str
    number: str
    ask_number: str
    ask_numbers: str
    ask_many: str
    names: str
    variable: str
    same_variable: str
    ask_variables: str
    words: str
    ask_words: str


WORDINGS = {
    "en": Wording(
        joint=" ",
        code="The code {key}{value} is valid.",
        ask_code="\n\nThe code {key}",
        number="The special number of {key} is {value}.",
        ask_number="\n\nQuestion: What is the special number of {key}?\n"
        "Answer: The special number of {key} is",
        ask_numbers="\n\nQuestion: What are all the special numbers of {key}?\n"
        "Answer: The special numbers of {key} are",
        ask_many="\n\nQuestion: What are the special numbers of {keys}?\n"
        "Answer: The special numbers of {keys} are",
        names=", ",
        variable="Let the variable {name} be {value}.",
        same_variable="Let the variable {name} be the same as {other}.",
        ask_variables="\n\nQuestion: Which variables have the value {value}?\n"
        "Answer: The variables with the value {value} are",
        words="The word list {key} reads: {words}.",
        ask_words="\n\nQuestion: Which three words are the most frequent in the word list {key}?\n"
        "Answer: The most frequent words in the word list {key} are",
    ),
    "zh": Wording(
        joint="",
        code="代码{key}{value}有效。",
        ask_code="\n\n代码{key}",
        number="{key}的特殊数字是{value}。",
        ask_number="\n\n问：{key}的特殊数字是多少？\n答：{key}的特殊数字是",
        ask_numbers="\n\n问：{key}的所有特殊数字是多少？\n答：{key}的特殊数字是",
        ask_many="\n\n问：{keys}的特殊数字分别是多少？\n答：{keys}的特殊数字分别是",
        names="、",
        variable="设变量{name}为{value}。",
        same_variable="设变量{name}与{other}相同。",
        ask_variables="\n\n问：哪些变量的值是{value}？\n答：值为{value}的变量是",
        words="词表{key}：{words}。",
        ask_words="\n\n问：词表{key}中出现最多的三个词是什么？\n答：词表{key}中出现最多的三个词是",
    ),
}


@dataclass(frozen=True)
class Question:
    """What is asked about facts hidden near one depth.

    Attributes:
        kind: one of `KINDS`.
        cell: number of its depth, from 0 at the beginning of the text.
        facts: sentences to hide.
        text: follows the haystack; the model goes on.
        expected: what the answer must contain.
        answer_tokens: of the longest answer that is read.
    """

    kind: str
    cell: int
    facts: tuple[str, ...]
    text: str
    expected: tuple[str, ...]
    answer_tokens: int


class NeedleMaker:
    """Draws questions none of whose keys or values comes twice.

    Args:
        language: `en` or `zh`.
        seed: of the draws.
    """

    def __init__(self, language: str, seed: str) -> None:
        self._language = language
        self._wording = WORDINGS[language]
        self._random = random.Random(seed)
        self._used: set[str] = set()

    def question(self, kind: str, cell: int) -> Question:
        """A new question of a kind about facts at a depth."""
        made: Question = getattr(self, f"_{kind}")(cell)
        return made

    def _code(self, cell: int) -> Question:
        key, value = self._key(), self._number()
        facts = (self._wording.code.format(key=key, value=value),)
        return Question("code", cell, facts, self._wording.ask_code.format(key=key), (value,), 16)

    def _single(self, cell: int) -> Question:
        key, value = self._key(), self._number()
        facts = (self._wording.number.format(key=key, value=value),)
        ask = self._wording.ask_number.format(key=key)
        return Question("single", cell, facts, ask, (value,), 16)

    def _multi_key(self, cell: int) -> Question:
        """Three other keys that share a part with the one that is asked for."""
        key = self._key()
        others = [self._key(like=key) for _ in range(3)]
        values = [self._number() for _ in range(4)]
        facts = tuple(
            self._wording.number.format(key=name, value=value)
            for name, value in zip([key, *others], values, strict=True)
        )
        ask = self._wording.ask_number.format(key=key)
        return Question("multi_key", cell, facts, ask, (values[0],), 16)

    def _multi_value(self, cell: int) -> Question:
        key, values = self._key(), tuple(self._number() for _ in range(4))
        facts = tuple(self._wording.number.format(key=key, value=value) for value in values)
        ask = self._wording.ask_numbers.format(key=key)
        return Question("multi_value", cell, facts, ask, values, 48)

    def _multi_query(self, cell: int) -> Question:
        keys = [self._key() for _ in range(4)]
        values = tuple(self._number() for _ in range(4))
        facts = tuple(
            self._wording.number.format(key=key, value=value)
            for key, value in zip(keys, values, strict=True)
        )
        ask = self._wording.ask_many.format(keys=self._wording.names.join(keys))
        return Question("multi_query", cell, facts, ask, values, 48)

    def _variables(self, cell: int) -> Question:
        """A chain of four: each is the one before it."""
        value = self._number()
        names = tuple(self._variable() for _ in range(4))
        first = self._wording.variable.format(name=names[0], value=value)
        facts = [first]
        for other, name in itertools.pairwise(names):
            facts.append(self._wording.same_variable.format(name=name, other=other))
        ask = self._wording.ask_variables.format(value=value)
        return Question("variables", cell, tuple(facts), ask, names, 48)

    def _common_words(self, cell: int) -> Question:
        """Three words occur three times, ten once."""
        chosen = self._random.sample(_NAMES[self._language], 13)
        words = chosen[:3] * 3 + chosen[3:]
        self._random.shuffle(words)
        key = self._key()
        fact = self._wording.words.format(key=key, words=self._wording.names.join(words))
        ask = self._wording.ask_words.format(key=key)
        return Question("common_words", cell, (fact,), ask, tuple(chosen[:3]), 32)

    def _key(self, like: str | None = None) -> str:
        """A name of two words (characters) and two letters, new; with the first part of `like`."""
        names = _NAMES[self._language]
        joint = " " if self._language == "en" else ""
        while True:
            first, second = self._random.choice(names), self._random.choice(names)
            if like is not None:
                first = like.split()[0] if joint else like[0]
            letters = "".join(self._random.choices(_ASCII_LETTERS, k=2))
            if self._is_new(made := joint.join([first, second, letters])):
                return made

    def _number(self) -> str:
        while True:
            if self._is_new(made := str(self._random.randrange(10_000, 100_000))):
                return made

    def _variable(self) -> str:
        while True:
            if self._is_new(made := "".join(self._random.choices(_ASCII_LETTERS, k=5))):
                return made

    def _is_new(self, text: str) -> bool:
        is_new = text not in self._used
        self._used.add(text)
        return is_new


def haystack_text(
    sentences: Sequence[str], questions: Sequence[Question], language: str, cells: int, seed: str
) -> str:
    """Sentences with the questions' facts at random places of their depths."""
    generator = random.Random(seed)
    placed: list[tuple[int, str]] = []
    for question in questions:
        for fact in question.facts:
            share = (question.cell + generator.random()) / cells
            placed.append((int(share * (len(sentences) + 1)), fact))
    found = list(sentences)
    for place, fact in sorted(placed, key=lambda pair: pair[0], reverse=True):
        found.insert(place, fact)
    return WORDINGS[language].joint.join(found)


def recall(answer: str, expected: Sequence[str]) -> float:
    """Share of `expected` that the answer contains, both normalised.

    A number counts as a whole: 12345 is not in 912345.
    """
    text = normalised(answer)
    return sum(_contains(text, normalised(item)) for item in expected) / len(expected)


def normalised(text: str) -> str:
    """Full-width forms made plain, lower case, single spaces, numbers without separators."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = re.sub(r"(?<=\d)[,_ ](?=\d{3}(?!\d))", "", plain)
    return re.sub(r"\s+", " ", plain).strip()


def _contains(text: str, item: str) -> bool:
    before, after = (r"(?<!\d)", r"(?!\d)") if item.isdigit() else ("", "")
    return re.search(before + re.escape(item) + after, text) is not None
