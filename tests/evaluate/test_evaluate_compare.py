"""Evaluations side by side: what is compared, what is refused, and what comes out."""

import json
import random
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tongwen.cli.main import cli
from tongwen.errors import InputError
from tongwen.evaluate.compare.contamination import found_places
from tongwen.evaluate.compare.lm_eval import write_lm_eval
from tongwen.evaluate.compare.page import markdown, page, to_json
from tongwen.evaluate.compare.runs import load_runs
from tongwen.evaluate.compare.verdicts import compare
from tongwen.evaluate.results import SCHEMA, VERSION, summaries
from tongwen.evaluate.spec import builtin_spec
from tongwen.files import read_json, read_jsonl, write_json, write_jsonl

Record = dict[str, Any]


def choice_record(number: int, right: float, language: str = "en", per: int = 1) -> Record:
    return {
        "id": f"q{number}", "place": f"test.jsonl:{number + 1}", "language": language,
        "cluster": f"p{number // per}", "group": "", "gold": 0, "prompt": f"Question {number}:",
        "truncated": False, "predicted": 0, "margin": 1.0, "not_scored": None,
        "choices": [{"text": " a", "log_probability": -1.0}, {"text": " b", "log_probability": -2}],
        "scores": {"acc": right, "acc_norm": right, "greedy": right,
                   "gold_bits_per_byte": 2 - right, "gold_probability": right},
    }  # fmt: skip


def program_record(number: int, passed: int, samples: int = 10) -> Record:
    verdicts = ["passed"] * passed + ["wrong"] * (samples - passed)
    return {
        "id": f"h{number}", "place": f"h.jsonl:{number + 1}", "language": "en",
        "cluster": f"h{number}", "group": "", "gold": None, "prompt": f"def f{number}():",
        "truncated": False, "choices": [], "not_scored": None, "hit_limit": False,
        "samples": [{"answer": "    pass", "verdict": one, "message": ""} for one in verdicts],
        "scores": {"pass@1": passed / samples, "pass@10": float(passed > 0)},
    }  # fmt: skip


def write_run(folder: Path, tasks: Mapping[str, Sequence[Record]], **changes: Any) -> Path:
    """A folder as `tongwen evaluate` writes it, with a task of the built-in kind of each name."""
    results, rows = [], []
    for name, records in tasks.items():
        shared = {"chat": False, "shots": 0, "limit": None, "left_out": 0, "data_digest": "d"}
        found = summaries(name, builtin_spec(name), records)
        results += [result | shared | changes for result in found]
        rows += [{"task": name, **record} for record in records]
    write_jsonl(folder / "items.jsonl", rows)
    content = {"schema": SCHEMA, "version": VERSION, "model": {"digest": folder.name}}
    write_json(folder / "results.json", content | {"results": results})
    return folder


def answers(seed: int, share: float, count: int = 400) -> list[float]:
    rng = random.Random(seed)
    return [float(rng.random() < share) for _ in range(count)]


def changed(scores: Sequence[float], up: int, down: int) -> list[float]:
    """Some wrong answers made right and some right ones wrong."""
    found = list(scores)
    wrong = [place for place, score in enumerate(scores) if score == 0][:up]
    right = [place for place, score in enumerate(scores) if score == 1][:down]
    for place in (*wrong, *right):
        found[place] = 1 - found[place]
    return found


def choices(scores: Sequence[float], **options: Any) -> list[Record]:
    return [choice_record(number, right, **options) for number, right in enumerate(scores)]


BASE = answers(1, 0.5)


def pair(tmp_path: Path, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Path]:
    return [write_run(tmp_path / "a", first), write_run(tmp_path / "b", second)]


def test_verdicts_say_better_worse_or_not_separable(tmp_path: Path) -> None:
    paths = pair(
        tmp_path,
        {"piqa": choices(BASE), "copa": choices(BASE), "sciq": choices(BASE)},
        {
            "piqa": choices(changed(BASE, 60, 10)),
            "copa": choices(changed(BASE, 10, 60)),
            "sciq": choices(changed(BASE, 20, 16)),
        },
    )
    report = compare(load_runs(paths))
    found = {task.task: task.comparisons[0] for task in report.tasks}
    assert {name: one.verdict for name, one in found.items()} == {
        "piqa": "better", "copa": "worse", "sciq": "not separable",
    }  # fmt: skip
    assert found["piqa"].difference.value == pytest.approx(50 / 400)
    assert found["sciq"].difference.detectable == pytest.approx(2.8 * 6 / 400, rel=0.02)
    (overall,) = report.overall
    assert overall.value == pytest.approx(4 / 400 / 3)


def test_holm_counts_every_task_and_every_run(tmp_path: Path) -> None:
    slight = changed(BASE, 22, 8)  # p = 0.01 alone
    one = pair(tmp_path, {"piqa": choices(BASE)}, {"piqa": choices(slight)})
    assert compare(load_runs(one)).tasks[0].comparisons[0].verdict == "better"
    names = ("piqa", "copa", "sciq", "boolq", "winogrande", "arc_easy")
    many = pair(
        tmp_path / "many",
        {name: choices(BASE) for name in names},
        {name: choices(slight if name == "piqa" else BASE) for name in names},
    )
    found = {task.task: task for task in compare(load_runs(many)).tasks}["piqa"].comparisons[0]
    assert found.difference.p_value is not None
    assert found.difference.p_value < 0.05 <= (found.adjusted or 0)
    assert found.verdict == "not separable"


def test_bits_are_better_when_they_are_fewer(tmp_path: Path) -> None:
    paths = pair(tmp_path, {"piqa": choices(BASE)}, {"piqa": choices(changed(BASE, 60, 10))})
    (task,) = compare(load_runs(paths), metric="gold_bits_per_byte").tasks
    assert task.comparisons[0].difference.value < 0
    assert task.comparisons[0].verdict == "better"


def test_questions_of_one_passage_are_one_cluster(tmp_path: Path) -> None:
    scores = [0.0] * 40
    paths = pair(
        tmp_path,
        {"boolq": choices(scores, per=20)},
        {"boolq": choices([1.0] * 20 + [0.0] * 20, per=20)},
    )
    (task,) = compare(load_runs(paths)).tasks
    assert (task.comparisons[0].difference.clusters, task.comparisons[0].verdict) == (
        2, "not separable",
    )  # fmt: skip


def broken(records: Sequence[Record], change: Mapping[str, Any], count: int = 1) -> list[Record]:
    return [record | change if number < count else record for number, record in enumerate(records)]


@pytest.mark.parametrize(
    ("second", "changes", "message"),
    [
        (choices(BASE), {"shots": 5}, "shots is 0 in a and 5 in b"),
        (choices(BASE), {"chat": True}, "chat is False in a and True in b"),
        (choices(BASE), {"metric": "acc"}, "metric is acc_norm in a and acc in b"),
        (choices(BASE), {"data_digest": "e"}, "data_digest is d in a and e in b"),
        (choices(BASE[:-2]), {}, "2 items of a are not in b: q398, q399"),
        (choices([*BASE, 1.0]), {}, "1 items of b are not in a: q400"),
        (broken(choices(BASE), {"prompt": "x"}, 5), {}, "5 of 400 prompts differ: q0, q1, q2, ..."),
    ],
)
def test_what_was_asked_differently_is_refused_by_name(
    tmp_path: Path, second: list[Record], changes: dict[str, Any], message: str
) -> None:
    first = write_run(tmp_path / "a", {"piqa": choices(BASE), "copa": choices(BASE)})
    other = write_run(tmp_path / "b", {"piqa": second}, **changes)
    runs = load_runs([first, other])
    with pytest.raises(InputError, match=re.escape(f"piqa (en) cannot be compared: {message}")):
        compare(runs)
    with pytest.raises(InputError, match="no task can be compared"):
        compare(runs, skip=True)


def test_tasks_that_one_run_lacks_are_reported(tmp_path: Path) -> None:
    paths = pair(tmp_path, {"piqa": choices(BASE), "copa": choices(BASE)}, {"piqa": choices(BASE)})
    report = compare(load_runs(paths))
    assert report.left_out == [("copa (en)", "not in b")]
    assert "copa (en): not in b" in markdown(report, "en")
    alone = write_run(tmp_path / "c", {"sciq": choices(BASE)})
    with pytest.raises(InputError, match="no task is in all of a, c"):
        compare(load_runs([paths[0], alone]))


def test_items_that_a_run_has_not_scored_are_left_out_and_counted(tmp_path: Path) -> None:
    lost = broken(choices(BASE), {"not_scored": "too_long", "scores": {}}, 7)
    report = compare(load_runs(pair(tmp_path, {"piqa": choices(BASE)}, {"piqa": lost})))
    (task,) = report.tasks
    assert (task.not_scored, task.scores[0].all.n, task.scores[1].all.n) == (7, 393, 393)
    assert "7 items of piqa (en) are left out" in markdown(report, "en")


def test_what_is_no_evaluation_is_refused(tmp_path: Path) -> None:
    good = write_run(tmp_path / "a", {"piqa": choices(BASE)})
    with pytest.raises(InputError, match="is given twice"):
        load_runs([good, good / "results.json"])
    with pytest.raises(InputError, match="nothing to compare"):
        compare(load_runs([good]))
    with pytest.raises(InputError, match=r"has no results\.json"):
        load_runs([good, tmp_path])
    other = write_run(tmp_path / "b", {"piqa": choices(BASE)})
    with pytest.raises(InputError, match="it has no score 'f1', but acc"):
        compare(load_runs([good, other]), metric="f1")
    write_json(other / "results.json", {"schema": "x", "version": 9})
    with pytest.raises(InputError, match=r"schema x 9, not tongwen\.evaluation"):
        load_runs([good, other])
    (other / "results.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        load_runs([good, other])


def test_runs_of_one_folder_name_are_told_apart(tmp_path: Path) -> None:
    paths = [
        write_run(tmp_path / name / "scores", {"piqa": choices(BASE)}) for name in ("base", "tuned")
    ]
    assert [run.name for run in load_runs(paths)] == ["base/scores", "tuned/scores"]


def test_scores_are_split_by_what_curate_has_found(tmp_path: Path) -> None:
    places = [f"test.jsonl:{number + 1}" for number in range(100)]
    second = [1.0] * 100 + BASE[100:]  # better only where the questions were in the documents
    file = tmp_path / "contamination.json"
    write_json(file, {"benchmarks": [{"benchmark": "piqa", "places": places}]})
    paths = pair(tmp_path, {"piqa": choices(BASE)}, {"piqa": choices(second)})
    report = compare(load_runs(paths), contamination=found_places(tmp_path))
    (task,) = report.tasks
    first, other = task.scores
    assert other.contaminated is not None
    assert other.clean is not None
    assert (other.contaminated.n, other.contaminated.value, other.clean.n) == (100, 1.0, 300)
    assert first.gap is not None
    assert other.gap is not None
    assert first.gap[1] is not None
    assert other.gap[1] is not None
    assert first.gap[1][0] < 0 < first.gap[1][1]
    assert other.gap[1][0] > 0.3
    assert task.comparisons[0].verdict == "better"
    assert task.comparisons[0].clean is not None
    assert task.comparisons[0].clean.value == 0
    assert "contaminated − clean" in markdown(report, "en")


def test_a_report_without_places_is_of_an_earlier_version(tmp_path: Path) -> None:
    file = tmp_path / "contamination.json"
    write_json(file, {"benchmarks": [{"benchmark": "piqa", "items_found": 3}]})
    with pytest.raises(InputError, match="not which"):
        found_places(file)
    with pytest.raises(InputError, match="cannot read"):
        found_places(tmp_path / "nowhere.json")


def test_a_series_has_a_noise_floor(tmp_path: Path) -> None:
    steady = [200, 203, 199, 202, 200, 201]
    rising = [150, 200, 240, 270, 290, 300]
    paths = []
    for step, (flat, up) in enumerate(zip(steady, rising, strict=True)):
        tasks = {
            name: choices([1.0] * right + [0.0] * (400 - right))
            for name, right in (("piqa", flat), ("copa", up))
        }
        paths.append(write_run(tmp_path / f"step-{step}", tasks))
    report = compare(load_runs(paths), is_series=True)
    found = {task.task: task for task in report.tasks}
    assert found["piqa"].is_progress is False
    assert found["piqa"].noise == pytest.approx(0.0045, abs=0.001)
    assert found["copa"].is_progress is True
    assert "<polyline" in page(report, "en")
    assert "| copa (en) | yes |" in markdown(report, "en")


def test_pass_at_k_comes_with_intervals(tmp_path: Path) -> None:
    first = [program_record(n, n % 3) for n in range(60)]
    second = [program_record(n, n % 4) for n in range(60)]
    report = compare(load_runs(pair(tmp_path, {"humaneval": first}, {"humaneval": second})))
    (task,) = report.tasks
    ten = task.others["pass@10"]
    assert [one.value for one in ten] == [pytest.approx(2 / 3), pytest.approx(3 / 4)]
    assert all(one.interval is not None for one in ten)
    assert "pass@10" in markdown(report, "en")
    fewer = [program_record(n, 1, samples=5) for n in range(60)]
    other = write_run(tmp_path / "c", {"humaneval": fewer})
    with pytest.raises(InputError, match="samples is 10 in a and 5 in c"):
        compare(load_runs([tmp_path / "a", other]))


class Tags(HTMLParser):
    """Every tag opened is closed; no address is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_whole_and_needs_no_network(tmp_path: Path, language: Any) -> None:
    better = changed(BASE, 60, 10)
    paths = [
        write_run(tmp_path / "<b>", {"piqa": choices(BASE), "copa": choices(BASE, language="zh")}),
        write_run(tmp_path / "x", {"piqa": choices(better), "copa": choices(BASE, language="zh")}),
    ]
    text = page(compare(load_runs(paths)), language)
    tags = Tags()
    tags.feed(text)
    assert (tags.open, tags.addresses) == ([], [])
    assert "<b>" not in text
    assert text.count("<circle") == 2
    for word in ("http", "<script", "url(", "@import"):
        assert word not in text
    assert {"en": "not separable", "zh": "无法区分"}[language] in text


def test_the_command_prints_and_writes_what_it_found(tmp_path: Path) -> None:
    paths = pair(tmp_path, {"piqa": choices(BASE)}, {"piqa": choices(changed(BASE, 60, 10))})
    arguments = ["evaluate", "compare", *map(str, paths)]
    files = ["--html", str(tmp_path / "c.html"), "--markdown", str(tmp_path / "c.md")]
    plain = CliRunner().invoke(cli, [*arguments, *files], catch_exceptions=False)
    assert "| piqa (en) | b | better | acc_norm | 400 | +0.125 |" in plain.output
    assert (tmp_path / "c.md").read_text() == plain.output
    assert "<svg" in (tmp_path / "c.html").read_text()
    found = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).output)
    assert found["schema"] == "tongwen.comparison"
    assert found["tasks"][0]["comparisons"][0]["verdict"] == "better"
    assert found == json.loads(json.dumps(to_json(compare(load_runs(paths)))))


def test_a_word_near_a_command_is_not_a_model(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["evaluate", "comprae", "a", "b"])
    assert "there is no folder and no command `comprae`" in str(result.exception)
    listed = CliRunner().invoke(cli, ["evaluate", "--list-tasks"])
    assert "humaneval" in listed.output


def test_results_are_written_in_the_layout_of_lm_eval(tmp_path: Path) -> None:
    generated = {
        "id": "g", "place": "g:1", "language": "en", "cluster": "g", "group": "", "gold": None,
        "prompt": "Q", "truncated": False, "answer": "#### 4", "judged": "4", "accepted": ["4"],
        "choices": [], "extracted": True, "hit_limit": False, "not_scored": None,
        "scores": {"number": 1.0, "exact_match": 1.0},
    }  # fmt: skip
    folder = write_run(
        tmp_path / "my model",
        {
            "piqa": choices([1, 0]),
            "copa": [*choices([1.0]), *choices([0.0], language="zh")],
            "humaneval": [program_record(0, 3)],
            "gsm8k": [generated],
        },
    )
    (run,) = load_runs([folder])
    path = write_lm_eval(run, tmp_path / "out")
    assert re.fullmatch(r"results_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}\.json", path.name)
    results = read_json(path)
    assert sorted(results["results"]) == ["copa_en", "copa_zh", "gsm8k", "humaneval", "piqa"]
    piqa = results["results"]["piqa"]
    assert (piqa["acc,none"], piqa["alias"], results["n-shot"]["piqa"]) == (0.5, "piqa", 0)
    assert piqa["acc_stderr,none"] == pytest.approx(0.5)
    assert results["results"]["gsm8k"]["number_stderr,none"] == "N/A"
    assert results["higher_is_better"]["piqa"]["gold_bits_per_byte"] is False
    assert results["configs"]["piqa"]["output_type"] == "multiple_choice"
    samples = {
        file.name.split("_2")[0]: list(read_jsonl(file)) for file in path.parent.glob("samples_*")
    }
    first = samples["samples_piqa"][0]
    assert first["arguments"] == [["Question 0:", " a"], ["Question 0:", " b"]]
    assert first["resps"] == [[[-1.0, True]], [[-2, None]]]
    assert (first["acc"], first["target"], first["doc"]["id"]) == (1, 0, "q0")
    assert len(samples["samples_humaneval"][0]["resps"][0]) == 10
    assert samples["samples_gsm8k"][0]["filtered_resps"] == ["4"]
    assert write_lm_eval(run, tmp_path / "out") == path
