"""Options and flow of commands that ask a server: cost first, a few answers, then the rest."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from tongwen.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])
_SHOWN_CHARACTERS = 400  # of an answer to try a prompt with: several of them fit a screen


def asking_options(function: Function) -> Function:
    """Add the options of a server and of its prices."""
    options = (
        click.option("--server", metavar="URL", help="Server with OpenAI's chat completions, "
                     "such as that of `tongwen serve`."),
        click.option("--model", metavar="NAME",
                     help="Model to ask; by default the server's only one."),
        click.option("--key-variable", metavar="NAME",
                     help="Environment variable that holds the server's key."),
        click.option("--parallel", type=click.IntRange(1, 1_000), default=8, show_default=True,
                     help="Requests in flight at a time."),
        click.option("--attempts", type=click.IntRange(1, 100), default=8, show_default=True,
                     help="Attempts at one request while the server is busy."),
        click.option("--timeout", type=click.FloatRange(0.1), default=300.0, show_default=True,
                     help="Seconds for one answer."),
        click.option("--price-in", type=click.FloatRange(0),
                     help="Price of a million input tokens."),
        click.option("--price-out", type=click.FloatRange(0),
                     help="Price of a million output tokens."),
        click.option("--first", type=click.IntRange(0), default=3, show_default=True,
                     help="Requests sent and shown before the rest."),
        click.option("--dry-run", is_flag=True, help="Show the cost and send nothing."),
        click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@dataclass(frozen=True, kw_only=True)
class Asking:
    """The values of `asking_options`."""

    server: str
    model: str | None
    key_variable: str | None
    parallel: int
    attempts: int
    timeout: float
    price_in: float | None
    price_out: float | None
    first: int
    dry_run: bool
    yes: bool

    @classmethod
    def take(cls, given: dict[str, Any]) -> "Asking":
        """Take the options out of a command's arguments.

        Raises:
            UsageError: there is no server.
        """
        values = {name: given.pop(name) for name in cls.__dataclass_fields__}
        if not values["server"]:
            raise UsageError("no server is named", hint="--server http://127.0.0.1:8000")
        return cls(**values)


@contextmanager
def opened_server(asking: Asking) -> Iterator[tuple[Any, str]]:
    """The server, and the name of the model to ask."""
    from tongwen.ask.server import Server

    server = Server(
        asking.server,
        key_variable=asking.key_variable,
        timeout_seconds=asking.timeout,
        attempts=asking.attempts,
        connections=asking.parallel,
    )
    try:
        yield server, asking.model or server.only_model()
    finally:
        server.close()


def ask_with_consent(
    server: Any, asking: Asking, questions: Sequence[Any], journal_path: Path
) -> Mapping[str, Any] | None:
    """All answers by the question's digest; None after a dry run.

    Shows the cost, asks a few questions and shows their answers, then the rest; the user is asked
    before each of the two unless `--yes` says so already.

    Raises:
        UsageError: there is no terminal to ask on, and no `--yes`.
    """
    from tongwen.ask.cost import Prices, estimate
    from tongwen.ask.journal import open_journal
    from tongwen.ask.questions import ask_all
    from tongwen.progress import Progress

    prices = Prices(asking.price_in, asking.price_out)
    progress = Progress()
    with open_journal(journal_path) as journal:
        answers = journal.answers
        needed = estimate(questions, answers)
        progress.say(needed.text(prices))
        if asking.dry_run:
            return None
        first = [item for item in questions if item.name not in answers][: asking.first]
        if needed.questions:
            _agree(asking, f"Ask {len(first) or needed.questions:,} of them now?")
        ask_all(server, first, journal, parallel=asking.parallel)
        for question in first:
            progress.say(f"  {question.about}: {_shown(answers[question.name])}")
        left = estimate(questions, answers)
        if first and left.questions:
            progress.say(left.text(prices))
            _agree(asking, "Ask the rest?")
        progress.start()
        ask_all(
            server, questions, journal, parallel=asking.parallel,
            on_answer=lambda done, total: progress.update("answers", done, total),
        )  # fmt: skip
        progress.end()
        return dict(answers)


def _agree(asking: Asking, question: str) -> None:
    if asking.yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "the cost cannot be confirmed without a terminal", hint="add --yes, or --dry-run"
        )
    click.confirm(question, abort=True, err=True)


def _shown(answer: Any) -> str:
    text = " ".join((answer.refused or answer.text).split())
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} ..."
