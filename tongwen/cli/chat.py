"""`tongwen chat`: talk to a model in the terminal."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from tongwen.errors import InputError, TongwenError

if TYPE_CHECKING:
    from tongwen.serve.dialogue import Dialogue


@click.command(name="chat")
@click.argument("model", metavar="MODEL_OR_RUN", type=click.Path(path_type=Path))
@click.option("--quantized", is_flag=True, help="For a run, take the quantized model.")
@click.option("--temperature", help="Sampling temperature, 0 (always the likeliest token) to 2.")
@click.option("--top-p", help="Sample from the likeliest tokens that make up this share, 0 to 1.")
@click.option("--top-k", help="Sample from this many of the likeliest tokens.")
@click.option("--seed", help="Seed that makes sampling repeatable.")
@click.option("--max-tokens", help="Longest answer, in tokens.")
@click.option("--system", help="System prompt.")
@click.option(
    "--json", "as_json", is_flag=True, help="For piped questions: print an object for each."
)
def command(model: Path, quantized: bool, as_json: bool, **options: str | None) -> None:
    """Talk to MODEL_OR_RUN, a Hugging Face folder or a run directory; /? lists the commands.

    Piped input holds one question a line; each is answered on its own.

    \b
    Examples:
      tongwen chat runs/sample --temperature 0.7 --system '请简短回答。'
      echo '你好' | tongwen chat runs/sample
    """
    from tongwen.serve.dialogue import Dialogue, answer_lines
    from tongwen.serve.engine import Engine
    from tongwen.serve.source import find_source, load_served_model, run_settings

    source = find_source(model)
    settings = run_settings(source)
    loaded = load_served_model(source, quantized=quantized, settings=settings)
    if not loaded.has_chat:
        raise InputError(
            f"the tokenizer in {loaded.folder} has no ChatML markers and no chat "
            "template, so it cannot chat",
            hint="serve it and use /v1/completions",
        )
    engine = Engine(loaded.model, loaded.tokenizer, loaded.stop_ids)
    is_terminal = sys.stdin.isatty()
    dialogue = Dialogue(
        engine,
        settings,
        write=(lambda text: click.echo(text, nl=False)) if is_terminal else (lambda _: None),
        say=lambda text: click.echo(text, err=True),
        template=loaded.template,
        sampling=loaded.sampling,
        shows_rate=is_terminal,
    )
    try:
        for name, value in options.items():
            if value is not None:
                dialogue.set(name, value)
        if is_terminal:
            click.echo(f"{loaded.name}, {engine.context_tokens:,} tokens; /? for help", err=True)
            _talk(dialogue)
            return
        failures = 0
        for error in answer_lines(
            dialogue,
            iter(sys.stdin),
            as_json=as_json,
            write=lambda text: click.echo(text, nl=False),
        ):
            failures += 1
            _show_error(error)
        if failures:
            sys.exit(1)
    finally:
        engine.close()


def _talk(dialogue: "Dialogue") -> None:
    from tongwen.serve.dialogue import texts_of

    texts = texts_of(_typed_lines())
    while True:
        try:
            text = next(texts)
        except StopIteration:
            return
        except KeyboardInterrupt:
            click.echo("\n/bye or Ctrl-D leaves", err=True)
            texts = texts_of(_typed_lines())
            continue
        try:
            with silent_keys(sys.stdin):
                goes_on = dialogue.handle(text)
            if not goes_on:
                return
            click.echo()
        except TongwenError as error:
            _show_error(error)


@contextlib.contextmanager
def silent_keys(terminal: TextIO) -> Iterator[None]:
    """Keys are not shown while an answer is written; they are kept for the next line.

    Ctrl-C still interrupts. Without effect where there is no terminal, or no termios (Windows).
    """
    try:
        import termios
    except ImportError:
        yield
        return
    try:
        number = terminal.fileno()
        before = termios.tcgetattr(number)
    except (OSError, ValueError, termios.error):
        yield
        return
    quiet = [*before]
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(number, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(number, termios.TCSANOW, before)


def _typed_lines() -> Iterator[str]:
    """Lines from the terminal until Ctrl-D, with line editing where the system has it."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - its import is its effect: `input` learns to edit
    while True:
        try:
            yield input(">>> ")
        except EOFError:
            click.echo(err=True)
            return


def _show_error(error: TongwenError) -> None:
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
