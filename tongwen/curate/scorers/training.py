"""One command's work: read the user's files, train a scorer, write its folder."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tongwen.curate.scorers.clusters import train_clusters
from tongwen.curate.scorers.coherence import train_coherence
from tongwen.curate.scorers.folder import TrainedScorer, open_folder, write_folder
from tongwen.curate.scorers.grades import GRADED, train_grades
from tongwen.curate.scorers.lexicon import read_lexicon
from tongwen.curate.scorers.options import KINDS, TrainingOptions
from tongwen.curate.scorers.perplexity import train_perplexity
from tongwen.curate.scorers.quality import NEGATIVE, POSITIVE, train_quality
from tongwen.curate.scorers.safety import train_safety
from tongwen.curate.scorers.samples import Samples, Source, read_samples
from tongwen.curate.scorers.topic import train_topic
from tongwen.errors import UsageError
from tongwen.files import file_digest


@dataclass(frozen=True, kw_only=True)
class TrainingFiles:
    """The user's files.

    Attributes:
        reference: text as it should be; for safety, unsafe text; for topic and clusters any, a
            file's name being its label.
        against: text as it should not be; for safety, safe text.
        labelled: rows with a label.
        lexicons: for safety, beside our own.
        text_field: of the rows.
        label_field: of labelled rows; None for the one that `tongwen curate label` writes for the
            kind, `label` for other kinds.
        positive: labels that mean good, for safety unsafe.
    """

    reference: Sequence[Path] = ()
    against: Sequence[Path] = ()
    labelled: Sequence[Path] = ()
    lexicons: Sequence[Path] = ()
    text_field: str = "text"
    label_field: str | None = None
    positive: Sequence[str] = ("1",)


def train_scorer(
    kind: str, files: TrainingFiles, out: Path, options: TrainingOptions
) -> dict[str, Any]:
    """Train a scorer and write its folder; gives its `languages`, `digest`, `trained_on` and
    `report`.

    Raises:
        UsageError: the kind is unknown, or needs files that are not given.
        InputError: a file cannot be used, or there is not enough text.
    """
    _check(kind, files)
    samples = _read(kind, files, options)
    trained = _train(kind, files, samples, options)
    trained_on = {
        "files": samples.files,
        "lexicons": [
            {"name": path.name, "digest": file_digest(path)} for path in sorted(files.lexicons)
        ],
        "counts": dict(samples.counts),
    }
    digest = write_folder(out, trained, options.to_json(), trained_on)
    open_folder(out, kind)  # reads back what was written, whole
    return {
        "kind": kind,
        "languages": trained.languages,
        "digest": digest,
        "trained_on": trained_on,
        "report": dict(trained.report),
    }


def _check(kind: str, files: TrainingFiles) -> None:
    if kind not in KINDS:
        raise UsageError(f"unknown kind of scorer {kind!r}", hint=f"known: {', '.join(KINDS)}")
    if importlib.util.find_spec("sklearn") is None:
        raise UsageError(
            "scorers are trained with scikit-learn, which is not installed",
            hint="pip install 'tongwen[scorers]'",
        )
    is_labelled = bool(files.labelled)
    has_both = bool(files.reference) and bool(files.against)
    if kind == "quality" and not is_labelled and not has_both:
        raise UsageError(
            "quality needs good and bad text",
            hint="give --reference and --against, or --labelled",
        )
    if kind == "safety" and not (is_labelled or has_both or files.lexicons):
        raise UsageError(
            "safety needs labelled text or a lexicon",
            hint="give --labelled, --reference (unsafe) and --against (safe), or --lexicon",
        )
    if kind in ("perplexity", "coherence") and not files.reference:
        raise UsageError(f"{kind} needs reference text", hint="give --reference")
    if kind in ("topic", "clusters") and not files.reference and not is_labelled:
        raise UsageError(f"{kind} needs text", hint="give --reference or --labelled")
    if kind in GRADED and (not is_labelled or files.reference or files.against):
        raise UsageError(
            f"{kind} learns from grades alone", hint="give --labelled, of `tongwen curate label`"
        )
    if files.lexicons and kind != "safety":
        raise UsageError(f"--lexicon is of no use for {kind}", hint="leave it out")
    if kind in ("topic", "clusters", "coherence") and files.against:
        raise UsageError(f"--against is of no use for {kind}", hint="leave it out")
    if kind in ("perplexity", "coherence") and is_labelled:
        raise UsageError(f"--labelled is of no use for {kind}", hint="give --reference")


def _read(kind: str, files: TrainingFiles, options: TrainingOptions) -> Samples:
    by_name = kind in ("topic", "clusters", *GRADED)
    sources = [
        Source(tuple(files.reference), "" if by_name else POSITIVE),
        Source(tuple(files.against), NEGATIVE),
        Source(tuple(files.labelled), None),
    ]
    classes = None if by_name else dict.fromkeys(files.positive, POSITIVE)
    samples = read_samples(
        [source for source in sources if source.paths],
        seed=options.seed,
        piece_characters=options.piece_characters,
        maximum_characters=options.characters,
        text_field=files.text_field,
        label_field=files.label_field or GRADED.get(kind, "label"),
    )
    if classes is None:
        return samples
    known = (POSITIVE, NEGATIVE)
    samples.pieces = [
        piece if piece.label in known
        else replace(piece, label=classes.get(piece.label, NEGATIVE))
        for piece in samples.pieces
    ]  # fmt: skip
    return samples


def _train(
    kind: str, files: TrainingFiles, samples: Samples, options: TrainingOptions
) -> TrainedScorer:
    if kind == "safety":
        terms = [term for path in files.lexicons for term in read_lexicon(path)]
        return train_safety(samples, options, terms)
    if kind in GRADED:
        return train_grades(kind, samples, options)
    trainers = {
        "perplexity": train_perplexity,
        "quality": train_quality,
        "coherence": train_coherence,
        "topic": train_topic,
        "clusters": train_clusters,
    }
    return trainers[kind](samples, options)
