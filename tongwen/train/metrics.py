"""`metrics.jsonl`: one line a step, the truth about a run's course.

Rows of kind `train` have step, tokens, loss (nats a target, mean), gradient_norm,
learning_rate, tokens_per_second, skipped, samples consumed and a digest of the batch's tokens,
peak_memory_bytes of the first process, and mfu_full and mfu_causal (see `model.flops`); rows of
kind `validation` have step, tokens, language, loss and bits_per_byte, and `weights` where they are
an average; rows of kind `sample` step, tokens, prompt and text; rows of kind `rollback` the
step the run went back to, of kind `damaged_checkpoint` what was passed over and why.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tongwen.files import disk_errors, write_jsonl

METRICS = "metrics.jsonl"


class MetricsLog:
    """Appends rows to `path`, after taking away what a killed run wrote beyond `step`.

    So the file of a resumed run reads as that of an undisturbed one, but for times. The time of
    the steps that were taken away is `dropped_seconds`. Of several processes one is the writer.

    Attributes:
        tell: is called with every row that is appended.
    """

    def __init__(self, path: Path, step: int, *, is_writer: bool = True) -> None:
        rows = read_metrics(path) if is_writer else []
        if is_writer:
            write_jsonl(path, [row for row in rows if row["step"] <= step])
        self.dropped_seconds: float = sum(
            row.get("seconds", 0.0) for row in rows if row["step"] > step
        )
        self._path = path
        self._is_writer = is_writer
        self.tell: Callable[[Mapping[str, Any]], None] = lambda row: None

    def append(self, **row: Any) -> None:
        if not self._is_writer:
            return
        line = json.dumps(row, ensure_ascii=False)
        with disk_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self.tell(row)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file; a last line that was cut by a kill is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


PARTS = ("data", "steps", "validation", "checkpoints", "skipped", "repeated")


class Ledger:
    """Seconds by part, over all resumptions.

    Goodput is the share of `steps`: optimizer steps that moved the model. `repeated` is what a
    kill or a rollback made the run do again, `skipped` steps that were left out. Loading and
    everything else is the remainder.

    Args:
        seconds: what earlier processes have spent, from the checkpoint.
    """

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = {part: seconds.get(part, 0.0) for part in PARTS}

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Count the body's time as `part`."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] += time.monotonic() - started

    def move(self, seconds: float, to: str) -> None:
        """Count time of steps as another part after all."""
        self.seconds["steps"] -= seconds
        self.seconds[to] += seconds

    def shares(self, wall_seconds: float) -> dict[str, float]:
        """Each part's share of the wall-clock, and `other` for the rest."""
        whole = max(wall_seconds, sum(self.seconds.values()), 1e-9)
        shares = {part: self.seconds[part] / whole for part in PARTS}
        return shares | {"other": max(0.0, 1 - sum(shares.values()))}
