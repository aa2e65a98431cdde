"""Safety in four levels, from a lexicon and a classifier together.

The classifier (`linear`) learns from the user's labelled text what is unsafe; a logistic
regression on text it was not trained on joins its logit with the lexicon's counts per 1,000
characters (`lexicon`) to one calibrated probability, `safety_score`. Level 1 begins at 0.5, 2 at
0.8, 3 at 0.95; a level-3 term makes level 3 whatever the score. Without labelled text the
lexicon alone decides: its weighted count per 1,000 characters.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.scorers.folder import ScorerFolder, TrainedScorer
from tongwen.curate.scorers.hashing import Units
from tongwen.curate.scorers.held_out import too_few, train_held_out
from tongwen.curate.scorers.lexicon import Hits, Lexicon, Term, own_lexicon
from tongwen.curate.scorers.linear import NGRAM, LinearModel
from tongwen.curate.scorers.logistic import sigmoid
from tongwen.curate.scorers.measuring import auc, binary_report
from tongwen.curate.scorers.options import TrainingOptions
from tongwen.curate.scorers.quality import NEGATIVE, POSITIVE
from tongwen.curate.scorers.samples import LANGUAGES, TEST, Samples

LEVEL_SCORES = (0.5, 0.8, 0.95)
"""Where levels 1, 2 and 3 begin."""
_LEVEL_WEIGHTS = (1.0, 3.0, 10.0)
_HALF_DENSITY = 5.0  # level-1 terms per 1,000 characters at which the score is one half


def train_safety(samples: Samples, options: TrainingOptions, terms: list[Term]) -> TrainedScorer:
    """Train on samples labelled `positive` (unsafe) and `negative`; on none for a lexicon alone.

    Args:
        samples: the labelled text.
        options: of training.
        terms: of the user's lexicons, beside our own.
    """
    lexicon = Lexicon([*own_lexicon(), *terms])
    arrays: dict[str, npt.NDArray[Any]] = {}
    details: dict[str, Any] = {}
    report: dict[str, Any] = {}
    for language in LANGUAGES:
        pieces = samples.of(language)
        details[language] = {"joined": None}
        if problem := too_few(pieces, (POSITIVE, NEGATIVE), options):
            report[language] = {"not_calibrated": problem, "score_from": "lexicon"}
            continue
        held_out = train_held_out(pieces, POSITIVE, language, options)
        hits = [lexicon.find(piece.text) for piece in held_out.pieces]
        rows = zip(held_out.logits.tolist(), hits, strict=True)
        evidence = np.array([evidence_of(logit, found) for logit, found in rows])
        joined, chances, is_positive = held_out.calibrate(evidence)
        arrays[f"{language}_weights"] = held_out.weights
        arrays[f"{language}_biases"] = held_out.biases
        details[language]["joined"] = joined.tolist()
        tested = [held_out.is_crossed or piece.part == TEST for piece in held_out.pieces]
        report[language] = {
            **_report(chances, evidence[tested], is_positive),
            "is_cross_fitted": held_out.is_crossed,
        }
    details["terms"] = [[term.level, term.category, list(term.parts)] for term in lexicon.terms]
    return TrainedScorer("safety", list(LANGUAGES), arrays, details, report, {})


def evidence_of(logit: float, hits: Hits) -> list[float]:
    """What the logistic regression joins: the classifier's logit, and for each level the
    logarithm of one more than its terms per 1,000 characters.
    """
    return [logit, *(float(np.log1p(hits.per_thousand(level))) for level in (1, 2, 3))]


def lexicon_score(hits: Hits) -> float:
    """0 to 1 from the lexicon alone: one half at five level-1 terms per 1,000 characters, a
    level-2 term counting as three, a level-3 term as ten.
    """
    density = sum(
        weight * hits.per_thousand(level)
        for level, weight in zip((1, 2, 3), _LEVEL_WEIGHTS, strict=True)
    )
    return density / (density + _HALF_DENSITY)


def level_of(score: float, hits: Hits) -> int:
    """The level, 0 to 3, for a score and the terms found."""
    if hits.counts[3]:
        return 3
    return int(np.searchsorted(LEVEL_SCORES, score, "right"))


def _report(
    chances: npt.NDArray[np.float64],
    evidence: npt.NDArray[np.float64],
    is_positive: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    """The joined score; its two halves alone; and which share of each class gets which level."""
    levels = np.searchsorted(LEVEL_SCORES, chances, "right")
    levels[evidence[:, 3] > 0] = 3
    by_terms = np.expm1(evidence[:, 1:]) @ np.array(_LEVEL_WEIGHTS)
    return {
        **binary_report(chances, is_positive),
        "auc_classifier": _rounded(auc(evidence[:, 0], is_positive)),
        "auc_lexicon": _rounded(auc(by_terms, is_positive)),
        "levels": {
            name: [round(float((levels[chosen] == level).mean()), 4) for level in range(4)]
            for name, chosen in (("unsafe", is_positive), ("safe", ~is_positive))
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


class SafetyScorer:
    """Gives the columns `safety_level`, 0 to 3, and `safety_score`, 0 to 1; high is unsafe."""

    def __init__(self, folder: ScorerFolder) -> None:
        self._lexicon = Lexicon(
            Term(level, category, tuple(parts))
            for level, category, parts in folder.details["terms"]
        )
        self._joined = {
            name: np.array(folder.details[name]["joined"])
            for name in folder.languages
            if folder.details[name]["joined"] is not None
        }
        self._models = {
            name: LinearModel(
                folder.arrays[f"{name}_weights"], folder.arrays[f"{name}_biases"], NGRAM[name]
            )
            for name in self._joined
        }

    def score(self, text: str, units: Units, language: str) -> dict[str, Any]:
        """The values for one text."""
        if not len(units.hashes):
            return {}
        hits = self._lexicon.find(text)
        if language in self._models:
            joined = self._joined[language]
            evidence = np.array(evidence_of(self._models[language].logit(units), hits))
            score = float(sigmoid(np.array(evidence @ joined[:-1] + joined[-1])))
        else:
            score = lexicon_score(hits)
        return {"safety_level": level_of(score, hits), "safety_score": score}
