"""One small invented world: who and what is in it, and every fact that is true there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from operator import add, mul

from tongwen.sample.draw import Draw
from tongwen.sample.packaged import Language, packaged

FULL_SIZE_PAGES = 2_000
"""A sample web of this many pages covers the whole world; a smaller one a part of it."""

# Of a kind: a smaller world has too few wrong answers for a question with choices.
_FEWEST_SUBJECTS = 6
_WITH_ARTICLE = ("bridge", "museum", "festival", "company")
_IN_TITLE_MARKS = ("book", "song", "painting")
_DIGITS_ZH = "零一二三四五六七八九"


@dataclass(frozen=True)
class Name:
    """A name or a value in both languages."""

    en: str
    zh: str

    def of(self, language: Language) -> str:
        return self.en if language == "en" else self.zh


@dataclass(frozen=True)
class Subject:
    """Something that facts are about."""

    kind: str
    name: Name

    def shown(self, language: Language) -> str:
        """The name as in a title: "the Heron Bridge", 《七扇门》."""
        if language == "en":
            return f"the {self.name.en}" if self.kind in _WITH_ARTICLE else self.name.en
        return f"《{self.name.zh}》" if self.kind in _IN_TITLE_MARKS else self.name.zh


@dataclass(frozen=True)
class Fact:
    """One true statement; a subject and a relation have exactly one answer."""

    fact_id: str
    relation: str
    subject: Subject
    answer: Name
    accepted: tuple[tuple[str, ...], tuple[str, ...]]
    """Answers that count as right, English and Chinese, the plainest first."""

    def accepted_in(self, language: Language) -> tuple[str, ...]:
        return self.accepted[0] if language == "en" else self.accepted[1]


@dataclass(frozen=True)
class World:
    """All subjects and facts, in a fixed order."""

    subjects: tuple[Subject, ...]
    facts: tuple[Fact, ...]

    def facts_of(self, subject: Subject) -> list[Fact]:
        return [fact for fact in self.facts if fact.subject == subject]


def chinese_number(number: int) -> str:
    """A number from 0 to 9999 in Chinese words: 305 is 三百零五."""
    if number == 0:
        return _DIGITS_ZH[0]
    words, zero_pending = "", False
    for unit, size in (("千", 1000), ("百", 100), ("十", 10), ("", 1)):
        digit = number // size % 10
        if digit:
            words += ("零" if zero_pending else "") + _DIGITS_ZH[digit] + unit
        zero_pending = bool(words) and digit == 0
    return words.removeprefix("一") if words.startswith("一十") else words


class _Builder:
    """Draws the world from the packaged names."""

    def __init__(self, pages: int, seed: int) -> None:
        self.data = packaged("world")
        self.share = min(1.0, pages / FULL_SIZE_PAGES)
        self.seed = seed
        self.facts: list[Fact] = []
        self.subjects: list[Subject] = []

    def draw(self, purpose: str) -> Draw:
        return Draw(self.seed, "world", purpose)

    def names(self, kind: str) -> list[Name]:
        """The first names of a kind, as many as fit the size of the web."""
        rows = self.data[kind]
        count = min(len(rows), max(_FEWEST_SUBJECTS, round(len(rows) * self.share)))
        return [Name(row[0], row[1]) for row in rows[:count]]

    def values(self, kind: str) -> list[Name]:
        return [Name(row[0], row[1]) for row in self.data[kind]]

    def subjects_of(self, kind: str) -> list[Subject]:
        found = [Subject(kind, name) for name in self.names(kind)]
        self.subjects += found
        return found

    def tell(
        self,
        relation: str,
        subject: Subject,
        answer: Name,
        *more: tuple[Sequence[str], Sequence[str]],
    ) -> None:
        """Add a fact; `more` holds further accepted answers, English and Chinese."""
        english, chinese = [answer.en], [answer.zh]
        for extra_en, extra_zh in more:
            english += extra_en
            chinese += extra_zh
        slug = subject.name.en.lower().replace("'", "").replace(" ", "-")
        accepted = (tuple(dict.fromkeys(english)), tuple(dict.fromkeys(chinese)))
        self.facts.append(Fact(f"{relation}.{slug}", relation, subject, answer, accepted))

    def tell_number(self, relation: str, subject: Subject, number: int, en: str, zh: str) -> None:
        """Add a fact whose answer is a number with a unit behind it."""
        words = chinese_number(number)
        self.tell(
            relation,
            subject,
            Name(f"{number}{en}", f"{number}{zh}"),
            ([str(number)], [str(number), words + zh]),
        )

    def tell_year(self, relation: str, subject: Subject, year: int) -> None:
        words = "".join(_DIGITS_ZH[int(digit)] for digit in str(year))
        self.tell(relation, subject, Name(str(year), f"{year}年"), ([], [str(year), words + "年"]))

    def around(self, purpose: str, values: Sequence[Name]) -> Iterator[Name]:
        """Values in a drawn order, again and again, so that all are about equally frequent."""
        return cycle(self.draw(purpose).shuffled(values))


def _places(build: _Builder, towns: list[Subject], makers: dict[str, list[Name]]) -> None:
    town_names = [town.name for town in towns]
    years = build.draw("town years").sample(range(1104, 1699), len(towns))
    rivers = build.around("rivers", build.values("river"))
    specialties = build.around("specialties", build.values("specialty"))
    for town, year in zip(towns, years, strict=True):
        build.tell_year("town_founded", town, year)
        build.tell("town_river", town, next(rivers))
        build.tell("town_specialty", town, next(specialties))
    bridges = build.subjects_of("bridge")
    lengths = build.draw("lengths").sample(range(60, 620, 20), len(bridges))
    builders = build.around("builders", makers["builder"])
    for bridge, length in zip(bridges, lengths, strict=True):
        build.tell_number("bridge_length", bridge, length, " metres", "米")
        build.tell("bridge_builder", bridge, next(builders))
    tickets = build.draw("tickets")
    hosts = build.around("museum towns", town_names)
    for museum in build.subjects_of("museum"):
        build.tell("museum_town", museum, next(hosts))
        price = tickets.between(2, 19)
        build.tell_number("museum_ticket", museum, price, " silver coins", "枚银币")
    mountains = build.subjects_of("mountain")
    heights = build.draw("heights").sample(range(900, 4300, 100), len(mountains))
    for mountain, height in zip(mountains, heights, strict=True):
        build.tell_number("mountain_height", mountain, height, " metres", "米")
    months = build.around("months", build.values("month"))
    hosts = build.around("festival towns", town_names)
    for festival in build.subjects_of("festival"):
        build.tell("festival_month", festival, next(months))
        build.tell("festival_town", festival, next(hosts))


def _people(build: _Builder, towns: list[Subject]) -> dict[str, list[Name]]:
    """Add the facts about people; returns the names by profession."""
    makers: dict[str, list[Name]] = {}
    homes = build.around("homes", [town.name for town in towns])
    professions = {row[0]: row[2] for row in build.data["person"]}
    for person in build.subjects_of("person"):
        profession = professions[person.name.en]
        makers.setdefault(profession, []).append(person.name)
        build.tell("person_birthplace", person, next(homes))
        build.tell("person_profession", person, Name(*build.data["profession"][profession]))
    return makers


def _works(build: _Builder, makers: dict[str, list[Name]]) -> None:
    books = build.subjects_of("book")
    years = build.draw("book years").sample(range(1823, 1979), len(books))
    writers = build.around("writers", makers["writer"])
    for book, year in zip(books, years, strict=True):
        build.tell("book_author", book, next(writers))
        build.tell_year("book_year", book, year)
    for kind, relation, trade in (
        ("song", "song_singer", "singer"),
        ("painting", "painting_painter", "painter"),
        ("company", "company_founder", "merchant"),
    ):
        people = build.around(relation, makers[trade])
        for work in build.subjects_of(kind):
            build.tell(relation, work, next(people))


def _market_and_school(build: _Builder) -> None:
    prices = build.draw("prices")
    for goods in build.subjects_of("goods"):
        price = prices.between(3, 59)
        build.tell_number("goods_price", goods, price, " silver coins", "枚银币")
    for word in build.subjects_of("word"):
        build.tell("word_translation", word, Name(word.name.zh, word.name.en))
    pairs = [(first, second) for first in range(2, 10) for second in range(2, 10)]
    count = max(_FEWEST_SUBJECTS // 2, round(16 * build.share))
    for english, chinese, total in (
        ("plus", "加", add),
        ("times", "乘", mul),
    ):
        for first, second in build.draw(english).sample(pairs, count):
            name = Name(f"{first} {english} {second}", f"{first}{chinese}{second}")
            subject = Subject("sum", name)
            build.subjects.append(subject)
            build.tell_number("arithmetic", subject, total(first, second), "", "")


def build_world(*, pages: int, seed: int) -> World:
    """The world that a sample web of `pages` pages covers: 564 facts from 2,000 pages on."""
    build = _Builder(pages, seed)
    towns = build.subjects_of("town")
    makers = _people(build, towns)
    _places(build, towns, makers)
    _works(build, makers)
    _market_and_school(build)
    return World(tuple(build.subjects), tuple(build.facts))
