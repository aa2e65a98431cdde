"""What a run directory holds, read so that a missing or damaged file costs its section only."""

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
        directory: the run directory.
        problems: files that are there and cannot be read, with the reason.
    """

    directory: Path
    problems: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, directory: Path) -> "RunFiles":
        """The run in `directory`.

        Raises:
            InputError: the directory is no run directory.
        """
        if not (directory / "stages").is_dir():
            raise InputError(
                f"{directory} is not a run directory: it has no `stages` folder",
                hint="name the directory that `tongwen run` has made, such as runs/sample",
            )
        return cls(directory)

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
        found = {
            name: Manifest.read(self.directory / "stages" / name / "manifest.json")
            for name in STAGES
        }
        return {name: manifest for name, manifest in found.items() if manifest is not None}

    def rows(self, path: str) -> Iterator[dict[str, Any]]:
        """The rows of the JSON Lines file `stages/PATH`, one at a time; none when there is none.

        The last line of a log may be half written by a run that was killed: it is no row yet.
        """
        try:
            with (self.directory / "stages" / path).open("rb") as lines:
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
            return read_json(self.directory / "stages" / path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self.problems.append(f"stages/{path}: {error}")
            return None
