"""Semantic clusters, and a sheet of samples of each for a person to judge.

Yi grouped its text by unsupervised clustering and had the clusters' quality labelled (01.AI 2024,
arXiv 2403.04652, section 2.1). Here: hashed TF-IDF, its strongest directions, k-means
(`embedding`), for each language. `clusters.jsonl` has a line a cluster with `label` null; a
person writes "keep", "drop" or a weight there and gives the file back.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.scorers.embedding import Embedding, fit_embedding, k_means, nearest
from tongwen.curate.scorers.folder import ScorerFolder, TrainedScorer
from tongwen.curate.scorers.hashing import Units, scorer_units
from tongwen.curate.scorers.options import TrainingOptions
from tongwen.curate.scorers.quality import trained_languages
from tongwen.curate.scorers.samples import LANGUAGES, TEST, TRAIN, Sample, Samples
from tongwen.errors import InputError

SHEET = "clusters.jsonl"
_BITS = 15  # at most: directions take 256 bytes a bucket
_DIMENSIONS = 64  # 8 MiB of directions at 15 bits
_SHOWN_CHARACTERS = 400  # of a sample: enough to judge it at a glance
_SHOWN_TERMS = 12  # of a cluster: one line of the sheet
_TERM_TEXTS = 200  # of a cluster, whose terms are counted: bounds the time
_MOST_WEIGHT = 100.0  # a larger one is a slip: the mix would be that cluster alone
_WORDS = re.compile(r"[^\W\d_\u3400-\u9fff]{3,}")
_HAN = re.compile(r"[\u3400-\u9fff]+")


def train_clusters(samples: Samples, options: TrainingOptions) -> TrainedScorer:
    """Cluster all samples, whatever their labels. Clusters of English come first in the count.

    Raises:
        InputError: no language has enough texts.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    details: dict[str, Any] = {}
    report: dict[str, Any] = {}
    lines: list[str] = []
    first = 0
    for language in LANGUAGES:
        pieces = samples.of(language, TRAIN)
        if len(pieces) < options.fewest_pieces:
            report[language] = {
                "not_trained": f"{len(pieces)} training pieces, "
                f"at least {options.fewest_pieces} are needed"
            }
            continue
        units = [scorer_units(piece.text) for piece in pieces]
        importance, directions = fit_embedding(
            units, bits=min(_BITS, options.bucket_bits), dimensions=_DIMENSIONS, seed=options.seed
        )
        embedding = Embedding(importance, directions)
        points = np.stack([embedding.point(item) for item in units])
        number = min(options.clusters, max(2, len(pieces) // 4))
        centers = k_means(points, number, options.seed)
        places, products = nearest(points, centers)
        arrays |= {
            f"{language}_importance": importance,
            f"{language}_directions": directions,
            f"{language}_centers": centers,
        }
        details[language] = {"first": first, "clusters": number}
        tested = samples.of(language, TEST)
        report[language] = _report(embedding, centers, products, tested)
        lines += _sheet(pieces, places, first, number, language, options.cluster_samples)
        first += number
    languages = trained_languages(details, report)
    return TrainedScorer(
        "clusters", languages, arrays, details, report, {SHEET: "\n".join(lines) + "\n"}
    )


def _report(
    embedding: Embedding,
    centers: npt.NDArray[np.float32],
    products: npt.NDArray[np.float32],
    tested: list[Sample],
) -> dict[str, Any]:
    """How near texts lie to their centers, trained on and held out, and how well clusters agree
    with the files, or labels, that held-out texts are from.
    """
    found: dict[str, Any] = {
        "clusters": len(centers),
        "mean_cosine_training": round(float(products.mean()), 4),
    }
    if not tested:
        return found
    points = np.stack([embedding.point(scorer_units(piece.text)) for piece in tested])
    places, held_out = nearest(points, centers)
    labels = sorted({piece.label for piece in tested})
    found["mean_cosine_held_out"] = round(float(held_out.mean()), 4)
    if len(labels) > 1:
        actual = np.array([labels.index(piece.label) for piece in tested])
        found["agreement_with_labels"] = round(agreement(places, actual), 4)
        found["labels"] = labels
    return found


def agreement(found: npt.NDArray[np.int64], actual: npt.NDArray[np.int64]) -> float:
    """Normalised mutual information of two partitions, 0 to 1 (Strehl and Ghosh 2002): divided by
    the root of the product of both entropies.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(actual, found, average_method="geometric"))


def _terms(text: str) -> set[str]:
    found = set(_WORDS.findall(text.lower()))
    for run in _HAN.findall(text):
        found.update(run[place : place + 2] for place in range(len(run) - 1))
    return found


def _sheet(
    pieces: list[Sample],
    places: npt.NDArray[np.int64],
    first: int,
    number: int,
    language: str,
    shown: int,
) -> list[str]:
    """A JSON line for each cluster; samples are the pieces with the smallest keys."""
    chosen = [np.flatnonzero(places == place)[:_TERM_TEXTS].tolist() for place in range(number)]
    by_cluster: list[Counter[str]] = []
    everywhere: Counter[str] = Counter()
    for members in chosen:
        counts: Counter[str] = Counter()
        for member in members:
            counts.update(_terms(pieces[member].text))
        by_cluster.append(counts)
        everywhere.update(counts)
    total = sum(map(len, chosen))
    lines = []
    for place, (members, counts) in enumerate(zip(chosen, by_cluster, strict=True)):
        size = int((places == place).sum())
        weights = {
            term: count / len(members) * math.log(count / len(members) * total / everywhere[term])
            for term, count in counts.items()
            if count > 1 or len(members) == 1
        }
        top = sorted(weights, key=lambda term: (-weights[term], term))[:_SHOWN_TERMS]
        row = {
            "cluster": first + place,
            "language": language,
            "label": None,
            "size": size,
            "share": round(size / len(places), 6),
            "top_terms": top,
            "samples": [
                {"name": pieces[member].name, "text": pieces[member].text[:_SHOWN_CHARACTERS]}
                for member in members[:shown]
            ],
        }
        lines.append(json.dumps(row, ensure_ascii=False))
    return lines


def cluster_weights(
    folders: Sequence[ScorerFolder], labels: str | None, resolve: Callable[[str], Path]
) -> dict[int, float]:
    """The weights that the user's labels give to clusters; none without labels.

    Raises:
        InputError: there are labels but no clusters scorer, or the labels are not its.
    """
    if labels is None:
        return {}
    for folder in folders:
        if folder.kind == "clusters":
            return read_cluster_labels(resolve(labels), folder)
    raise InputError(
        f"there are cluster labels, {labels}, but curate.scorers has no clusters scorer",
        hint="name the folder of the scorer that the labels are for",
    )


def read_cluster_labels(path: Path, folder: ScorerFolder) -> dict[int, float]:
    """Weights of clusters from a sheet given back: keep is 1, drop 0; those without a label are
    not in it.

    Raises:
        InputError: the file is no sheet of this scorer, or a label is none.
    """
    known = {
        detail["first"] + place
        for detail in (folder.details[name] for name in folder.languages)
        for place in range(detail["clusters"])
    }
    weights: dict[int, float] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [(number, json.loads(line)) for number, line in enumerate(lines, 1) if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the cluster labels {path}: {error}") from error
    for number, row in rows:
        cluster = row.get("cluster") if isinstance(row, dict) else None
        if not isinstance(cluster, int) or isinstance(cluster, bool) or cluster not in known:
            raise InputError(
                f"line {number} of {path} names cluster {cluster!r}, which {folder.path} has not",
                hint=f"label the {SHEET} of that folder",
            )
        label = row.get("label")
        if label is None:
            continue
        weight = {"keep": 1.0, "drop": 0.0}.get(label, label) if isinstance(label, str) else label
        if (
            isinstance(weight, bool)
            or not isinstance(weight, int | float)
            or not (0 <= weight <= _MOST_WEIGHT)
        ):
            raise InputError(
                f"line {number} of {path} has the label {label!r}",
                hint=f'write "keep", "drop" or a weight from 0 to {_MOST_WEIGHT:g}',
            )
        if weights.get(cluster, weight) != weight:
            raise InputError(f"line {number} of {path} labels cluster {cluster} a second time")
        weights[cluster] = float(weight)
    return weights


class ClusterScorer:
    """Gives the column `cluster`."""

    def __init__(self, folder: ScorerFolder) -> None:
        self._embeddings = {
            name: Embedding(
                folder.arrays[f"{name}_importance"], folder.arrays[f"{name}_directions"]
            )
            for name in folder.languages
        }
        self._centers = {name: np.array(folder.arrays[f"{name}_centers"])
                         for name in folder.languages}  # fmt: skip
        self._first = {name: folder.details[name]["first"] for name in folder.languages}

    def score(self, text: str, units: Units, language: str) -> dict[str, Any]:
        """The values for one text; none when no word of it is known."""
        if language not in self._embeddings:
            return {}
        point = self._embeddings[language].point(units)
        if not point.any():
            return {}
        places, _ = nearest(point[None, :], self._centers[language])
        return {"cluster": self._first[language] + int(places[0])}
