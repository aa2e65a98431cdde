"""The command line. Imports nothing heavy: `tongwen --help` must not load torch."""

import contextlib
import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from tongwen import __version__
from tongwen.errors import DoesNotFitError, InputError, RecipeError, TongwenError, UsageError

COMMANDS = {  # name: (module that holds a click command `command`, help shown in the list)
    "run": ("tongwen.cli.run", "All stages of a recipe; run again to resume"),
    "crawl": ("tongwen.cli.crawl", "List raw records, or write the sample web"),
    "curate": ("tongwen.cli.curate", "Raw records to clean documents, with reasons for drops"),
    "tokenizer": ("tongwen.cli.tokenizer", "Train and verify a bilingual tokenizer"),
    "encode": ("tongwen.cli.encode", "Documents to token shards"),
    "plan": ("tongwen.cli.plan", "What a run needs: FLOPs, memory, time, money"),
    "pretrain": ("tongwen.cli.pretrain", "Token shards to a model; run again to resume"),
    "extend": ("tongwen.cli.extend", "Continue on longer sequences"),
    "tune": ("tongwen.cli.tune", "Base model and dialogues to a chat model"),
    "evaluate": ("tongwen.cli.evaluate", "Score a model on task files, with error bars"),
    "quantize": ("tongwen.cli.quantize", "Weights to int8 or int4"),
    "export": ("tongwen.cli.export", "A Hugging Face folder with its model card"),
    "serve": ("tongwen.cli.serve", "OpenAI-compatible API and a chat page"),
    "chat": ("tongwen.cli.chat", "Talk to a model in the terminal"),
    "complete": ("tongwen.cli.complete", "Let a model continue a text"),
    "prune": ("tongwen.cli.prune", "Remove checkpoints that are no longer needed"),
    "report": ("tongwen.cli.report", "One offline page about a run"),
    "recipe": ("tongwen.cli.recipe", "Check a recipe and print it with all its values"),
    "completion": ("tongwen.cli.completion", "Tab completion for bash, zsh and fish"),
    "doctor": ("tongwen.cli.doctor", "What this machine has, to paste into a bug report"),
}


_GROUPED = ("pretrain", "extend", "tune")
"""What torchrun may start in several processes."""


class LazyGroup(click.Group):
    """Commands are imported when they are called, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        near = get_close_matches(name, COMMANDS, n=1)
        if name not in COMMANDS and near and not name.startswith("-"):
            ctx.fail(f"No such command {name!r}. Did you mean `tongwen {near[0]}`?")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names from the table: completing must not import every command."""
        found = [
            CompletionItem(name, help=text)
            for name, (_, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands, in the order of the road"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tongwen")
def cli() -> None:
    """Build, evaluate and serve your own English-Chinese language model.

    \b
    Start here:
      tongwen run sample          all stages on a built-in sample web
      tongwen serve runs/sample   chat with the model it made
    """


def main() -> None:
    """Entry point. The only place that turns an error into text and an exit code."""
    # OpenMP threads that wait in a busy loop starve beside any other process: training went at
    # 190 tokens/s beside two busy workers instead of 3,400, and alone it loses nothing (2026-11).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    _write_any_text()
    try:
        _check_group(sys.argv[1:])
        status = cli.main(standalone_mode=False, complete_var="_TONGWEN_COMPLETE")
        sys.stdout.flush()  # here, where a full disk is an error that can be told
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except TongwenError as error:
        if os.environ.get("TONGWEN_TRACEBACK"):
            raise
        if _is_told_by_another(error):
            sys.exit(error.exit_code)
        _fail(error.message, error.hint, error.exit_code)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("tongwen"):
            raise
        _fail(f"the Python package `{error.name}` is not installed", "pip install 'tongwen[all]'")
    except OSError as error:
        if os.environ.get("TONGWEN_TRACEBACK"):
            raise
        _fail(*_os_error(error))
    except UnicodeEncodeError as error:
        if os.environ.get("TONGWEN_TRACEBACK"):
            raise
        _fail(
            f"a name is not valid text: {os.fsencode(error.object)!r}",
            "rename the file or folder, or set LC_ALL=C.UTF-8",
        )
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "\ninterrupted; finished work is kept, run the same command to continue", err=True
        )
        sys.exit(130)


def _write_any_text() -> None:
    """In a locale that cannot write Chinese, escape it instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_group(arguments: Sequence[str]) -> None:
    """Refuse a command under torchrun that works in one process only.

    Raises:
        UsageError: the command does not train.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    name = next((word for word in arguments if not word.startswith("-")), "")
    if processes > 1 and name in COMMANDS and name not in _GROUPED:
        raise UsageError(
            f"torchrun started {processes} processes, and `tongwen {name}` works in one",
            hint="train one stage in many: torchrun --nproc-per-node 8 -m tongwen pretrain SHARDS "
            "TOKENIZER --out DIR",
        )


def _is_told_by_another(error: Exception) -> bool:
    """Whether the first of the processes that torchrun started on this machine says the same."""
    same_for_all = (UsageError, RecipeError, InputError, DoesNotFitError)
    return isinstance(error, same_for_all) and os.environ.get("LOCAL_RANK", "0") != "0"


def _fail(message: str, hint: str | None = None, exit_code: int = 1) -> NoReturn:
    with contextlib.suppress(OSError):  # nowhere is left to tell it
        click.secho("error: ", fg="red", nl=False, err=True)
        click.echo(message, err=True)
        if hint:
            click.echo(f"\nhint: {hint}", err=True)
    _drop_output()
    sys.exit(exit_code)


def _os_error(error: OSError) -> tuple[str, str | None]:
    """Message and hint for errors of the operating system that no stage has explained."""
    reason = error.strerror or str(error)
    if error.filename is None:
        if error.errno == errno.EPIPE:  # `tongwen recipe sample | head`: nobody reads on
            _drop_output()
            sys.exit(0)
        where = "standard output" if error.errno in (errno.ENOSPC, errno.EIO) else "a file"
        return f"cannot write to {where}: {reason}", None
    path = os.fsdecode(error.filename)
    hints = {
        errno.EEXIST: "a file has this name; choose another folder",
        errno.ENOTDIR: "a part of the path is a file, not a folder; choose another folder",
        errno.EACCES: "choose a folder that you may read and write, or change its permissions",
        errno.EROFS: "the disk cannot be written; choose a folder on another",
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.EISDIR: "this is a folder; name a file",
    }
    return f"{path}: {reason}", hints.get(error.errno or 0)


def _drop_output() -> None:
    """Discard what could not be written; Python would try again, and fail, at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
