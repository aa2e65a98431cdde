"""The judge and the sample web's own answers agree."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tongwen.evaluate.free import judge
from tongwen.evaluate.items import Item, make_items
from tongwen.evaluate.readers import read_rows
from tongwen.evaluate.settings import TaskSettings
from tongwen.evaluate.spec import builtin_spec
from tongwen.sample.labels import dialogue_rows, fact_rows, question_rows
from tongwen.sample.packaged import packaged
from tongwen.sample.talk import outside_rows
from tongwen.sample.world import build_world

SPEC = builtin_spec("sample_answer")


@pytest.fixture(scope="module")
def taught() -> dict[tuple[str, str], set[str]]:
    """(fact, language) -> the sentences that tuning teaches."""
    sentences: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in dialogue_rows(build_world(pages=2_000, seed=1862), seed=1862):
        if row["kind"] == "fact":
            sentences[row["fact_id"], row["lang"]].add(row["messages"][-1]["content"])
    return sentences


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    folder: Path = tmp_path_factory.mktemp("gold")
    world = build_world(pages=2_000, seed=1862)
    tables: dict[str, list[dict[str, Any]]] = {
        "facts": list(fact_rows(world)),
        "questions": list(question_rows(world, seed=1862)),
    }
    for name, rows in tables.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    task = TaskSettings(name="sample_answer", path=str(folder))
    return make_items(SPEC, task, read_rows(SPEC, folder), chat=True)


def test_every_taught_sentence_is_a_right_answer(
    items: list[Item], taught: dict[tuple[str, str], set[str]]
) -> None:
    wrong = [
        (item.contexts[0], sentence, item.accepted, item.choices)
        for item in items
        for sentence in sorted(taught[item.cluster, item.language])
        if judge(SPEC, item, sentence)[0]["contains"] != 1
    ]
    assert wrong == []


def test_every_wrong_choice_is_a_wrong_answer(items: list[Item]) -> None:
    for item in items:
        for index, choice in enumerate(item.choices):
            right = float(index == item.gold)
            assert judge(SPEC, item, f"{choice}。")[0]["contains"] == right, (item, choice)


def test_the_sentence_of_another_fact_is_no_answer(
    items: list[Item], taught: dict[tuple[str, str], set[str]]
) -> None:
    accepted_by_fact = {(item.cluster, item.language): item.accepted for item in items}
    chance = 0
    for number, item in enumerate(items):
        other = items[(number + 997) % len(items)]
        if accepted_by_fact[other.cluster, item.language] == item.accepted:
            continue
        for sentence in taught[other.cluster, item.language]:
            chance += judge(SPEC, item, sentence)[0]["contains"] == 1
    # A few facts share a town or a number: the sentence then holds the right answer too.
    assert chance / len(items) < 0.05


def test_only_not_knowing_is_right_for_a_question_from_outside(
    tmp_path: Path, taught: dict[tuple[str, str], set[str]]
) -> None:
    spec = builtin_spec("sample_talk")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in outside_rows())
    (tmp_path / "outside.jsonl").write_text(text, encoding="utf-8")
    task = TaskSettings(name="sample_outside", layout="sample_talk", path=str(tmp_path))
    items = make_items(spec, task, read_rows(spec, tmp_path), chat=True)
    for item in items:
        answer = packaged("unknown")[item.language]["answer"]
        assert judge(spec, item, answer)[0]["contains"] == 1
        for (_, language), sentences in taught.items():
            if language == item.language:
                assert all(judge(spec, item, each)[0]["contains"] == 0 for each in sentences)
