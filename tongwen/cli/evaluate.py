"""`tongwen evaluate`: score a model folder on task files, and compare such scores."""

import json
from pathlib import Path
from typing import Any, Literal

import click

from tongwen.cli.options import RunByDefault, stage_options
from tongwen.errors import UsageError
from tongwen.road.alone import run_alone
from tongwen.stages import find_model_folder


def _list_tasks(context: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    if not is_wanted:
        return
    from tongwen.evaluate.spec import builtin_names, builtin_spec, builtin_variants

    for name in builtin_names():
        for full in (name, *(f"{name}@{variant}" for variant in builtin_variants(name))):
            spec = builtin_spec(full)
            about = spec.protocol if "@" in full else f"{spec.description} [{spec.license}]"
            click.echo(f"{full:30}  {spec.kind:8}  {about}")
    context.exit()


def _list_suites(context: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    if not is_wanted:
        return
    from tongwen.evaluate.suites import suite, suite_names

    for name in suite_names():
        found = suite(name)
        click.echo(f"{name}: {found.description}")
        for task in found.tasks:
            click.echo(f"    {task.name}" + (f", {task.shots} shots" if task.shots else ""))
    context.exit()


@click.group(name="evaluate", cls=RunByDefault)
def command() -> None:
    """Score a model on task files, or compare what two or more models have scored.

    \b
    Examples:
      tongwen evaluate my-model --task piqa=data/piqa --out scores
      tongwen evaluate compare scores other-scores --html comparison.html
      tongwen evaluate long my-model --length 4K,32K --out needles
      tongwen evaluate --list-tasks
    """


@command.command(name="run")
@click.argument("model", metavar="MODEL_FOLDER|URL")
@click.option(
    "--task",
    "tasks",
    metavar="NAME[=PATH]",
    multiple=True,
    help="A built-in task, or a task file (TOML), and its data. May be repeated.",
)
@click.option(
    "--suite", "suites", metavar="NAME", multiple=True, help="A list of tasks; see --list-suites."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with a folder for each data set, for tasks without a path.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Items of each task, drawn by id; all of them when absent.",
)
@click.option("--shots", type=click.IntRange(min=0), help="Solved examples before every question.")
@click.option(
    "--chat/--no-chat", default=None, help="Ask in the ChatML format, or with plain prompts."
)
@click.option(
    "--model",
    "model_name",
    metavar="NAME",
    help="Of a server, the model; its only one when absent.",
)
@click.option(
    "--key-variable", metavar="NAME", help="Environment variable that holds the server's key."
)
@click.option(
    "--key-file", type=click.Path(path_type=Path), help="File that holds the server's key."
)
@click.option("--parallel", type=click.IntRange(1, 1_000), help="Requests in flight at a time [8].")
@click.option(
    "--written-choices",
    is_flag=True,
    help="Where a server gives no log-probabilities, have the model write the letter of a choice.",
)
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of a table.")
@click.option(
    "--list-tasks",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_tasks,
    help="Print the built-in tasks.",
)
@click.option(
    "--list-suites",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_suites,
    help="Print the suites and their tasks.",
)
@stage_options
def run(
    model: str,
    tasks: tuple[str, ...],
    suites: tuple[str, ...],
    data: Path | None,
    limit: int | None,
    shots: int | None,
    chat: bool | None,
    model_name: str | None,
    key_variable: str | None,
    key_file: Path | None,
    parallel: int | None,
    written_choices: bool,
    as_json: bool,
    out: Path,
    recipe: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Score a model on task files; scores come with 95 % intervals.

    MODEL_FOLDER is a Hugging Face folder, with int8 weights or plain ones, or a run directory. URL
    is the address of a server with OpenAI's interface; its key appears in no log and no result.

    The same command continues where it was stopped: finished tasks are not asked again.

    \b
    Examples:
      tongwen evaluate my-model --task piqa=data/piqa --out scores
      tongwen evaluate my-model --task my-task.toml=questions.jsonl --chat --out scores
      tongwen evaluate my-model --suite yi --data evals --limit 100 --out scores
      tongwen evaluate http://127.0.0.1:8000 --task piqa=data/piqa --out scores
    """
    from tongwen.evaluate.results import table
    from tongwen.files import read_json

    options: dict[str, Any] = {"evaluate.tasks": task_values(tasks, limit, shots)} if tasks else {}
    if suites:
        options["evaluate.suites"] = list(suites)
    if data is not None:
        options["evaluate.data"] = str(data.absolute())
    if limit is not None:
        options["evaluate.limit"] = limit
    if chat is not None:
        options["evaluate.chat"] = chat
    asking = {
        "key_variable": key_variable,
        "key_file": None if key_file is None else str(key_file.absolute()),
        "parallel": parallel,
        "writes_choices": written_choices or None,
    }
    given = {f"evaluate.server.{key}": value for key, value in asking.items() if value is not None}
    if model.startswith(("http://", "https://")):
        folder = _served(model, model_name, out, recipe, overrides, options | given)
    elif given or model_name is not None:
        raise UsageError(
            f"{model} is a folder; --model, --key-variable, --key-file, --parallel and "
            "--written-choices are for servers",
            hint="name an address such as http://127.0.0.1:8000",
        )
    else:
        folder = find_model_folder(Path(model))
    run_alone(
        "evaluate",
        inputs={"model": folder},
        out=out,
        recipe=recipe,
        overrides=overrides,
        options=options | given,
    )
    if as_json:
        click.echo((out / "results.json").read_text(encoding="utf-8"), nl=False)
    else:
        document = read_json(out / "results.json")
        click.echo(table(document["results"], document["missing"]))


def _served(
    url: str,
    name: str | None,
    out: Path,
    recipe: str | None,
    overrides: tuple[str, ...],
    options: dict[str, Any],
) -> Path:
    """The folder that names the server, below `out`."""
    from tongwen.evaluate.server.endpoint import write_address
    from tongwen.road.recipe import load_recipe

    settings = load_recipe(recipe or "defaults", overrides, options).evaluate
    if settings is None:
        raise UsageError(
            f"the recipe {recipe} has no [evaluate] section", hint="leave --recipe out"
        )
    return write_address(out, url, name, settings.server)


def task_values(
    tasks: tuple[str, ...], limit: int | None, shots: int | None
) -> list[dict[str, Any]]:
    """The recipe's `evaluate.tasks` for the `--task` options.

    Raises:
        UsageError: an option is not of the form NAME=PATH or NAME.
    """
    tables = []
    for text in tasks:
        name, equals, path = text.partition("=")
        if not name or bool(equals) != bool(path):
            raise UsageError(
                f"--task {text}: not of the form NAME=PATH",
                hint="for example --task piqa=data/piqa; --list-tasks prints the names",
            )
        table: dict[str, Any] = {"name": name}
        if path:
            table["path"] = str(Path(path).absolute())
        if name.endswith(".toml"):
            table |= {"name": Path(name).stem, "spec": str(Path(name).absolute())}
        if limit is not None:
            table["limit"] = limit
        if shots is not None:
            table["shots"] = shots
        tables.append(table)
    return tables


@command.command(name="compare")
@click.argument(
    "paths",
    type=click.Path(path_type=Path),
    metavar="FIRST SECOND [MORE ...]",
    nargs=-1,
    required=True,
)
@click.option(
    "--metric", metavar="NAME", help="Score to compare; each task's main one when absent."
)
@click.option(
    "--contamination",
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE",
    help="contamination.json of a curate stage: also score clean and contaminated items apart.",
)
@click.option("--series", is_flag=True, help="The folders are checkpoints, in order of training.")
@click.option(
    "--skip", is_flag=True, help="Leave out tasks that cannot be compared, with a message."
)
@click.option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write an offline page with tables and plots.",
)
@click.option(
    "--markdown",
    "markdown_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the tables as Markdown.",
)
@click.option(
    "--lm-eval",
    "lm_eval_folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write every folder's results and samples in lm-evaluation-harness's layout.",
)
@click.option("--language", type=click.Choice(["en", "zh"]), default="en", show_default=True,
              help="Language of the page.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of Markdown.")
def compare_scores(
    paths: tuple[Path, ...],
    metric: str | None,
    contamination: Path | None,
    series: bool,
    skip: bool,
    html_file: Path | None,
    markdown_file: Path | None,
    lm_eval_folder: Path | None,
    language: Literal["en", "zh"],
    as_json: bool,
) -> None:
    """Say which model is better, and how sure that is: every folder against the first.

    The same items, paired, with errors that respect shared passages; a verdict holds over the whole
    table. Folders are those that `tongwen evaluate --out` wrote.

    \b
    Examples:
      tongwen evaluate compare base tuned --html comparison.html
      tongwen evaluate compare step-1000 step-2000 step-3000 --series
    """
    from tongwen.evaluate.compare.contamination import found_places
    from tongwen.evaluate.compare.lm_eval import write_lm_eval
    from tongwen.evaluate.compare.page import markdown, page, to_json
    from tongwen.evaluate.compare.runs import load_runs
    from tongwen.evaluate.compare.verdicts import compare
    from tongwen.files import write_text

    runs = load_runs(paths)
    for run in runs if lm_eval_folder is not None else ():
        assert lm_eval_folder is not None
        click.echo(write_lm_eval(run, lm_eval_folder), err=True)
    if lm_eval_folder is not None and len(runs) == 1:
        return
    report = compare(
        runs,
        metric=metric,
        contamination=None if contamination is None else found_places(contamination),
        is_series=series,
        skip=skip,
    )
    if html_file is not None:
        write_text(html_file, page(report, language))
    if markdown_file is not None:
        write_text(markdown_file, markdown(report, language))
    if as_json:
        click.echo(json.dumps(to_json(report), ensure_ascii=False, indent=1))
    else:
        click.echo(markdown(report, language), nl=False)


@command.command(name="long")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL_FOLDER")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="Folder of the results; the same command again continues.")  # fmt: skip
@click.option("--length", "lengths", default="4K", show_default=True, metavar="4K,32K,...",
              help="Lengths in tokens, question and answer included.")  # fmt: skip
@click.option("--text", "texts", type=click.Path(path_type=Path), multiple=True, metavar="PATH",
              help="Text to hide needles in: a UTF-8 file or a folder of .txt, .md, .rst. May be "
              "repeated; when absent, in a checkout, the project's documentation.")  # fmt: skip
@click.option("--kind", "kinds", multiple=True, metavar="NAME",
              help="code, single, multi_key, multi_value, multi_query, variables, common_words; "
              "all when absent. May be repeated.")  # fmt: skip
@click.option("--language", "languages", type=click.Choice(["en", "zh"]), multiple=True,
              help="Language of text and questions; both when absent.")  # fmt: skip
@click.option("--depths", type=click.IntRange(min=1), default=5, show_default=True,
              help="Parts of the text, from start to end, that are scored apart.")  # fmt: skip
@click.option("--samples", type=click.IntRange(min=1), default=25, show_default=True,
              help="Questions of each kind at each length and depth.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of needles and places.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              help="Device; `auto` is the GPU where there is one.")  # fmt: skip
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), default="auto",
              help="Data type; `auto` is bf16 on a GPU, else fp32.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print needles.json instead of a table.")
def find_needles(
    model: Path,
    out: Path,
    lengths: str,
    texts: tuple[Path, ...],
    kinds: tuple[str, ...],
    languages: tuple[str, ...],
    depths: int,
    samples: int,
    seed: int,
    device: Literal["auto", "cpu", "cuda"],
    precision: Literal["auto", "bf16", "fp32"],
    as_json: bool,
) -> None:
    """Hide facts in long text, English and Chinese, and count how many the model finds.

    Each text is read once, all its questions are asked on its cache. DIR gets needles.html with a
    heat map of depth by length, needles.md, needles.json and every answer.

    \b
    Examples:
      tongwen evaluate long my-model --length 4K,32K,200000 --out needles
      tongwen evaluate long my-model --text books --kind single --samples 100 --out needles
    """
    from tongwen.evaluate.long.ask import Grid
    from tongwen.evaluate.long.needles import KINDS
    from tongwen.evaluate.long.results import markdown
    from tongwen.evaluate.long.run import evaluate_needles, lengths_of
    from tongwen.evaluate.settings import EvaluateSettings

    found = evaluate_needles(
        find_model_folder(model),
        out,
        texts,
        languages or ("en", "zh"),
        Grid(
            lengths=lengths_of(lengths),
            kinds=kinds or KINDS,
            cells=depths,
            samples=samples,
            seed=seed,
        ),
        EvaluateSettings(device=device, precision=precision),
        lambda line: click.echo(line, err=True),
    )
    click.echo(json.dumps(found, ensure_ascii=False, indent=1) if as_json else markdown(found))
