"""Short calls of every kernel that a curation uses, so that they are compiled before work starts.

Numba compiles at the first call, for the types of its arguments. In a worker that would count as
the time of the first page, which the runner would take for one that hangs, and every worker would
compile the same.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from tongwen.curate.contamination.grams import find_grams, gram_keys, make_anchors, make_table
from tongwen.curate.contamination.grams import units_of_text as contamination_units
from tongwen.curate.duplicates.minhash import similarity, sketch_texts
from tongwen.curate.duplicates.union_find import join_links, settle
from tongwen.curate.extract.record import read_trial_page
from tongwen.curate.repeats.span_kernels import anchors, copies_of_first, sentence_cuts, windows
from tongwen.curate.repeats.units import lines_of, placed_units
from tongwen.curate.rules.measures import measure
from tongwen.curate.rules.personal import personal_edits
from tongwen.curate.scorers.folder import open_folder
from tongwen.curate.scorers.scoring import Scorers
from tongwen.curate.settings import CurateSettings

Trial = Callable[[], object]

_TEXTS = {
    "en": "On a fresh machine the kernels are compiled on this text. Nothing of it is kept.",
    "zh-Hans": "全新的机器在这一段文字上编译内核，其内容不会保留。",
}


def trials(settings: CurateSettings, scorers: Sequence[Path]) -> dict[str, Trial]:
    """What a curation with these settings calls, by name.

    Args:
        settings: of the recipe.
        scorers: folders of its scorers.
    """
    found: dict[str, Trial] = {"read": read_trial_page, "measure": _measure, "sketch": _sketch}
    if settings.duplicates.similarity is not None:
        found["compare"] = _compare
    if settings.repeats.templates or settings.repeats.paragraphs:
        found["lines"] = _lines
    if settings.repeats.spans:
        found["spans"] = _spans
    if settings.contamination.benchmarks:
        found["contamination"] = _contamination
    if scorers:
        folders = [open_folder(path) for path in scorers]
        kinds = sorted({folder.kind for folder in folders})
        found["-".join(("score", *kinds))] = partial(_score, scorers)
    return found


def _measure() -> None:
    for lang, text in _TEXTS.items():
        measure(text, lang)
        personal_edits(text)


def _sketch() -> None:
    sketch_texts(
        pa.array(list(_TEXTS.values()), pa.large_string()),
        np.array([5, 10]), hashes=8, seed=1,
    )  # fmt: skip


def _compare() -> None:
    rows = np.zeros(1, [("first", "<u8"), ("signature", "<u4", (8,))])
    similarity(rows["signature"], np.zeros((1, 8), np.uint32))
    parents = np.arange(2)
    ends = np.zeros(1, np.int64)
    join_links(parents, np.zeros(2, np.uint16), ends, ends + 1, np.zeros(1, np.uint16))
    settle(parents)


def _lines() -> None:
    for text in _TEXTS.values():
        lines_of(text)


def _spans() -> None:
    for text in _TEXTS.values():
        units = placed_units(text)
        keys, places = anchors(units.hashes, 6)
        windows(units.hashes, 6, places)
        copies_of_first(keys, np.argsort(keys), keys, keys, keys, places.astype(np.uint32))
        sentence_cuts(text, units, np.ones(len(units.hashes), bool), 3)


def _contamination() -> None:
    lengths = np.array([3])
    for text in (*_TEXTS.values(), "a ligature: ﬁ"):
        hashes = contamination_units(text).hashes
        first = np.zeros(1, np.int64)
        keys, begins = gram_keys(hashes, first, first + len(hashes), first + 3, 3)
        known = np.unique(keys)
        table = make_table(known)
        anchors_ = make_anchors(begins, np.zeros(len(begins), np.int64))
        for array in (known, table, lengths, *anchors_):
            array.setflags(write=False)  # as those of an index that is mapped into memory
        find_grams(hashes, lengths, anchors_, table, known)


def _score(paths: Sequence[Path]) -> None:
    scorers = Scorers([open_folder(path) for path in paths])
    for lang, text in _TEXTS.items():
        scorers.score(text, lang)
