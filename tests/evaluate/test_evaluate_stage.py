import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from tongwen.cli.evaluate import command, task_values
from tongwen.errors import InputError, RecipeError
from tongwen.evaluate import stage
from tongwen.evaluate.evaluator import Evaluator
from tongwen.evaluate.free import judge
from tongwen.evaluate.items import make_items
from tongwen.evaluate.journal import Journal
from tongwen.evaluate.readers import read_rows
from tongwen.evaluate.settings import TaskSettings
from tongwen.evaluate.spec import builtin_spec
from tongwen.evaluate.stage import files
from tongwen.files import read_json, read_jsonl, write_jsonl
from tongwen.model.folder import load_model_folder, save_model_folder
from tongwen.model.quantized.folder import quantize_model, save_quantized_folder
from tongwen.road.alone import run_alone
from tongwen.road.recipe import load_recipe

FACTS = [{"fact_id": f"f{n}", "relation": ("price", "river")[n % 2]} for n in range(6)]


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    """Questions as the sample web writes them."""
    folder = tmp_path / "gold"
    folder.mkdir()
    questions = [
        {
            "id": f"{lang}-{n}-{template}",
            "lang": lang,
            "fact_id": f"f{n}",
            "question": ("Where is market {}?" if lang == "en" else "{}号市场在哪里？").format(n),
            "answer": choices[n % 4],
            "accepted": [choices[n % 4], f"{choices[n % 4]} town"],
            "choices": choices,
            "sentences": choices,
            "gold": n % 4,
            "template": template,
        }
        for n in range(6)
        for template in (1, 2)
        for lang, choices in (
            ("en", ["Halden", "Oster", "Vale", "New Vale"]),
            ("zh", ["青石镇", "白鹭镇", "三十元", "翻译馆"]),
        )
    ]
    for name, rows in (("facts", FACTS), ("questions", questions)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder / "questions.jsonl"


Tasks = list[dict[str, Any]]


def evaluate(model_folder: Path, out: Path, tasks: Tasks, *overrides: str) -> None:
    run_alone(
        "evaluate",
        inputs={"model": model_folder},
        out=out,
        recipe=None,
        overrides=overrides,
        options={"evaluate.tasks": tasks},
    )


def tasks_of(gold: Path, *names: str) -> Tasks:
    return task_values(tuple(f"{name}={gold}" for name in names), None, None)


BOTH = ("sample_choice", "sample_answer")


def test_results_tell_each_task_and_language(
    model_folder: Path, gold: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    evaluate(model_folder, out, tasks_of(gold, *BOTH), "evaluate.chat=true")
    document = read_json(out / "results.json")
    assert (document["schema"], document["version"]) == ("tongwen.evaluation", 1)
    results = {(row["task"], row["language"]): row for row in document["results"]}
    assert sorted(results) == [(task, lang) for task in sorted(BOTH) for lang in ("en", "zh")]
    for (task, lang), row in results.items():
        assert (row["n"], row["clusters"], row["chat"]) == (12, 6, True)
        low, high = row["interval"]
        assert 0 <= low <= row["value"] <= high <= 1
        assert row["chance"] == (0.25 if task == "sample_choice" else 0.0)
        assert {group: part["n"] for group, part in row["groups"].items()} == {
            "price": 6, "river": 6,
        }  # fmt: skip
        assert row["example"]["prompt"].startswith("<|im_start|>user\n")
        items = [item for item in read_jsonl(out / "items.jsonl") if item["task"] == task]
        mean = sum(i["scores"][row["metric"]] for i in items if i["language"] == lang) / 12
        assert row["value"] == pytest.approx(mean)
    assert set(results["sample_choice", "en"]["scores"]) == {
        "acc", "acc_char", "acc_norm", "greedy", "gold_bits_per_byte", "gold_probability",
    }  # fmt: skip


def test_answers_do_not_depend_on_the_batch(model_folder: Path, gold: Path, tmp_path: Path) -> None:
    answers = []
    for batch_tokens in (7, 150, 100_000):
        out = tmp_path / str(batch_tokens)
        option = f"evaluate.batch_tokens={batch_tokens}"
        evaluate(model_folder, out, tasks_of(gold, *BOTH), option, "evaluate.chat=true")
        answers.append(
            [item.get("answer", item.get("predicted")) for item in read_jsonl(out / "items.jsonl")]
        )
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) == 48


def test_a_run_killed_at_any_step_goes_on_there_and_writes_the_same_bytes(
    model_folder: Path, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    tasks = [*tasks_of(gold, *BOTH), tasks_of(gold, "sample_choice")[0] | {"name": "again"}]
    tasks[2] |= {"layout": "sample_choice", "limit": 9}
    options = ("evaluate.batch_tokens=50",)
    steps: list[str] = []
    true_step, true_parts = Journal.add, write_jsonl

    def step(name: str, last: int) -> None:
        steps.append(name)
        if len(steps) == last:
            raise KeyboardInterrupt

    def watch(last: int) -> None:
        def add(self: Journal, entry: Any) -> None:
            true_step(self, entry)
            step("journal", last)

        def write_part(path: Path, rows: Any) -> int:
            count = true_parts(path, rows)
            step(path.name, last)
            return count

        monkeypatch.setattr(Journal, "add", add)
        monkeypatch.setattr(stage, "write_jsonl", write_part)
        steps.clear()

    watch(0)
    evaluate(model_folder, whole, tasks, *options)
    undisturbed = list(steps)
    assert undisturbed.count("journal") > 5
    assert undisturbed[-1] == "items.jsonl"
    parts = [number for number, name in enumerate(undisturbed, 1) if name != "journal"]
    for last in (1, parts[0] // 2, parts[0] - 1, *parts[:-1], len(undisturbed) - 2):
        killed = tmp_path / f"killed-{last}"
        watch(last)
        with pytest.raises(KeyboardInterrupt):
            evaluate(model_folder, killed, tasks, *options)
        assert not (killed / "results.json").exists()
        watch(0)
        evaluate(model_folder, killed, tasks, *options)
        # Only tasks whose questions are read as one tree are written once more.
        rewritten = sum(name != "journal" for name in undisturbed[:last])
        assert len(steps) <= len(undisturbed) - last + rewritten
        for name in ("results.json", "items.jsonl"):
            assert (killed / name).read_bytes() == (whole / name).read_bytes()
        assert not list((killed / "parts").glob(".*"))


def test_only_a_changed_task_is_asked_again(
    model_folder: Path, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    evaluate(model_folder, out, tasks_of(gold, *BOTH))
    asked: list[tuple[str, int]] = []
    true_records, true_choices = Evaluator.records, Evaluator.choice_records

    def records(self: Evaluator, spec: Any, items: Any, **options: Any) -> Any:
        asked.append((spec.kind, len(items)))
        return true_records(self, spec, items, **options)

    def choice_records(self: Evaluator, tasks: Any, **options: Any) -> Any:
        asked.extend((task.spec.kind, len(task.items)) for task in tasks)
        return true_choices(self, tasks, **options)

    monkeypatch.setattr(Evaluator, "records", records)
    monkeypatch.setattr(Evaluator, "choice_records", choice_records)
    choice, answer = tasks_of(gold, *BOTH)
    evaluate(model_folder, out, [choice, answer | {"limit": 5}])
    assert asked == [("generate", 5)]
    evaluate(model_folder, out, [choice | {"limit": 7}, answer | {"limit": 5}])
    assert asked == [("generate", 5), ("choice", 7)]
    evaluate(model_folder, out, tasks_of(gold, "sample_answer"))
    assert asked == [("generate", 5), ("choice", 7), ("generate", 24)]
    assert [path.name for path in (out / "parts").iterdir()] == ["sample_answer.jsonl"]


def test_an_answer_is_right_when_it_names_the_place_and_no_other(gold: Path) -> None:
    spec = builtin_spec("sample_answer")
    task = TaskSettings(name="sample_answer", path=str(gold))
    items = make_items(spec, task, read_rows(spec, gold), chat=True)
    chinese = next(item for item in items if item.id == "zh-0-1")
    english = next(item for item in items if item.id == "en-2-1")
    said = {
        (chinese, "0号市场在青石镇。"): 1.0,
        (chinese, "在青石镇或白鹭镇。"): 0.0,
        (english, "Market 2 is in Vale."): 1.0,
        (english, "Market 2 is in New Vale."): 0.0,
        (english, ""): 0.0,
    }
    for (item, text), right in said.items():
        assert judge(spec, item, text)[0]["contains"] == right
    scores, _, _ = judge(spec, english, "Vale.")
    assert scores["exact_match"] == 1.0


@pytest.mark.parametrize(
    ("task", "kind", "message"),
    [
        ("sampel_answer=x", RecipeError, "no built-in task `sampel_answer`"),
        ("sample_answer=nowhere.jsonl", InputError, "nowhere.jsonl is not there"),
    ],
)
def test_mistakes_are_found_before_the_model_is_loaded(
    tmp_path: Path, task: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        evaluate(tmp_path, tmp_path / "out", task_values((task,), None, None))


def test_a_folder_without_a_model_or_a_tokenizer_is_refused(
    model_folder: Path, gold: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no config\.json"):
        evaluate(empty, tmp_path / "a", tasks_of(gold, "sample_choice"))
    for name in ("config.json", "model.safetensors"):
        (empty / name).write_bytes((model_folder / name).read_bytes())
    with pytest.raises(InputError, match="tokenizer"):
        evaluate(empty, tmp_path / "b", tasks_of(gold, "sample_choice"))


def test_a_recipe_without_tasks_or_with_two_of_a_name_is_refused(
    model_folder: Path, gold: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="no task"):
        evaluate(model_folder, tmp_path / "out", [])
    with pytest.raises(RecipeError, match="two tasks are named"):
        evaluate(model_folder, tmp_path / "out", tasks_of(gold, "sample_choice", "sample_choice"))


def test_the_stage_names_the_users_own_files(gold: Path) -> None:
    recipe = load_recipe(
        "defaults",
        options={
            "evaluate.tasks": [
                *tasks_of(gold, "sample_choice"),
                {"name": "piqa", "path": "{crawl}/x"},
            ]
        },
    )
    assert [path.name for path in files(recipe.evaluate)] == ["facts.jsonl", "questions.jsonl"]


def test_a_users_own_task_runs_from_the_command_line(model_folder: Path, tmp_path: Path) -> None:
    spec = tmp_path / "greetings.toml"
    spec.write_text(
        'description = "mine"\nlanguage = "zh"\nkind = "choice"\nmetric = "acc"\n'
        'prompt = "{q}"\nanswer = "{choice}"\nchoices = ["{a}", "{b}"]\n[data]\nformat = "jsonl"\n',
        encoding="utf-8",
    )
    data = tmp_path / "greetings.jsonl"
    data.write_text('{"q": "你好，", "a": "世界！", "b": "元元元"}\n' * 3, encoding="utf-8")
    arguments = [str(model_folder), "--task", f"{spec}={data}", "--limit", "2"]
    out = tmp_path / "out"
    table = CliRunner().invoke(command, [*arguments, "--out", str(out)])
    assert table.exit_code == 0, table.output
    lines = table.stdout.splitlines()
    assert lines[0].split()[:4] == ["task", "language", "metric", "n"]
    assert lines[1].split()[:4] == ["greetings", "zh", "acc", "2"]
    as_json = CliRunner().invoke(command, [*arguments, "--out", str(out), "--json"])
    assert json.loads(as_json.stdout) == read_json(out / "results.json")


def test_the_list_of_built_in_tasks_is_printed() -> None:
    result = CliRunner().invoke(command, ["--list-tasks"])
    assert result.exit_code == 0
    assert "mgsm_zh" in result.stdout
    assert "sample_answer" in result.stdout


def test_a_gpu_that_is_not_there_is_an_error_with_a_way_out(
    model_folder: Path, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="torch sees no GPU") as caught:
        evaluate(model_folder, tmp_path / "out", tasks_of(gold, *BOTH), "evaluate.device=cuda")
    assert '"auto"' in str(caught.value.hint)


def test_an_int8_model_is_evaluated_as_it_is_served(
    model_folder: Path, gold: Path, tmp_path: Path
) -> None:
    model, _ = load_model_folder(model_folder)
    names = quantize_model(model)
    save_quantized_folder(tmp_path / "int8", model, model_folder, names)
    evaluate(tmp_path / "int8", tmp_path / "out", tasks_of(gold, *BOTH))
    assert len(list(read_jsonl(tmp_path / "out" / "items.jsonl"))) == 48


def test_a_model_that_computes_nan_ends_the_run_and_is_named(
    model_folder: Path, gold: Path, tmp_path: Path
) -> None:
    model, _ = load_model_folder(model_folder)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    save_model_folder(tmp_path / "broken", model, model_folder, dtype=torch.float32)
    with pytest.raises(InputError, match=r"broken: .*up_proj.weight holds 1 values") as caught:
        evaluate(tmp_path / "broken", tmp_path / "out", tasks_of(gold, *BOTH))
    assert "checkpoint" in str(caught.value.hint)
    assert not (tmp_path / "out" / "results.json").exists()


def test_results_say_when_answers_cannot_be_read(model_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "mgsm_en.tsv"
    data.write_text("How many are three and four?\t7\n" * 3, encoding="utf-8")
    (task,) = task_values((f"mgsm_en={data}",), None, None)
    evaluate(model_folder, tmp_path / "out", [task | {"max_new_tokens": 1}])
    (result,) = read_json(tmp_path / "out" / "results.json")["results"]
    assert set(result["scores"]) == {"contains", "exact_match", "f1", "flexible", "number"}
    assert any("answers could not be read" in warning for warning in result["warnings"])
