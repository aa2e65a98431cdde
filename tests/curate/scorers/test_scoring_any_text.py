"""Every scorer on any text: values in their range, or none, and the same ones twice."""

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scorer_texts import made_text, write_texts

from tongwen.curate.scorers.folder import open_folder
from tongwen.curate.scorers.grades import GRADED
from tongwen.curate.scorers.options import KINDS, TrainingOptions
from tongwen.curate.scorers.scoring import SCORE_SCHEMA, Scorers
from tongwen.curate.scorers.training import TrainingFiles, train_scorer

OPTIONS = TrainingOptions(bucket_bits=10, epochs=2, clusters=3, fewest_pieces=8)
RANGES = {
    "perplexity": (1, math.inf),
    "perplexity_percentile": (0, 100),
    "quality": (0, 1),
    "coherence": (0, 1),
    "safety_level": (0, 3),
    "safety_score": (0, 1),
    "topic_confidence": (0, 1),
    "cluster": (0, 5),
    "educational_grade": (0, 5),
    "quality_grade": (0, 5),
}


@pytest.fixture(scope="module")
def scorers(tmp_path_factory: pytest.TempPathFactory) -> Scorers:
    folder = tmp_path_factory.mktemp("scorers")
    paths: list[Path] = []
    for topic in ("sea", "law"):
        rows: list[dict[str, object]] = [
            {
                "text": made_text(language, topic, number),
                "lang": language,
                "educational": number % 6,
                "quality": number % 3,
            }
            for language in ("en", "zh")
            for number in range(40)
        ]
        paths.append(write_texts(folder / f"{topic}.jsonl", rows))
    for kind in KINDS:
        both = kind in ("topic", "clusters")
        files = TrainingFiles(
            reference=paths if both else paths[:1],
            against=() if both or kind == "coherence" else paths[1:],
        )
        if kind in GRADED:
            files = TrainingFiles(labelled=paths)
        train_scorer(kind, files, folder / kind, OPTIONS)
    return Scorers([open_folder(folder / kind) for kind in KINDS])


_PIECES = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.sampled_from([made_text(language, "sea", 1, 3) for language in ("en", "zh")]),
        st.sampled_from(["\n\n", "。", "! ", "\U0010ffff", "１２３", "```x", "|a|b|", "\x00"]),
    ),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_PIECES, st.sampled_from(["en", "zh-Hans", "zh-Hant", "code", ""]))
def test_any_text_has_values_in_range_or_none(
    scorers: Scorers, pieces: list[str], lang: str
) -> None:
    text = "".join(pieces)
    values = scorers.score(text, lang)
    assert set(values) <= set(SCORE_SCHEMA.names)
    assert lang.startswith(("en", "zh")) or not values
    for name, (low, high) in RANGES.items():
        if name in values:
            assert low <= values[name] <= high
    assert scorers.score(text, lang) == values
    for pair in (("topic", "topic_confidence"), ("perplexity", "perplexity_percentile")):
        assert (pair[0] in values) == (pair[1] in values)
