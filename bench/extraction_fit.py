"""Texts of gold pages by trees that learned nothing from their hosts.

    python bench/extraction_fit.py CORPUS --pages PAGES --folds DIR

CORPUS and PAGES are those of `bench/gold.py`. Pages are split by host into folds; the trees of a
fold learn from the other folds, from pages of a source that states a licence, and are kept in DIR
for later runs (`bench/extraction.py --folds DIR`).
"""

import argparse
from pathlib import Path
from zlib import crc32

from gold import as_training, teaching_pages

from tongwen.curate.html.features import FEATURES, SECONDS
from tongwen.curate.html.forest import Layout, layouts_of, read_forests, write_forests
from tongwen.curate.html.training import Drawn, draw, train_extractor

FOLDS = 5


def fold_of(host: str) -> int:
    """By host, so that no site is in two folds."""
    return crc32(host.encode()) % FOLDS


def trees_of_folds(corpus: Path, typed: Path, folder: Path) -> list[tuple[Layout, ...]]:
    """For each fold trees that know none of its hosts, read from `folder` or trained."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    drawn: list[Drawn] = []
    for fold in range(FOLDS):
        path = folder / f"fold-{fold}.weights"
        if not path.exists():
            drawn = drawn or draw(map(as_training, teaching_pages(corpus, typed)))
            trained = train_extractor([page for page in drawn if fold_of(page.host) != fold])
            write_forests(path, trained.forests, FEATURES + SECONDS)
            print(f"fold {fold}: {trained.pages} pages of {trained.hosts} hosts", flush=True)
        found.append(layouts_of(read_forests(path, FEATURES + SECONDS)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--pages", type=Path, required=True)
    parser.add_argument("--folds", type=Path, required=True)
    options = parser.parse_args()
    trees_of_folds(options.corpus, options.pages, options.folds)


if __name__ == "__main__":
    main()
