"""Each run's own metrics, when runs with other settings share an output folder.

`metrics.jsonl` of the output folder is the current run's; those of the others are next to their
checkpoints, `checkpoints/<identity>/metrics.jsonl`, with their forecast and its settlement.
"""

import shutil
from pathlib import Path

from tongwen.files import disk_errors, write_jsonl, write_text
from tongwen.train.forecast import FORECAST, KIND, SETTLEMENT
from tongwen.train.metrics import METRICS, read_metrics
from tongwen.train.retention import CHECKPOINTS, CURRENT, by_step

_OF_A_RUN = (METRICS, FORECAST, SETTLEMENT)


def hand_over(out: Path, own: Path, trunk: Path | None, step: int) -> None:
    """Make the files of `out` those of the run `own`, and keep what another run left there.

    Can be stopped at any moment and called again.

    Args:
        out: the stage's folder.
        own: folder of the run's checkpoints.
        trunk: that of the run it branches from, whose course up to `step` is its own.
        step: of the branch.
    """
    current = out / CHECKPOINTS / CURRENT
    before = current.read_text("utf-8").strip() if current.exists() else _last_run(out, own)
    if before == own.name:
        return
    if before:
        keep_curve(out, out / CHECKPOINTS / before)
        write_text(current, "\n")  # nobody's: what is there has been kept
    if before is not None:
        for name in _OF_A_RUN:
            (out / name).unlink(missing_ok=True)
            if (own / name).exists():
                _copy(own / name, out / name)
        if trunk is not None and not (out / METRICS).exists():
            rows = read_metrics(trunk / METRICS)
            shared = [row for row in rows if row["step"] <= step and row["kind"] != KIND]
            write_jsonl(out / METRICS, shared)
    write_text(current, f"{own.name}\n")


def keep_curve(out: Path, folder: Path) -> None:
    """Copy a run's files from the stage's folder to its checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _OF_A_RUN:
        if (out / name).exists():
            _copy(out / name, folder / name)


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all."""
    partial = target.with_name(f".{target.name}.partial")
    with disk_errors(target):
        shutil.copyfile(source, partial)
        partial.rename(target)


def _last_run(out: Path, own: Path) -> str | None:
    """The run that wrote the metrics, where an older release has not noted it."""
    folders = [path for path in (out / CHECKPOINTS).glob("*/") if by_step(path)]
    if not (out / METRICS).exists() or own in folders or not folders:
        return None
    return max(folders, key=lambda path: by_step(path)[-1].stat().st_mtime).name
