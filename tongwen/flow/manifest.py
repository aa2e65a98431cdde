"""Manifests: written last, they certify that an output is complete."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Self

from tongwen.files import file_digest, read_json, tree_files, value_digest, write_json


@dataclass(frozen=True)
class OutputFile:
    """A finished file: path relative to its manifest, size and xxh3-128 of the content."""

    path: str
    bytes: int
    digest: str


@dataclass(frozen=True)
class Manifest:
    """What was made, from what, and at what cost.

    Attributes:
        digest: of inputs, parameters and code version; the work is done when it matches.
        code: step or stage -> version of the code that made the outputs.
        parameters: flat `key -> value`, to say what changed when the digest does not match.
        inputs: name -> digest of every input.
        outputs: the finished files.
        counts: additive numbers about the work (pages, characters, reasons).
        quarantined: items left out because they killed a worker, with the reason.
        seconds: wall-clock time; peak_memory_bytes: largest resident set of a process.
    """

    digest: str
    code: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[OutputFile, ...] = ()
    counts: Mapping[str, float] = field(default_factory=dict)
    quarantined: tuple[Mapping[str, str], ...] = ()
    seconds: float = 0.0
    peak_memory_bytes: int = 0

    def content_digest(self, pattern: str = "*") -> str:
        """Digest of the names and contents of the outputs that match a glob pattern.

        How and when they were made is not part of it.
        """
        return value_digest(
            [[item.path, item.digest] for item in self.outputs if fnmatch(item.path, pattern)]
        )

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The manifest at `path`, or None when there is none or it is unreadable."""
        try:
            value = read_json(path)
            value["outputs"] = tuple(OutputFile(**item) for item in value["outputs"])
            value["quarantined"] = tuple(value["quarantined"])
            return cls(**value)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def is_intact(self, directory: Path) -> bool:
        """Whether every output is there with its size."""
        for item in self.outputs:
            try:
                if (directory / item.path).stat().st_size != item.bytes:
                    return False
            except OSError:
                return False
        return True


def describe_outputs(directory: Path, patterns: tuple[str, ...] = ()) -> tuple[OutputFile, ...]:
    """Size and digest of all files below `directory`, or of those that match `patterns`."""
    if patterns:
        paths = sorted({path for pattern in patterns for path in directory.glob(pattern)})
        files = [path for path in paths if path.is_file()]
    else:
        files = tree_files(directory)
    return tuple(
        OutputFile(
            path=path.relative_to(directory).as_posix(),
            bytes=path.stat().st_size,
            digest=file_digest(path),
        )
        for path in files
    )
