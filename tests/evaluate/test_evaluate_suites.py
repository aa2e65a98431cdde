"""Suites: tasks by name, with the reason where data is missing; examples never show the answer."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tongwen.cli.evaluate import command
from tongwen.errors import InputError, RecipeError
from tongwen.evaluate.items import make_items, plain_prompt
from tongwen.evaluate.readers import read_rows
from tongwen.evaluate.settings import EvaluateSettings, TaskSettings
from tongwen.evaluate.spec import builtin_spec, builtin_variants, task_spec
from tongwen.evaluate.suites import suite, suite_names, wanted_tasks, without_data
from tongwen.files import read_json
from tongwen.road.alone import run_alone
from tongwen.road.recipe import load_recipe

SUITES = ["smoke", "small", "yi", "llama2", "chat", "long"]


@pytest.fixture
def evals(tmp_path: Path) -> Path:
    """A folder of data sets with two of those that `smoke` asks."""
    root = tmp_path / "evals"
    for folder, files in {
        "piqa": {
            "valid.jsonl": '{"goal": "cut", "sol1": "a knife", "sol2": "a spoon"}\n' * 3,
            "valid-labels.lst": "0\n0\n0\n",
        },
        "lambada": {"lambada_openai.jsonl": '{"context": "The mill of", "continuation": "H"}\n'},
    }.items():
        (root / folder).mkdir(parents=True)
        for name, text in files.items():
            (root / folder / name).write_text(text, encoding="utf-8")
    return root


def test_every_suite_names_tasks_that_exist_once_and_have_a_source() -> None:
    assert [name for name in suite_names() if name != "code"] == SUITES
    for name in suite_names():
        tasks = suite(name).tasks
        assert len({task.name for task in tasks}) == len(tasks)
        for task in tasks:
            spec = task_spec(task)
            assert spec.source, task.name
            assert spec.protocol, task.name
            if task.shots and not spec.shots.written:
                assert spec.shots.file or spec.shots.members, task.name


def test_a_suite_ends_with_scores_and_with_the_reason_where_data_is_missing(
    model_folder: Path, evals: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = [str(model_folder), "--suite", "smoke", "--data", str(evals), "--limit", "2"]
    result = CliRunner().invoke(command, [*arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert lines["piqa"].split()[3] == "2"
    assert "0-shot choices" in lines["piqa"]
    assert "data missing" in lines["gsm8k"]
    assert "github.com/openai/grade-school-math" in lines["gsm8k"]
    document = read_json(out / "results.json")
    scored = {row["task"] for row in document["results"]}
    missing = {row["task"] for row in document["missing"]}
    assert (scored, missing) == ({"piqa", "lambada"}, {"arc_easy", "cmmlu", "gsm8k", "cmrc2018"})
    assert all(row["protocol"] for row in (*document["results"], *document["missing"]))
    as_json = CliRunner().invoke(command, [*arguments, "--out", str(out), "--json"])
    assert json.loads(as_json.stdout) == document


def test_a_task_without_a_path_is_read_from_the_folder_of_data_sets(
    model_folder: Path, evals: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(
        "defaults",
        options={
            "evaluate.data": str(evals),
            "evaluate.suites": ["smoke"],
            "evaluate.tasks": [{"name": "piqa", "limit": 1}],
        },
    )
    assert recipe.evaluate is not None
    tasks = {task.name: task for task in wanted_tasks(recipe.evaluate)}
    assert tasks["piqa"].limit == 1
    assert tasks["piqa"].path == str(evals / "piqa")
    assert sorted(without_data(recipe.evaluate, list(tasks.values()))) == [
        "arc_easy", "cmmlu", "cmrc2018", "gsm8k",
    ]  # fmt: skip


def test_a_suite_without_any_data_is_an_error(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of 6 tasks"):
        run_alone(
            "evaluate", inputs={"model": model_folder}, out=tmp_path / "out", recipe=None,
            overrides=(), options={"evaluate.suites": ["smoke"], "evaluate.data": str(tmp_path)},
        )  # fmt: skip


def test_a_path_that_the_user_wrote_must_be_there(evals: Path) -> None:
    task = TaskSettings(name="piqa", path=str(evals / "nowhere"))
    settings = EvaluateSettings(tasks=(task,), suites=("smoke",), data=str(evals))
    assert "piqa" not in without_data(settings, wanted_tasks(settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"suites": ("yy",), "data": "x"}, "no suite 'yy'"),
        ({"suites": ("yi",)}, "has no path"),
        ({"tasks": (TaskSettings(name="mmlu@author", path=None),), "data": "x"}, "no variant"),
    ],
)
def test_mistakes_name_what_there_is(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        wanted_tasks(EvaluateSettings(**settings))  # type: ignore[arg-type]


def test_the_suites_and_the_variants_are_listed() -> None:
    suites = CliRunner().invoke(command, ["--list-suites"]).stdout
    assert "commonsense_qa, 7 shots" in suites
    tasks = CliRunner().invoke(command, ["--list-tasks"]).stdout
    assert "mmlu@authors" in tasks
    assert builtin_variants("mmlu") == ["authors", "bits"]


def test_a_variant_changes_only_what_it_says() -> None:
    plain, authors = builtin_spec("mmlu"), builtin_spec("mmlu@authors")
    assert "{name}" in authors.instruction
    assert plain.instruction == ""
    assert (authors.prompt, authors.data, authors.shots) == (plain.prompt, plain.data, plain.shots)


def test_the_text_before_the_shots_comes_once(tmp_path: Path) -> None:
    rows = [
        {"question": f"{n}?", "choices": ["a", "b"], "answer": 0, "subject": "world_history"}
        for n in range(4)
    ]
    for name, part in (("test.jsonl", rows[:1]), ("dev.jsonl", rows[1:])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in part))
    spec = builtin_spec("mmlu@authors")
    task = TaskSettings(name="mmlu@authors", path=str(tmp_path), shots=2)
    (item,) = make_items(spec, task, read_rows(spec, tmp_path), chat=False)
    prompt = plain_prompt(spec, item, item.contexts[0])
    assert prompt.startswith(
        "The following are multiple choice questions (with answers) about world"
    )
    assert prompt.count("world history") == 1
    (item,) = make_items(spec, task, read_rows(spec, tmp_path), chat=True)
    assert [("about world history" in question) for question, _ in item.shots] == [True, False]
    assert "history" not in item.contexts[0]


def test_an_example_never_is_the_question_itself(tmp_path: Path) -> None:
    rows = "".join(
        json.dumps({"problem": f"$ {n} + 1 $?", "solution": f"\\boxed{{{n + 1}}}"}) + "\n"
        for n in range(3)
    )
    file = tmp_path / "mine.toml"
    file.write_text(
        'description = "mine"\nlanguage = "en"\nkind = "generate"\nmetric = "math"\n'
        'prompt = "{problem}"\nanswer = " {solution}"\naccepted = ["solution"]\n'
        '[data]\nformat = "jsonl"\n[shots]\nfile = "rows.jsonl"\n'
    )
    (tmp_path / "rows.jsonl").write_text(rows)
    task = TaskSettings(name="mine", path=str(tmp_path / "rows.jsonl"), spec=str(file), shots=2)
    spec = task_spec(task)
    for item in make_items(spec, task, read_rows(spec, tmp_path / "rows.jsonl"), chat=False):
        assert len(item.shots) == 2
        assert item.contexts[0] not in [question for question, _ in item.shots]
    with pytest.raises(InputError, match="shots = 3"):
        make_items(
            spec,
            TaskSettings(name="mine", path="x", spec=str(file), shots=3),
            read_rows(spec, tmp_path / "rows.jsonl"),
            chat=False,
        )
