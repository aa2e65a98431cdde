"""Program tasks: how an answer becomes a program, what it scores, and what is refused."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tongwen.cli.main import cli
from tongwen.errors import RecipeError
from tongwen.evaluate import evaluator as evaluator_module
from tongwen.evaluate import programs as programs_module
from tongwen.evaluate.evaluator import Evaluator
from tongwen.evaluate.free import Answer
from tongwen.evaluate.items import Item, make_items, plain_prompt
from tongwen.evaluate.programs import (
    ProgramSettings,
    check_metric,
    judged_samples,
    program_text,
    sample_answers,
)
from tongwen.evaluate.readers import read_rows
from tongwen.evaluate.results import summaries
from tongwen.evaluate.settings import TaskSettings
from tongwen.evaluate.spec import TaskSpec, builtin_spec
from tongwen.evaluate.statistics import pass_at_k
from tongwen.files import read_jsonl
from tongwen.model.llama import Llama
from tongwen.recipe.loader import load_table
from tongwen.tokenizer.text import Tokenizer

HUMANEVAL = [
    {
        "task_id": f"T/{n}",
        "prompt": f'import math\n\n\ndef times(x):\n    """Take x {n} times."""\n',
        "entry_point": "times",
        "canonical_solution": f"    return math.prod((x, {n}))\n",
        "test": f"def check(candidate):\n    assert candidate(2) == {2 * n}\n",
    }
    for n in range(2, 5)
]
MBPP = [
    {
        "task_id": n,
        "text": f"Take a number {n} times.",
        "code": f"class Box:\r\n  def __init__(self, x): self.x = x\r\n"
        f"def times(b): return b.x * {n}",
        "test_setup_code": "b = Box(2)",
        "test_list": [f"assert times(b) == {2 * n}", "assert times(Box(0)) == 0", "assert 1"],
    }
    for n in (1, 2, 3, 4, 10, 11, 510, 511, 974)
]
FILES = {"humaneval": HUMANEVAL, "mbpp": MBPP, "mbpp_rest": MBPP}
GOLD = {"humaneval": "canonical_solution", "mbpp": "code", "mbpp_rest": "code"}


def task_items(
    name: str, folder: Path, *, shots: int = 0, chat: bool = False
) -> tuple[TaskSpec, list[Item], list[str]]:
    """The task, its items and their gold answers."""
    spec = builtin_spec(name)
    path = folder / spec.data.file.replace("*", "")
    path.write_text("".join(json.dumps(row) + "\n" for row in FILES[name]))
    rows = read_rows(spec, folder)
    task = TaskSettings(name=name, path=str(folder), shots=shots)
    items = make_items(spec, task, rows, chat=chat)
    return spec, items, [str(row.values[GOLD[name]]) for row in rows.rows]


def answers(texts: Sequence[str]) -> list[list[Answer]]:
    return [[Answer(text, hit_limit=False)] for text in texts]


def verdicts(items: Sequence[Item], texts: Sequence[str], *, chat: bool = False) -> list[str]:
    judged = judged_samples(items, answers(texts), "no-isolation", chat=chat)
    return [sample["verdict"] for samples in judged for sample in samples]


@pytest.mark.parametrize("name", FILES)
def test_gold_solutions_pass(name: str, tmp_path: Path) -> None:
    _, items, gold = task_items(name, tmp_path)
    assert verdicts(items, gold) == ["passed"] * len(items)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("chat", [False, True])
def test_silence_and_the_prompt_repeated_pass_nothing(
    name: str, chat: bool, tmp_path: Path
) -> None:
    _, items, _ = task_items(name, tmp_path, chat=chat)
    for text in ("", "the", "    pass\n", "    return None\n", items[0].contexts[0]):
        assert "passed" not in verdicts(items, [text] * len(items), chat=chat), text


def test_mbpp_asks_the_authors_halves_and_shows_their_examples(tmp_path: Path) -> None:
    spec, items, _ = task_items("mbpp", tmp_path, shots=3)
    assert [item.id for item in items] == ["11", "510"]
    prompt = plain_prompt(spec, items[0], items[0].contexts[0])
    assert [f"Take a number {n} times" in prompt for n in (1, 2, 3, 4, 10, 11)] == [
        False, True, True, True, False, True,
    ]  # fmt: skip
    assert prompt.count("[BEGIN]") == 4
    assert prompt.count("[DONE]\n\n") == 3
    assert prompt.endswith("assert 1\n[BEGIN]\n")
    _, rest, _ = task_items("mbpp_rest", tmp_path)
    assert [item.id for item in rest] == ["511", "974"]


def test_humaneval_asks_the_prompt_as_it_is(tmp_path: Path) -> None:
    spec, items, _ = task_items("humaneval", tmp_path)
    assert [item.contexts[0] for item in items] == [row["prompt"] for row in HUMANEVAL]
    assert spec.stop == ("\nclass", "\ndef", "\n#", "\nif", "\nprint")


def test_of_a_chat_answer_the_block_that_defines_the_function_runs(tmp_path: Path) -> None:
    _, items, _ = task_items("humaneval", tmp_path, chat=True)
    code = "def times(x):\n    return math.prod((2, x))\n"
    for answer in (
        f"Sure!\n```python\n{code}```\nDone.",
        f"First:\n```\nprint(1)\n```\nthen\n```py\n{code}```",
        f"```python\n{code}",
        code,
    ):
        assert verdicts(items[:1], [answer], chat=True) == ["passed"], answer
    assert items[0].program is not None
    assert "print(1)" in program_text(items[0].program, "```\nprint(1)\n```", chat=True)


def test_pass_at_k_is_the_share_of_draws_with_a_right_one() -> None:
    for samples, passed, k in ((5, 2, 1), (5, 2, 3), (6, 0, 2), (4, 4, 4), (5, 3, 3), (5, 1, 5)):
        draws = list(itertools.combinations(range(samples), k))
        share = sum(min(draw) < passed for draw in draws) / len(draws)
        assert pass_at_k(samples, passed, k) == pytest.approx(share)
    # Chen et al. 2021, the numerically stable product of their listing 3.
    product = 1.0
    for i in range(200 - 37 + 1, 201):
        product *= 1 - 100 / i
    assert pass_at_k(200, 37, 100) == pytest.approx(1 - product)
    with pytest.raises(ValueError, match="pass@3 of 2"):
        pass_at_k(2, 1, 3)


def test_samples_differ_and_are_the_same_again(model: Llama, tokenizer: Tokenizer) -> None:
    prompts = [tokenizer.encode("The river"), tokenizer.encode("问题：")]

    def drawn(temperature: float, samples: int) -> list[list[Answer]]:
        return sample_answers(
            model, tokenizer, prompts, stops=(), max_new_tokens=8, batch_tokens=256,
            programs=ProgramSettings(samples, temperature), report=lambda done, total: None,
        )  # fmt: skip

    first = drawn(1.0, 3)
    assert first == drawn(1.0, 3)
    assert [len(samples) for samples in first] == [3, 3]
    assert all(len({answer.text for answer in samples}) > 1 for samples in first)
    assert drawn(0.0, 1) == drawn(0.0, 1)


def test_a_task_ends_with_pass_at_k_and_its_interval(
    model: Llama, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, items, gold = task_items("humaneval", tmp_path)

    def oracle(*_: Any, report: Any, **__: Any) -> list[list[Answer]]:
        right = [[Answer(text, hit_limit=False)] for text in gold]
        wrong = Answer("    return\n", hit_limit=False)
        return [given + [wrong] * 9 for given in right[:2]] + [[wrong] * 10]

    monkeypatch.setattr(evaluator_module, "sample_answers", oracle)
    records = list(
        Evaluator(model, tokenizer, 256).records(
            spec, items, chat=False, max_new_tokens=8, report=lambda done, total: None,
            programs=ProgramSettings(10, 0.8, "no-isolation"),
        )
    )  # fmt: skip
    (result,) = summaries("humaneval", spec, records)
    assert result["value"] == pytest.approx(2 / 30)
    assert result["scores"]["pass@10"]["value"] == pytest.approx(2 / 3)
    assert result["interval"][0] < 2 / 30 < result["interval"][1]
    assert result["verdicts"] == {"passed": 2, "wrong": 28}
    assert result["chance"] == 0
    assert records[0]["samples"][0]["answer"] == gold[0]


def test_a_program_task_of_your_own_runs_from_the_command_line(
    model_folder: Path, tmp_path: Path
) -> None:
    task, data, out = tmp_path / "twice.toml", tmp_path / "rows.jsonl", tmp_path / "out"
    task.write_text(
        'description = "Double"\nlanguage = "en"\nkind = "program"\nmetric = "pass@1"\n'
        'prompt = "{head}"\nprogram_start = "{head}"\ntests_field = "checks"\n'
        'stop = ["\\ndef"]\nmax_new_tokens = 6\n[data]\nformat = "jsonl"\n'
    )
    rows = [
        {"head": "def twice(x): return 2 * x #", "checks": ["assert twice(2) == 4"]},
        {"head": "def twice(x): return x #", "checks": ["assert twice(2) == 4"]},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["evaluate", str(model_folder), "--out", str(out), "--json"]
    arguments += ["--task", f"{task}={data}", "--set", "evaluate.unsafe_code=no-isolation"]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    (result,) = json.loads(done.stdout)["results"]
    assert (result["task"], result["kind"], result["n"]) == ("twice", "program", 2)
    records = list(read_jsonl(out / "items.jsonl"))
    assert [set(record["scores"]) for record in records] == [{"pass@1"}] * 2
    assert records[1]["samples"][0]["verdict"] != "passed"
    assert sum(result["verdicts"].values()) == 2
    first = (out / "results.json").read_bytes()
    CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert (out / "results.json").read_bytes() == first


def test_pass_at_k_needs_k_samples_and_samples_need_a_program() -> None:
    humaneval = builtin_spec("humaneval")
    ten = TaskSettings(name="x", path="x", samples=10, temperature=0.8)
    check_metric(humaneval, ten)
    text = 'description = ""\nlanguage = "en"\nkind = "program"\nmetric = "pass@100"\n'
    text += 'prompt = ""\ntests = "assert 1"\n[data]\nformat = "jsonl"\n'
    with pytest.raises(RecipeError, match=r"pass@100, and samples = 10"):
        check_metric(load_table(TaskSpec, text, "task"), ten)
    with pytest.raises(RecipeError, match="of kind 'generate'"):
        check_metric(builtin_spec("gsm8k"), ten)
    with pytest.raises(RecipeError, match="all be the same"):
        TaskSettings(name="x", path="x", samples=2)
    with pytest.raises(RecipeError, match="needs `tests`"):
        load_table(TaskSpec, text.replace('tests = "assert 1"\n', ""), "task")
    with pytest.raises(RecipeError, match="does not go with"):
        load_table(TaskSpec, text.replace("pass@100", "f1"), "task")


def test_the_sandbox_is_tried_before_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    class Closed:
        def __enter__(self) -> None:
            called.append("opened")

        def __exit__(self, *_: object) -> None:
            called.append("closed")

    monkeypatch.setattr(programs_module, "sandbox", lambda isolation, workers: Closed())
    programs_module.check_sandbox("isolated")
    assert called == ["opened", "closed"]
