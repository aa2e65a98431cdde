"""Every task: right answers score 1.000, a model that says nothing scores 0.000 or chance."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_tasks import ROWS, tiny_items

from tongwen.evaluate import evaluator as evaluator_module
from tongwen.evaluate.answers import cut_at
from tongwen.evaluate.choices import Request, Score
from tongwen.evaluate.evaluator import Evaluator
from tongwen.evaluate.free import judge
from tongwen.evaluate.items import Item, plain_prompt
from tongwen.evaluate.results import summaries
from tongwen.evaluate.spec import TaskSpec, builtin_names, builtin_spec
from tongwen.model.llama import Llama
from tongwen.tokenizer.text import Tokenizer

GENERATE = [name for name in builtin_names() if builtin_spec(name).kind == "generate"]
CHOICE = [name for name in builtin_names() if builtin_spec(name).kind == "choice"]


def test_every_built_in_task_has_rows() -> None:
    assert sorted(ROWS) == builtin_names()


def score_of(spec: TaskSpec, item: Item, said: str) -> dict[str, float]:
    return judge(spec, item, cut_at(said, spec.stop))[0]


@pytest.mark.parametrize("name", GENERATE)
@pytest.mark.parametrize("chat", [False, True])
def test_a_right_answer_scores_one(name: str, chat: bool, tmp_path: Path) -> None:
    spec, items = tiny_items(name, tmp_path, chat=chat)
    for item in items:
        for answer in item.accepted:
            for said in (answer, f" {answer}", f"{answer} \n"):
                scores, _, is_found = judge(spec, item, said)
                assert scores[spec.metric] == 1, (said, item.accepted)
                assert scores["exact_match"] == scores["flexible"] == 1
                assert is_found


SILENCE = ("", " ", ".", "\n", "the", " The", "an", "A", "(", "。", "…", "**", "\\boxed{}", "####",
           "The answer is", "答案：", "-", "，", "$", "%")  # fmt: skip


@pytest.mark.parametrize("name", GENERATE)
@pytest.mark.parametrize("chat", [False, True])
def test_silence_scores_nothing(name: str, chat: bool, tmp_path: Path) -> None:
    spec, items = tiny_items(name, tmp_path, chat=chat)
    for item in items:
        for said in SILENCE:
            if said.strip() in item.accepted or (said == "A" and "(A)" in item.accepted):
                continue
            scores = score_of(spec, item, said)
            assert set(scores.values()) == {0.0}, (said, item.accepted, scores)


@pytest.mark.parametrize("name", GENERATE)
@pytest.mark.parametrize("chat", [False, True])
def test_repeating_the_prompt_scores_nothing(name: str, chat: bool, tmp_path: Path) -> None:
    spec, items = tiny_items(name, tmp_path, chat=chat)
    for item in items:
        context = item.contexts[0]
        prompt = context if chat else plain_prompt(spec, item, context)
        unlabelled = prompt.removeprefix("Question: ").removeprefix("问题：").removeprefix("Q: ")
        for said in (prompt, f" {prompt}", f"{prompt}\n\n{prompt}", unlabelled):
            for cut in (said, cut_at(said, spec.stop)):
                scores = judge(spec, item, cut)[0]
                assert set(scores.values()) == {0.0}, (cut, item.accepted, scores)


def test_a_bare_letter_is_not_the_letter_in_brackets_but_flexible_takes_it(tmp_path: Path) -> None:
    spec, items = tiny_items("bbh", tmp_path)
    item = next(item for item in items if item.accepted == ("(A)",))
    assert score_of(spec, item, " (A)")["exact_match"] == 1
    assert score_of(spec, item, " （A）。")["exact_match"] == 1
    assert score_of(spec, item, " So the answer is (A).")["exact_match"] == 1
    assert score_of(spec, item, " A")["exact_match"] == 0
    assert score_of(spec, item, " A")["flexible"] == 1
    assert score_of(spec, item, " B")["flexible"] == 0


def test_strict_counted_and_lenient_scores_are_in_order(tmp_path: Path) -> None:
    spec, items = tiny_items("gsm8k", tmp_path)
    item = items[1]
    for said, scores in (
        ("#### 13", (1, 1, 1)),
        ("16 - 3 = 13, so 13 eggs", (0, 1, 1)),
        ("The answer is 12. No, wait: 13", (0, 0, 1)),
        ("The answer is 12.", (0, 0, 0)),
    ):
        found = judge(spec, item, said)[0]
        assert (found["exact_match"], found["number"], found["flexible"]) == scores, said


@pytest.mark.parametrize("name", CHOICE)
@pytest.mark.parametrize("chat", [False, True])
def test_the_likeliest_choice_scores_one_and_a_wrong_one_none(
    name: str,
    chat: bool,
    tmp_path: Path,
    model: Llama,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, items = tiny_items(name, tmp_path, chat=chat)
    for is_right in (True, False):

        def oracle(
            model: Llama, requests: Sequence[Request], *, is_right: bool = is_right, **_: Any
        ) -> list[Score]:
            golds: Iterator[bool] = (
                index == item.gold for item in items for index in range(len(item.choices))
            )
            return [Score(-1.0 if gold is is_right else -900.0, gold is is_right) for gold in golds]

        monkeypatch.setattr(evaluator_module, "score", oracle)
        records = list(
            Evaluator(model, tokenizer, 256).records(
                spec, items, chat=chat, max_new_tokens=1, report=lambda done, total: None
            )
        )
        if any(record["not_scored"] for record in records):
            pytest.fail("the tiny rows do not fit the tiny model")
        if spec.metric == "greedy" or is_right:
            for result in summaries(name, spec, records):
                assert result["value"] == float(is_right)
                assert result["chance"] < 1
