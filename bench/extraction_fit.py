"""Fit the thresholds of main-content extraction, and say what they give on pages they never saw.

    python bench/extraction_fit.py CORPUS

CORPUS is that of `bench/extraction.py`. Pages are split by host into folds. For each fold the
thresholds are chosen on the other folds, among the defaults and every change of one of them by a
quarter down or up: the highest mean over languages of F1. The fold's own pages are scored with
these. The names of classes were chosen by hand and are not refitted.
"""

import argparse
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from zlib import crc32

from gold import GoldPage, gold_pages, word_scores

from tongwen.curate.html.content import Thresholds
from tongwen.curate.html.main_content import extracted
from tongwen.curate.html.page import parse

_FOLDS = 5
_STEPS = (0.75, 1.25)


def candidates() -> dict[str, Thresholds]:
    """The defaults and every change of one threshold, by name."""
    found = {"defaults": Thresholds()}
    for name, value in Thresholds()._asdict().items():
        for step in _STEPS:
            changed = value * step if value > 1 else min(1.0, value * step)
            found[f"{name} {changed:g}"] = Thresholds()._replace(**{name: changed})
    return found


def language_means(
    scores: list[float], languages: list[str], chosen: list[int]
) -> dict[str, float]:
    """Mean of the chosen pages' scores in each language."""
    groups: dict[str, list[float]] = defaultdict(list)
    for page in chosen:
        groups[languages[page]].append(scores[page])
    return {name: sum(group) / len(group) for name, group in sorted(groups.items())}


class Fitted(NamedTuple):
    """What a fit gave.

    Attributes:
        texts: of each page, read with thresholds chosen without any page of its host.
        defaults, held_out: F1 of each page, with the defaults and of `texts`.
        choices: for each fold its pages and what was chosen on the others.
    """

    texts: list[str]
    defaults: list[float]
    held_out: list[float]
    choices: list[tuple[int, str]]


def fit(rows: list[GoldPage]) -> Fitted:
    """Choose thresholds on all folds but one, for each fold."""
    languages = [row.language for row in rows]
    folds = [crc32((urlsplit(row.url).hostname or row.url).encode()) % _FOLDS for row in rows]
    pages = [parse(row.html) for row in rows]
    scores = {
        name: [
            word_scores(extracted(page, thresholds).text, row.text)[2]
            for page, row in zip(pages, rows, strict=True)
        ]
        for name, thresholds in candidates().items()
    }
    texts, held_out, choices = [""] * len(rows), [0.0] * len(rows), []
    known = candidates()
    for fold in range(_FOLDS):
        train = [page for page in range(len(rows)) if folds[page] != fold]
        means = {name: language_means(values, languages, train) for name, values in scores.items()}
        best = max(means, key=lambda name: sum(means[name].values()))
        for page in range(len(rows)):
            if folds[page] == fold:
                held_out[page] = scores[best][page]
                texts[page] = extracted(pages[page], known[best]).text
        choices.append((folds.count(fold), best))
    return Fitted(texts, scores["defaults"], held_out, choices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    rows = gold_pages(parser.parse_args().corpus)
    languages = [row.language for row in rows]
    fitted = fit(rows)
    for fold, (count, best) in enumerate(fitted.choices):
        print(f"fold {fold}: {count} pages, chosen on the others: {best}")
    every = list(range(len(rows)))
    print(f"pages: {dict(sorted(Counter(languages).items()))}")
    print(f"F1, defaults:        {language_means(fitted.defaults, languages, every)}")
    print(f"F1, cross-validated: {language_means(fitted.held_out, languages, every)}")


if __name__ == "__main__":
    main()
