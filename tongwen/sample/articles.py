"""All articles of one language: every fact is on several pages, each time among other facts."""

from collections.abc import Sequence
from math import ceil

from tongwen.sample.draw import Draw
from tongwen.sample.packaged import Language
from tongwen.sample.prose import GENRES, THEMES, Article, Group, Tellings, write_article
from tongwen.sample.world import World

FEWEST_TELLINGS = 8
"""Every fact is on at least this many pages in each language."""

_FEWEST_FACTS = 7  # so that an article has several paragraphs
_ASIDE_SHARE = 0.3  # a page about one subject names others, as real pages do


class _Deck:
    """Subjects in a drawn order; when all were dealt, they are shuffled and dealt again."""

    def __init__(self, groups: Sequence[Group], draw: Draw) -> None:
        self.groups = groups
        self._draw = draw
        self._left: list[Group] = []

    def deal(self, fact_count: int) -> list[Group]:
        """Different subjects with at least `fact_count` facts together, or all there are."""
        dealt: list[Group] = []
        postponed: list[Group] = []
        while sum(len(facts) for _, facts in dealt) < fact_count and len(dealt) < len(self.groups):
            if not self._left:
                self._left = self._draw.shuffled(self.groups)
            group = self._left.pop()
            (postponed if group in dealt else dealt).append(group)
        self._left += reversed(postponed)
        return dealt


def _shares(total: int, weights: Sequence[int]) -> list[int]:
    """`total` split in proportion to `weights` (largest remainders), at least 1 each."""
    exact = [total * weight / sum(weights) for weight in weights]
    parts = [max(1, int(part)) for part in exact]
    by_remainder = sorted(range(len(exact)), key=lambda each: int(exact[each]) - exact[each])
    for each in by_remainder[: total - sum(parts)]:
        parts[each] += 1
    return parts


def write_articles(world: World, language: Language, count: int, *, seed: int) -> list[Article]:
    """`count` articles with every fact of the world at least `FEWEST_TELLINGS` times."""
    groups = {
        theme: [(each, world.facts_of(each)) for each in world.subjects if each.kind in kinds]
        for theme, kinds in THEMES.items()
    }
    weights = [sum(len(facts) for _, facts in groups[theme]) for theme in THEMES]
    decks = {theme: _Deck(groups[theme], Draw(seed, "deck", language, theme)) for theme in THEMES}
    tellings = Tellings(language)
    articles = []
    for theme, weight, pages in zip(THEMES, weights, _shares(count, weights), strict=True):
        least = max(_FEWEST_FACTS, ceil(FEWEST_TELLINGS * weight / pages))
        for number in range(pages):
            draw = Draw(seed, "article", language, theme, number)
            genre = draw.pick(GENRES[theme])
            dealt = decks[theme].deal(least + draw.below(2))
            asides = []
            if draw.chance(_ASIDE_SHARE):
                other = draw.pick([each for each in THEMES if each != theme])
                asides = decks[other].deal(1)
            articles.append(write_article(genre, dealt, asides, tellings, draw))
    return Draw(seed, "article order", language).shuffled(articles)
