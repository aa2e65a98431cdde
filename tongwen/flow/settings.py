"""Settings of a run as a whole: its name, and what its tasks run on."""

import re
from dataclasses import dataclass
from typing import Literal

from tongwen.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The run itself."""

    name: str
    """Name of the run directory below `runs/`."""
    seed: int = 1862
    """Seed of the text that is drawn to train the tokenizer."""
    runner: Literal["local", "ray"] = "local"
    """Where tasks run: in processes on this machine, or on a Ray cluster. Changes no output."""
    ray_address: str | None = None
    """`HOST:PORT` of the cluster's head, or "auto" on one of its machines; when absent, Ray is
    started on this machine alone."""
    workers: int | None = None
    """Worker processes; one for each CPU core when absent. Changes no output."""
    work: str | None = None
    """Address of a folder on any store that fsspec reads, such as `s3://bucket/work`: outputs
    of tasks go there instead of the run directory. Keys come from the environment. Changes no
    output."""
    worker_memory_gib: float = 4.0
    """Memory of a worker in GiB; one that grows beyond it is stopped, and its page is tried
    again, then quarantined."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w][\w.-]*", self.name):
            raise RecipeError(
                f"run.name is {self.name!r}", hint="use letters, digits, '-', '_' and '.'"
            )
        if self.workers is not None and self.workers < 1:
            raise RecipeError(f"run.workers is {self.workers}", hint="use 1 or more")
        if self.work is not None and "://" not in self.work:
            raise RecipeError(
                f"run.work is {self.work!r}, which has no scheme",
                hint="write s3://BUCKET/FOLDER, or leave it out to work in the run directory",
            )
        if self.ray_address is not None and self.runner != "ray":
            raise RecipeError(
                f"run.ray_address is {self.ray_address!r}, but run.runner is {self.runner!r}",
                hint='set run.runner = "ray", or leave the address out',
            )
