"""Evaluation tasks of a user's own, with metrics in Python."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tongwen.errors import InputError, RecipeError, TongwenError
from tongwen.evaluate.free import judge
from tongwen.evaluate.items import make_items
from tongwen.evaluate.readers import read_rows
from tongwen.evaluate.settings import EvaluateSettings, TaskSettings
from tongwen.evaluate.spec import TaskSpec, task_spec
from tongwen.evaluate.stage import files

Write = Callable[..., Path]

CODE = """
from tongwen.plugins import extraction, metric

@metric()
def share(answer):
    assert answer.question == "2 + 2 =" and answer.language == "en"
    return len(answer.judged) / len(answer.accepted[0])

@extraction()
def digits(text):
    return "".join(c for c in text if c.isdigit()) or None
"""
TASK = """
description = "Sums"
language = "en"
kind = "generate"
metric = "share"
code = "code.py"
extract_function = "digits"
prompt = "{question}"
accepted = ["answer"]
[data]
format = "jsonl"
"""


@pytest.fixture
def folder(write: Write, tmp_path: Path) -> Path:
    write("tasks/sums.toml", TASK)
    write("tasks/code.py", CODE)
    write("sums.jsonl", '{"question": "2 + 2 =", "answer": "1234"}\n')
    return tmp_path


def judged(folder: Path, text: str) -> tuple[dict[str, float], str, bool]:
    settings = TaskSettings(name="sums", path=str(folder / "sums.jsonl"))
    spec = task_spec(settings, [str(folder / "tasks")])
    (item,) = make_items(spec, settings, read_rows(spec, Path(settings.path)), chat=False)
    return judge(spec, item, text)


def test_a_task_of_a_folder_is_judged_by_code_of_its_own(folder: Path) -> None:
    scores, text, is_found = judged(folder, "It is 12.")
    assert (scores["share"], text, is_found) == (0.5, "12", True)
    scores, text, is_found = judged(folder, " none ")
    assert (text, is_found) == ("none", False)


def test_the_files_of_a_task_are_inputs_of_the_stage(folder: Path) -> None:
    settings = EvaluateSettings(
        tasks=(TaskSettings(name="sums", path=str(folder / "sums.jsonl")),),
        task_folders=(str(folder / "tasks"),),
    )
    assert files(settings) == [
        folder / "tasks/sums.toml", folder / "tasks/code.py", folder / "sums.jsonl",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("len(answer.judged)", "1 / 0", "failed on the answer to sums.jsonl:1: line 7: ZeroDiv"),
        ("len(answer.judged)", "40", "scored the answer to sums.jsonl:1 with 10"),
        ('"".join', "len or ", "answered .* for the answer to sums.jsonl:1"),
        ("def share", "def shares", "has no function `share`"),
        ("@metric()", "@extraction()", "is not marked as a metric"),
    ],
)
def test_an_error_of_a_metric_names_function_and_item(
    folder: Path, write: Write, old: str, new: str, message: str
) -> None:
    path = write("tasks/code.py", CODE.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        judged(folder, "It is 12.")
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('code = "code.py"', "", "the metric is 'share'"),
        ('metric = "share"\ncode = "code.py"', 'metric = "f1"', "names no `code`"),
        ('extract_function = "digits"', 'extract_function = "digits"\nextract = ["a"]', "has both"),
        ('kind = "generate"', 'kind = "choice"', "does not go with"),
    ],
)
def test_a_task_file_that_cannot_be_used_is_refused(
    folder: Path, write: Write, old: str, new: str, message: str
) -> None:
    write("tasks/sums.toml", TASK.replace(old, new))
    with pytest.raises(RecipeError, match=message):
        judged(folder, "")


def test_the_name_of_a_built_in_task_and_two_of_one_name_are_refused(
    folder: Path, write: Write
) -> None:
    write("tasks/piqa.toml", TASK)
    folders = [str(folder / "tasks"), str(folder / "more")]
    write("more/sums.toml", TASK)
    with pytest.raises(RecipeError, match=r"piqa\.toml has the name of a built-in task"):
        task_spec(TaskSettings(name="piqa", path="x"), folders)
    with pytest.raises(RecipeError, match=r"is in .*tasks/sums\.toml and in .*more/sums\.toml"):
        task_spec(TaskSettings(name="sums", path="x"), folders)
    with pytest.raises(InputError, match=r"task_folders names .*none, which is no folder"):
        task_spec(TaskSettings(name="sums", path="x"), [str(folder / "none")])


def test_an_installed_package_offers_a_task(install: Write, folder: Path) -> None:
    path = folder / "tasks/sums.toml"
    points = "[tongwen.tasks]\nsums = sum_package:TASK\nlost = sum_package:LOST\n"
    install("sum_package", f"TASK = {str(path)!r}\n", points)
    assert task_spec(TaskSettings(name="sums", path="x")).metric == "share"
    with pytest.raises(TongwenError, match=r"the entry point `lost` of tongwen\.tasks fails"):
        task_spec(TaskSettings(name="lost", path="x"))


def test_code_is_for_answers_that_a_model_writes() -> None:
    with pytest.raises(RecipeError, match="goes with tasks of kind 'generate'"):
        TaskSpec(
            description="",
            language="en",
            kind="choice",
            metric="acc",
            choices=("a",),
            code="x.py",
            prompt="",
            data={"format": "jsonl"},  # type: ignore[arg-type]
        )
