"""Settings of the export stage."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """The Hugging Face folder that leaves the run."""

    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    license: str = "apache-2.0"
