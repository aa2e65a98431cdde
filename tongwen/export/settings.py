"""Settings of the export stage."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """The Hugging Face folder that a run ends with."""

    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Data type of the exported weights."""
    adapter: bool = False
    """Write the adapters of `[tune.lora]` alone, as PEFT reads them, in place of the merged model;
    they are float32."""
    license: str = "apache-2.0"
    """Licence that the model card names."""
