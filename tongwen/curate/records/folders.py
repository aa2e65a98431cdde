"""Where a finished curate stage is."""

from pathlib import Path

from tongwen.errors import InputError
from tongwen.flow.stage import MANIFEST


def curate_folder(run: Path) -> Path:
    """The curate stage's folder of a run directory, or `run` when it is one itself.

    Raises:
        InputError: there is no finished one.
    """
    for folder in (run / "stages" / "curate", run):
        if (folder / "attributes").is_dir() and (folder / MANIFEST).is_file():
            return folder
    raise InputError(f"no finished curate stage in {run}", hint="run `tongwen curate` first")
