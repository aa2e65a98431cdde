"""Readable names of steps: what each does, in words shared by the steps of one piece of work.

Names are by the beginning of a step's own name, the longest that fits.
"""

_NAMES = {
    "extract": "extracting the main text",
    "template": "removing what a site repeats on its pages",
    "measure": "measuring quality",
    "score": "scoring documents",
    "decide": "applying the rules",
    "fingerprint": "finding equal texts",
    "exact": "finding equal texts",
    "band": "finding near-duplicates",
    "pair": "finding near-duplicates",
    "cluster": "grouping near-duplicates",
    "large-star": "grouping near-duplicates",
    "small-star": "grouping near-duplicates",
    "loss": "grouping near-duplicates",
    "duplicates": "grouping near-duplicates",
    "paragraph": "cutting repeated paragraphs",
    "span": "cutting repeated passages",
    "contamination": "looking for benchmark items",
    "mix": "choosing documents for the mix",
    "materialize": "writing documents",
    "encode": "writing token shards",
}


def step_name(step: str) -> str:
    """The work of a step in words; its own name, if nothing better is known."""
    fitting = [name for name in _NAMES if step.startswith(name)]
    return _NAMES[max(fitting, key=len)] if fitting else step
