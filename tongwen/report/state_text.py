"""The state of a run in words, and labels that distinguish runs."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tongwen.report.state import RunState
from tongwen.report.words import Bilingual, words


def time_text(seconds: float | None) -> str:
    """Day, hour and minute of a Unix time, in UTC; a dash for none."""
    return "–" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def state_sentence(state: RunState) -> Bilingual:
    """Whether the run is going, how far it is and since when."""
    stage = words(f"stage_{state.stage}") if state.stage else ""
    names = [item.name for item in state.stages]
    status = "finished_once" if state.status == "finished" and not state.since else state.status
    values = {
        "time": time_text(state.seen if state.status == "lost" else state.since),
        "stage": stage,
        "number": str(names.index(state.stage) + 1) if state.stage in names else "",
        "count": str(len(names)),
        "done": str(state.done),
        "reason": state.reason,
    }
    return words(f"state_{status}", **values)


def distinct_names(directories: Sequence[Path]) -> list[str]:
    """A short name for each: its last folder, or the whole path where that is another's too."""
    last = [directory.resolve().name for directory in directories]
    twice = {name for name, count in Counter(last).items() if count > 1}
    return [
        str(directory) if name in twice else name
        for name, directory in zip(last, directories, strict=True)
    ]
