"""The content of a run directory; a missing or damaged file affects only its section."""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tongwen.errors import InputError
from tongwen.files import read_json
from tongwen.flow.manifest import Manifest
from tongwen.stages import STAGES


@dataclass
class RunFiles:
    """The files of one run; None or empty where a stage has not written its own.

    Attributes:
        directory: the run directory, or the folder of one stage that ran alone.
        alone: that stage.
        problems: files that are there and cannot be read, with the reason.
    """

    directory: Path
    alone: str | None = None
    problems: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, directory: Path) -> "RunFiles":
        """The run in `directory`, or the run of that name below `runs/`.

        Raises:
            InputError: the directory is not a run directory.
        """
        if not directory.exists() and len(directory.parts) == 1:
            below = Path("runs") / directory
            directory = below if below.is_dir() else directory
        if (directory / "stages").is_dir():
            return cls(directory)
        if not directory.is_dir():
            raise InputError(
                f"there is no run directory {directory}",
                hint="name the directory that `tongwen run` has made, such as runs/sample",
            )
        alone = _stage_alone(directory)
        if alone is None:
            raise InputError(
                f"{directory} is not a run directory: it has no `stages` folder",
                hint="name the directory that `tongwen run` has made, such as runs/sample",
            )
        return cls(directory, alone)

    @property
    def name(self) -> str:
        return str(self.recipe.get("run", {}).get("name") or self.directory.resolve().name)

    @property
    def recipe_text(self) -> str:
        try:
            return (self.directory / "recipe.toml").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    @property
    def recipe(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.recipe_text)
        except tomllib.TOMLDecodeError:
            return {}

    @property
    def finished(self) -> str:
        """Day and hour (UTC) of the last event, or nothing."""
        last = 0.0
        for event in self.rows("../events.jsonl"):
            last = max(last, float(event.get("time", 0)))
        return f"{datetime.fromtimestamp(last, UTC):%Y-%m-%d %H:%M} UTC" if last else ""

    @property
    def manifests(self) -> dict[str, Manifest]:
        """Stage -> manifest of the finished stages, in the order of the road."""
        found = {name: Manifest.read(self.path(f"{name}/manifest.json")) for name in STAGES}
        return {name: manifest for name, manifest in found.items() if manifest is not None}

    def path(self, path: str) -> Path:
        """Where the file `stages/PATH` is."""
        if self.alone is None:
            return self.directory / "stages" / path
        if path.startswith("../"):
            return self.directory / path.removeprefix("../")
        stage, _, rest = path.partition("/")
        return self.directory / (rest if stage == self.alone else f"stages/{path}")

    def rows(self, path: str) -> Iterator[dict[str, Any]]:
        """The rows of the JSON Lines file `stages/PATH`, one at a time; none when there is none.

        The last line of a log may be half written by a run that was killed; it is skipped.
        """
        try:
            with self.path(path).open("rb") as lines:
                for line in lines:
                    if line.endswith(b"\n") and line.strip():
                        yield json.loads(line)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self.problems.append(f"stages/{path}: {error}")

    def json(self, path: str) -> Any | None:
        """The value of the JSON file `stages/PATH`, or None."""
        try:
            return read_json(self.path(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self.problems.append(f"stages/{path}: {error}")
            return None


def _stage_alone(directory: Path) -> str | None:
    """The stage whose command wrote its results here, according to the log next to them."""
    try:
        with (directory / "events.jsonl").open("rb") as lines:
            stage = json.loads(lines.readline()).get("stage")
    except (OSError, ValueError, AttributeError):
        return None
    return stage if stage in STAGES else None
