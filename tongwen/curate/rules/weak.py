"""Weak rules: signs of a bad page that good ones have too, so that one kind of sign is not enough.

A technical article without function words, a poem of short lines, a list of questions that repeats
its phrases: each fails a rule made for essays. Menus, link lists and product grids fail rules of
several kinds. A weak rule therefore drops a page only with a weak rule of another kind; the rules
that measure the same thing in several ways, such as repetition by n-grams of six sizes, are one
kind. All other rules are strong and drop alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.rules.rule import Rule

_WORDS, _SIGNS, _SENTENCES, _LINES, _REPETITION, _FRAME = (
    "words", "signs", "sentences", "lines", "repetition", "frame",
)  # fmt: skip
_REPEATED_LINES = ("maximum_duplicate_line_share", "maximum_duplicate_line_character_share")

WEAK_KINDS: Mapping[str, Mapping[str, str]] = {
    "english": {
        "minimum_mean_word_characters": _WORDS,
        "maximum_mean_word_characters": _WORDS,
        "minimum_function_words": _WORDS,
        "minimum_entropy_bits": _WORDS,
        "maximum_symbols_per_word": _SIGNS,
        "minimum_alphabetic_word_share": _SIGNS,
        "maximum_ellipsis_line_share": _SENTENCES,
        "minimum_sentences": _SENTENCES,
        "minimum_terminal_line_share": _SENTENCES,
        "maximum_bullet_line_share": _LINES,
        "maximum_short_line_share": _LINES,
        "maximum_newlines_per_word": _LINES,
        "maximum_boilerplate_share": _FRAME,  # of what was cut: the rest can be a whole page
        **dict.fromkeys(_REPEATED_LINES, _REPETITION),
        **{f"maximum_top_{size}_gram_share": _REPETITION for size in (2, 3, 4)},
        **{f"maximum_repeated_{size}_gram_share": _REPETITION for size in (5, 6, 7, 8, 9)},
    },
    "chinese": {
        "minimum_function_words": _WORDS,
        "minimum_entropy_bits": _WORDS,
        "minimum_han_share": _SIGNS,
        "maximum_punctuation_share": _SIGNS,
        "maximum_digit_share": _SIGNS,
        "maximum_symbol_share": _SIGNS,
        "minimum_punctuation_share": _SENTENCES,
        "minimum_terminal_line_share": _SENTENCES,
        "maximum_ellipsis_line_share": _SENTENCES,
        "minimum_mean_line_characters": _LINES,
        "maximum_newlines_per_character": _LINES,
        "maximum_boilerplate_share": _FRAME,  # of what was cut: the rest can be a whole page
        **dict.fromkeys(_REPEATED_LINES, _REPETITION),
        **{f"maximum_top_{size}_gram_share": _REPETITION for size in (4, 6, 8)},
        **{f"maximum_repeated_{size}_gram_share": _REPETITION for size in (10, 15)},
    },
}
"""Section of the settings -> weak rule -> its kind. Rules of other sections are all strong."""


class Outcome(NamedTuple):
    """One rule held against many documents.

    Attributes:
        rule: the rule.
        values: what was measured; NaN where it was not.
        outside: whether the value is outside the threshold.
        drops: whether that drops the document.
        alone: whether nothing else would.
    """

    rule: Rule
    values: npt.NDArray[np.float64]
    outside: npt.NDArray[np.bool_]
    drops: npt.NDArray[np.bool_]
    alone: npt.NDArray[np.bool_]


def outcomes(
    section: str,
    rules: Iterable[Rule],
    column: Callable[[str], npt.NDArray[np.float64]],
    *,
    are_weak_rules_weak: bool = True,
) -> list[Outcome]:
    """All rules of one section held against the same documents.

    Args:
        section: of the settings.
        rules: in the order in which they give reasons.
        column: the values of a name, one a document.
        are_weak_rules_weak: if not, every rule drops alone.
    """
    kinds = WEAK_KINDS.get(section, {}) if are_weak_rules_weak else {}
    held = [(rule, values, rule.is_outside(values)) for rule in rules
            for values in (column(rule.value),)]  # fmt: skip
    if not held:
        return []
    nothing = np.zeros(len(held[0][1]), np.int64)
    strong = sum((outside for rule, _, outside in held if rule.name not in kinds), nothing)
    by_kind = {
        kind: sum((outside for rule, _, outside in held if kinds.get(rule.name) == kind), nothing)
        for kind in dict.fromkeys(kinds.values())
    }
    number = sum((count > 0 for count in by_kind.values()), nothing)
    found = []
    for rule, values, outside in held:
        kind = kinds.get(rule.name)
        if kind is None:
            drops, alone = outside, outside & (strong == 1) & (number < 2)
        else:
            drops = outside & (number >= 2)
            alone = drops & (strong == 0) & (number == 2) & (by_kind[kind] == 1)
        found.append(Outcome(rule, values, outside, drops, alone))
    return found


def failed_rules(
    section: str,
    rules: Sequence[Rule],
    values: Mapping[str, float | None],
    *,
    are_weak_rules_weak: bool = True,
) -> set[str]:
    """Names of the rules that drop one document."""

    def column(name: str) -> npt.NDArray[np.float64]:
        return np.array([values.get(name)], np.float64)

    held = outcomes(section, rules, column, are_weak_rules_weak=are_weak_rules_weak)
    return {outcome.rule.name for outcome in held if outcome.drops[0]}
