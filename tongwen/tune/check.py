"""A first look at dialogue files, before a run that may reach them hours later."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tongwen.errors import InputError
from tongwen.tune.documents.headings import heading_dialogues, heading_files
from tongwen.tune.layouts import NotForTuningError, dialogue_of
from tongwen.tune.rows import file_rows
from tongwen.tune.settings import PairSettings, TuneSettings
from tongwen.tune.template import pair_dialogue

_ROWS = 20


def check_files(settings: TuneSettings) -> None:
    """See that the user's own files hold dialogues: that one of the first 20 rows is one.

    Raises:
        InputError: a file cannot be read, is of another kind, or begins with rows that are not
            dialogues; the message names file and place of the first; or documents have no headings.
    """
    if settings.documents:
        heading_dialogues(heading_files(settings.documents))
    for path, pair in _own_files(settings):
        problem = None
        for row in islice(file_rows(path), _ROWS):
            try:
                if row.problem is not None:
                    raise InputError(row.problem)
                _ = dialogue_of(row.value) if pair is None else pair_dialogue(pair, row.value)
                break
            except InputError as error:
                placed = InputError(f"{path}, {row.place}: {error.message}", hint=error.hint)
                if isinstance(error, NotForTuningError):
                    raise placed from None
                problem = problem or placed
        else:
            raise problem or InputError(f"the dialogue file {path} has no rows")


def _own_files(settings: TuneSettings) -> Iterator[tuple[Path, PairSettings | None]]:
    """Files that are there before the run, with the template of each; not those of a stage."""
    named: list[tuple[str, PairSettings | None]] = [(path, None) for path in settings.dialogues]
    named += [(pair.path, pair) for pair in settings.pairs]
    yield from ((Path(path), pair) for path, pair in named if not path.startswith("{"))
