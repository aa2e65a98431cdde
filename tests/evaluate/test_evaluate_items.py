import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tongwen.errors import InputError, RecipeError
from tongwen.evaluate.items import Item, make_items, plain_prompt
from tongwen.evaluate.readers import read_rows
from tongwen.evaluate.settings import TaskSettings
from tongwen.evaluate.spec import (
    DataSpec,
    ShotsSpec,
    TaskSpec,
    builtin_names,
    builtin_spec,
    task_spec,
)


def items_of(
    spec: TaskSpec, path: Path, rows: list[Any], *, chat: bool = False, **settings: Any
) -> list[Item]:
    file = path / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = TaskSettings(name="test", path=str(file), **settings)
    return make_items(spec, task, read_rows(spec, file), chat=chat)


def choice_spec(**changes: Any) -> TaskSpec:
    values: dict[str, Any] = {
        "description": "test", "kind": "choice", "metric": "acc", "language": "en",
        "prompt": "{question}", "choices_field": "choices", "gold_field": "gold",
        "data": DataSpec(format="jsonl"),
    }  # fmt: skip
    return TaskSpec(**(values | changes))


def test_every_built_in_task_is_readable_and_complete() -> None:
    names = builtin_names()
    assert len(names) >= 30
    for name in names:
        spec = builtin_spec(name)
        assert spec.description
        assert spec.license
        assert spec.data.file


def test_templates_fill_fields_and_leave_fields_alone(tmp_path: Path) -> None:
    spec = choice_spec(prompt="{{{a.b}}} {list.1}：{question}", choices_field="list")
    row = {"question": "{gold}谁？", "a": {"b": 7}, "list": ["x", "y{"], "gold": 1}
    (item,) = items_of(spec, tmp_path, [row])
    assert item.contexts == ("{7} y{：{gold}谁？",)
    assert item.choices == (" x", " y{")


def test_letters_stand_for_choices_and_are_scored(tmp_path: Path) -> None:
    spec = choice_spec(
        prompt="{question}\n{lettered}\nAnswer:", lettered=True, choice_pattern=r"^\([A-D]\)\s*(.*)"
    )
    row = {"question": "Which?", "choices": ["(A) one", "(B)two"], "gold": 1}
    (item,) = items_of(spec, tmp_path, [row])
    assert item.contexts == ("Which?\nA. one\nB. two\nAnswer:",)
    assert item.choices == (" A", " B")


@pytest.mark.parametrize("gold", [4, -1, "A", None, 1.5, ""])
def test_a_right_choice_out_of_range_names_file_and_item(tmp_path: Path, gold: object) -> None:
    row = {"question": "?", "choices": ["a", "b"], "gold": 0}
    with pytest.raises(InputError, match=r"data\.jsonl:2: the right choice is .* 0 to 1"):
        items_of(choice_spec(), tmp_path, [row, row | {"gold": gold}])


def test_right_choices_may_be_named_by_values_of_the_task_or_of_the_row(tmp_path: Path) -> None:
    row = {"question": "?", "choices": ["a", "b"], "gold": True, "labels": ["1", "2"], "key": 2}
    by_task = choice_spec(gold_values=("false", "true"))
    by_row = choice_spec(gold_field="key", gold_values_field="labels")
    assert [items_of(spec, tmp_path, [row])[0].gold for spec in (by_task, by_row)] == [1, 1]
    with pytest.raises(InputError, match="none of 1, 2"):
        items_of(by_row, tmp_path, [row | {"key": 3}])


def test_an_empty_choice_or_half_a_surrogate_is_refused(tmp_path: Path) -> None:
    row = {"question": "?", "choices": ["a", " "], "gold": 0}
    with pytest.raises(InputError, match=r"data\.jsonl:1: choice 1 is empty"):
        items_of(choice_spec(), tmp_path, [row])
    with pytest.raises(InputError, match=r"data\.jsonl:1 holds half a surrogate"):
        items_of(choice_spec(), tmp_path, [row | {"question": "\ud83c", "choices": ["a", "b"]}])


def test_a_limit_takes_the_same_items_whatever_their_order(tmp_path: Path) -> None:
    rows = [{"id": n, "question": f"q{n}", "choices": ["a", "b"], "gold": 0} for n in range(50)]
    spec = choice_spec(id="id")
    forward = items_of(spec, tmp_path, rows, limit=7)
    backward = items_of(spec, tmp_path, rows[::-1], limit=7)
    assert len(forward) == 7
    assert [item.id for item in forward] == [item.id for item in backward][::-1]
    assert [int(item.id) for item in forward] != list(range(7))
    assert len(items_of(spec, tmp_path, rows, limit=80)) == 50


def test_ids_are_unique_even_where_the_data_repeats_them(tmp_path: Path) -> None:
    row = {"id": "x", "question": "?", "choices": ["a", "b"], "gold": 0}
    items = items_of(choice_spec(id="id"), tmp_path, [row, row])
    assert [item.id for item in items] == ["x", "x#2"]


def test_items_without_a_cluster_value_stand_alone(tmp_path: Path) -> None:
    row = {"question": "?", "choices": ["a", "b"], "gold": 0}
    rows = [row | {"passage": passage} for passage in ("long " * 40, "long " * 40, None, "", "p")]
    items = items_of(choice_spec(cluster="passage"), tmp_path, rows)
    assert len({item.cluster for item in items}) == 4
    assert items[4].cluster == "p"


def test_examples_are_the_first_of_the_questions_own_subject(tmp_path: Path) -> None:
    dev = [
        {"question": f"{subject}{n}", "choices": ["a", "b"], "gold": n % 2, "subject": subject}
        for n in range(3)
        for subject in ("law", "art")
    ]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in dev))
    spec = choice_spec(shots=ShotsSpec(file="dev.jsonl", match="subject"))
    row = {"question": "ask", "choices": ["a", "b"], "gold": 0, "subject": "law"}
    (item,) = items_of(spec, tmp_path, [row], shots=2)
    assert item.shots == (("law0", " a"), ("law1", " b"))
    assert plain_prompt(spec, item, item.contexts[0]) == "law0 a\n\nlaw1 b\n\nask"
    with pytest.raises(InputError, match="3 examples with subject = law, shots = 4"):
        items_of(spec, tmp_path, [row], shots=4)
    with pytest.raises(RecipeError, match="no examples"):
        items_of(choice_spec(), tmp_path, [row], shots=1)


def test_free_answers_take_every_accepted_form(tmp_path: Path) -> None:
    spec = TaskSpec(
        description="test", kind="generate", metric="number", language_field="lang",
        prompt="Q: {q}\nA:", prompt_zh="问：{q}\n答：", chat_prompt="{q}",
        accepted=("answer", "aliases"), accepted_pattern="#### (.+)",
        data=DataSpec(format="jsonl"),
    )  # fmt: skip
    rows = [
        {"q": "几个？", "lang": "zh-Hans", "answer": "三个。\n#### 3", "aliases": ["三", "3", " "]},
        {"q": "how many", "lang": "en", "answer": "#### 3", "aliases": []},
    ]
    chinese, english = items_of(spec, tmp_path, rows)
    assert chinese.accepted == ("3", "三")
    assert (chinese.contexts, english.contexts) == (("问：几个？\n答：",), ("Q: how many\nA:",))
    assert items_of(spec, tmp_path, rows, chat=True)[0].contexts == ("几个？",)
    with pytest.raises(InputError, match=r"data\.jsonl:1 has no accepted answer"):
        items_of(spec, tmp_path, [rows[0] | {"answer": "", "aliases": []}])


def test_an_unknown_task_names_the_nearest_ones() -> None:
    with pytest.raises(RecipeError, match="no built-in task `picqa`") as caught:
        task_spec(TaskSettings(name="picqa", path="x"))
    assert "`piqa`" in (caught.value.hint or "")


def test_a_users_task_file_is_checked_like_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    text = (
        'description = "mine"\nlanguage = "zh"\nkind = "generate"\nmetric = "contains"\n'
        'prompt = "{问题}"\naccepted = ["答案"]\n[data]\nformat = "jsonl"\n'
    )
    file.write_text(text, encoding="utf-8")
    task = TaskSettings(name="mine", path="x", spec=str(file))
    assert task_spec(task).prompt == "{问题}"
    for bad, message in (
        (text.replace("metric", "metrik"), r"unknown key `metrik` \(.*mine.toml, line 4\)"),
        (text.replace('"contains"', '"acc"'), "does not go with"),
        (text.replace('"zh"', "3"), "must be a string"),
        (text.replace('accepted = ["答案"]\n', ""), "needs `accepted`"),
        (text.replace('format = "jsonl"', ""), "`data.format` is missing"),
        (text + "[", "not valid TOML"),
    ):
        file.write_text(bad, encoding="utf-8")
        with pytest.raises(RecipeError, match=message):
            task_spec(task)
    file.unlink()
    with pytest.raises(InputError, match="cannot read the task file"):
        task_spec(task)


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"name": "a/b"}, {"limit": 0}, {"shots": -1}, {"layout": "piqa", "spec": "x"}],
)
def test_impossible_task_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        TaskSettings(**({"name": "piqa", "path": "x"} | changes))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_names_every_task_and_every_key(language: str) -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / language / "evaluate.md").read_text(encoding="utf-8")
    keys = {key.name for key in fields(TaskSpec)} - {"data", "shots"}
    keys |= {f"data.{key.name}" for key in fields(DataSpec)}
    keys |= {f"shots.{key.name}" for key in fields(ShotsSpec)}
    missing = [name for name in (*builtin_names(), *sorted(keys)) if f"`{name}`" not in page]
    assert missing == []
