"""Tasks: declared functions, inputs by name, and what a digest holds."""

from pathlib import Path

import pytest

from tongwen.flow.task import Task, TaskContext, TaskInput, step

_A, _B = TaskInput(Path("a"), "digest of a"), TaskInput(Path("b"), "digest of b")


@step("weigh", inputs=("apples", "pears"))
def weigh(context: TaskContext) -> dict[str, int]:
    return {"apples": len(context.inputs["apples"])}


def undeclared(context: TaskContext) -> dict[str, int]:
    return {}


def test_inputs_are_given_and_read_by_name() -> None:
    task = Task(weigh, 0, {"apples": [_A, _B], "pears": _B})
    context = TaskContext(task, Path(), frozenset(), None)
    assert context.inputs["apples"] == (Path("a"), Path("b"))
    assert context.file("pears") == Path("b")
    assert weigh(context) == {"apples": 2}
    assert (task.step, task.name) == ("weigh", "weigh/00000")


@pytest.mark.parametrize("inputs", [{"apples": _A}, {"apples": _A, "pear": _B}, {}])
def test_a_mistyped_missing_or_unknown_input_is_refused(inputs: dict[str, TaskInput]) -> None:
    with pytest.raises(TypeError, match="weigh reads apples, pears; it was given"):
        Task(weigh, 0, inputs)


def test_a_function_that_reads_another_name_is_stopped() -> None:
    task = Task(weigh, 0, {"apples": _A, "pears": ()})
    context = TaskContext(task, Path(), frozenset(), None)
    with pytest.raises(KeyError, match="no input is called plums; there are apples, pears"):
        context.file("plums")


def test_a_function_that_no_worker_could_find_or_that_is_not_declared_is_refused() -> None:
    with pytest.raises(TypeError, match="not declared as a step"):
        Task(undeclared, 0, {})
    with pytest.raises(TypeError, match="defined inside a function"):

        @step("local", inputs=())
        def local(context: TaskContext) -> dict[str, int]:
            return {}


def test_a_digest_holds_names_contents_and_code_but_no_path() -> None:
    one = Task(weigh, 0, {"apples": _A, "pears": _B})
    assert one.digest == Task(weigh, 0, {"pears": [_B], "apples": [_A]}).digest
    elsewhere = TaskInput(Path("/moved/a"), "digest of a")
    assert one.digest == Task(weigh, 0, {"apples": elsewhere, "pears": _B}).digest
    assert one.digest != Task(weigh, 0, {"apples": _B, "pears": _A}).digest
    assert one.digest != Task(weigh, 1, {"apples": _A, "pears": _B}).digest
    assert one.digest != Task(weigh, 0, {"apples": _A, "pears": _B}, {"seed": 1}).digest
    assert one.code["weigh"].startswith("+")  # not in the table: named by its sources
