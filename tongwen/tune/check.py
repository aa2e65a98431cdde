"""A first look at dialogue files, before a run that may reach them hours later."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tongwen.errors import InputError, RecipeError
from tongwen.flow.group import world_size
from tongwen.tune.documents.headings import heading_dialogues, heading_files
from tongwen.tune.layouts import NotForTuningError, dialogue_of
from tongwen.tune.preferences.layouts import preference_pair_of
from tongwen.tune.rows import file_rows
from tongwen.tune.settings import PairSettings, TuneSettings
from tongwen.tune.template import pair_dialogue

_ROWS = 20  # of each file before the model is loaded: a wrong format shows in the first


def check_processes(settings: TuneSettings) -> None:
    """Refuse several processes for what runs in one.

    Raises:
        RecipeError: adapters or preferences are to be learnt by several.
    """
    processes = max(world_size(), settings.parallel.fewest_processes)
    for name, section in (("lora", settings.lora), ("dpo", settings.dpo)):
        if section is not None and processes > 1:
            raise RecipeError(
                f"[tune.{name}] runs in one process, and the run has {processes}",
                hint="tune by itself without torchrun, and with tune.parallel left out",
            )


def check_files(settings: TuneSettings) -> None:
    """See that the user's own files hold dialogues: that one of the first 20 rows is one.

    Raises:
        RecipeError: see `check_processes`.
        InputError: a file cannot be read, is of another kind, or begins with rows that are not
            dialogues; the message names file and place of the first; or documents have no headings.
    """
    check_processes(settings)
    for text in settings.plain_text:
        if not text.startswith("{") and not Path(text).is_file():
            raise InputError(f"there is no file {text}", hint="look at tune.plain_text")
    if settings.documents:
        heading_dialogues(heading_files(settings.documents))
    for path, pair in _own_files(settings):
        problem = None
        for row in islice(file_rows(path), _ROWS):
            try:
                if row.problem is not None:
                    raise InputError(row.problem)
                if settings.dpo is not None:
                    _ = preference_pair_of(row.value)
                else:
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
