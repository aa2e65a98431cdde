"""Quality: how probable it is that a text is from the user's reference and not from a raw crawl.

A linear classifier for each language (`linear`), Platt-scaled on text it was not trained on. Yi
trains one towards Wikipedia-like pages (01.AI 2024, arXiv 2403.04652, section 2.1); what is good
is up to the user here.
"""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from tongwen.curate.scorers.folder import ScorerFolder, TrainedScorer
from tongwen.curate.scorers.hashing import Units
from tongwen.curate.scorers.held_out import CalibratedModels, too_few, train_held_out
from tongwen.curate.scorers.measuring import binary_report
from tongwen.curate.scorers.options import TrainingOptions
from tongwen.curate.scorers.samples import LANGUAGES, Samples
from tongwen.errors import InputError

POSITIVE, NEGATIVE = "positive", "negative"


def train_quality(samples: Samples, options: TrainingOptions) -> TrainedScorer:
    """Train on samples labelled `positive` and `negative`.

    Raises:
        InputError: no language has enough of both.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    details: dict[str, Any] = {}
    report: dict[str, Any] = {}
    for language in LANGUAGES:
        pieces = samples.of(language)
        if problem := too_few(pieces, (POSITIVE, NEGATIVE), options):
            report[language] = {"not_trained": problem}
            continue
        held_out = train_held_out(pieces, POSITIVE, language, options)
        platt, chances, is_positive = held_out.calibrate(held_out.logits[:, None])
        arrays[f"{language}_weights"] = held_out.weights
        arrays[f"{language}_biases"] = held_out.biases
        details[language] = {"platt": platt.tolist()}
        report[language] = {
            **binary_report(chances, is_positive),
            "is_cross_fitted": held_out.is_crossed,
        }
    return TrainedScorer("quality", trained_languages(details, report), arrays, details, report, {})


def trained_languages(details: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """The languages that got a model.

    Raises:
        InputError: there are none.
    """
    languages = [language for language in LANGUAGES if language in details]
    if not languages:
        reasons = "; ".join(f"{name}: {item['not_trained']}" for name, item in report.items())
        raise InputError(
            f"not enough text to train on ({reasons})",
            hint="give more text, or texts of both classes",
        )
    return languages


class QualityScorer:
    """Gives the column `quality`, a probability."""

    def __init__(self, folder: ScorerFolder) -> None:
        self._models = CalibratedModels(folder, "platt")

    def score(self, text: str, units: Units, language: str) -> dict[str, Any]:
        """The values for one text; none without a model for its language."""
        chance = self._models.chance(units, language)
        return {} if chance is None else {"quality": chance}
