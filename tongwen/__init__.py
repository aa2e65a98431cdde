"""Tongwen: from a raw bilingual crawl to a language model that answers.

The names below are the Python API (docs/en/python.md). Each is imported when it is first used, so
that `import tongwen` loads neither torch nor pyarrow nor numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tongwen.api.documents import Verdict as Verdict
    from tongwen.api.documents import curate_documents as curate_documents
    from tongwen.api.models import Score as Score
    from tongwen.api.models import evaluate_model as evaluate_model
    from tongwen.api.models import generate as generate
    from tongwen.api.models import load_model as load_model
    from tongwen.api.pages import Page as Page
    from tongwen.api.pages import extract_page as extract_page
    from tongwen.api.roads import load_recipe as load_recipe
    from tongwen.api.roads import run_road as run_road
    from tongwen.api.roads import run_stage as run_stage
    from tongwen.errors import TongwenError as TongwenError
    from tongwen.plugins import Record as Record
    from tongwen.tokenizer.text import Tokenizer as Tokenizer

__version__ = "0.2.0"

_HOMES = {
    "Page": "tongwen.api.pages",
    "Record": "tongwen.plugins",
    "Score": "tongwen.api.models",
    "Tokenizer": "tongwen.tokenizer.text",
    "TongwenError": "tongwen.errors",
    "Verdict": "tongwen.api.documents",
    "curate_documents": "tongwen.api.documents",
    "evaluate_model": "tongwen.api.models",
    "extract_page": "tongwen.api.pages",
    "generate": "tongwen.api.models",
    "load_model": "tongwen.api.models",
    "load_recipe": "tongwen.api.roads",
    "run_road": "tongwen.api.roads",
    "run_stage": "tongwen.api.roads",
}
__all__ = [
    "Page",
    "Record",
    "Score",
    "Tokenizer",
    "TongwenError",
    "Verdict",
    "curate_documents",
    "evaluate_model",
    "extract_page",
    "generate",
    "load_model",
    "load_recipe",
    "run_road",
    "run_stage",
]


if not TYPE_CHECKING:  # mypy would take every misspelt name for one that this gives

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(_HOMES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
