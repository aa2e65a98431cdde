"""Names that settings and steps share, so that steps need not import the settings."""

LANGUAGES = ("en", "zh-Hans", "zh-Hant", "code")

LINE_REASONS = ("button", "counter", "notice", "menu", "repeated", "uppercase", "numbers")
"""Why a line of a page is boilerplate."""

SCORE_RULES = {
    "minimum_quality": "quality",
    "maximum_perplexity_percentile": "perplexity",
    "minimum_coherence": "coherence",
    "maximum_safety_level": "safety",
    "maximum_safety_score": "safety",
}
"""Rules over the values of a scorer, and the kind of scorer."""
