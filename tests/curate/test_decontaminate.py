"""Decontamination: planted test items are found, in whatever form; what is no copy stays."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from curate_runs import InlineRunner
from curate_texts import story

from tongwen.curate.contamination.benchmarks import benchmark_of, read_items
from tongwen.curate.contamination.grams import has_letter, units_of_text
from tongwen.curate.contamination.index import INDEX_FILES
from tongwen.curate.contamination.search import (
    count_grams,
    decide_contamination,
    map_contamination,
)
from tongwen.curate.contamination.settings import BenchmarkSettings, ContaminationSettings
from tongwen.curate.contamination.steps import contamination_report, index_task
from tongwen.curate.records.edits import EDIT, KINDS, apply
from tongwen.errors import InputError, RecipeError, TongwenError
from tongwen.files import file_digest, write_jsonl
from tongwen.flow.local import LocalRunner
from tongwen.flow.runner import TaskResult, outputs, reduce_tasks
from tongwen.flow.task import Task, TaskContext, TaskInput
from tongwen.formats.documents import DOCUMENT_SCHEMA

ENGLISH = [
    {
        "question": f"If {name} carries {number} crates of {fruit} from the harbour to the market "
        f"every morning and sells half of them before noon, how many crates are left after {days} "
        "days of work?",
        "choices": [str(number), str(number * days)],
    }
    for name, number, fruit, days in [
        ("Marta", 14, "plums", 3), ("Henrik", 22, "quinces", 5), ("the ferryman", 31, "figs", 7),
        ("Sabine", 46, "medlars", 9), ("a porter", 58, "damsons", 11), ("Ingrid", 62, "pears", 13),
    ]
]  # fmt: skip
CHINESE = [
    {"question": f"{place}的老渡口从前每天有{number}条船来往，后来修了{bridge}，渡船只剩下"
                 f"{number // 7}条，请问这里的渡船一共减少了多少条？", "choices": ["对", "不对"]}
    for place, number, bridge in [
        ("青石镇", 84, "石拱桥"), ("白鹭湾", 49, "铁索桥"), ("柳叶渡", 63, "浮桥"),
        ("望江台", 91, "公路大桥"), ("双溪口", 77, "木板桥"), ("梅花坞", 35, "水泥桥"),
    ]
]  # fmt: skip
SHORT = [{"question": "Who wrote the harbour song of the nine lamps?", "answer": "yes"}]


def benchmark(tmp_path: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> BenchmarkSettings:
    path = tmp_path / f"{name}.jsonl"
    write_jsonl(path, list(rows))
    return BenchmarkSettings(name=name, path=str(path), fields=())


def settings_for(tmp_path: Path, **changes: Any) -> ContaminationSettings:
    sets = tuple(
        benchmark(tmp_path, name, rows)
        for name, rows in (("crates", ENGLISH), ("ferries", CHINESE), ("songs", SHORT))
    )
    return ContaminationSettings(benchmarks=sets, **changes)


class Decontaminated:
    """All four steps over some documents, `per_task` in a task."""

    def __init__(
        self,
        tmp_path: Path,
        settings: ContaminationSettings,
        texts: Sequence[str],
        *,
        per_task: int = 1000,
        partitions: int = 3,
        dropped: frozenset[int] = frozenset(),
    ) -> None:
        folder = tmp_path / f"run-{per_task}-{partitions}-{len(texts)}"
        runner = InlineRunner()

        def run(tasks: Sequence[Task]) -> list[TaskResult]:
            return runner.run(tasks, folder)

        self.index = run([index_task(settings)])[0]
        index = tuple(self.index.file(name) for name in INDEX_FILES)
        self.texts = [texts[start : start + per_task] for start in range(0, len(texts), per_task)]
        mapped, documents = [], []
        for task, part in enumerate(self.texts):
            rows = range(task * per_task, task * per_task + len(part))
            files = _documents(folder / f"in-{task}", part, rows, dropped)
            documents.append(files[0])
            inputs = {
                "documents": files[0],
                "decisions": files[1],
                "duplicates": (),
                "edits": (),
                "index": index,
            }
            params = {"task": task, "partitions": partitions}
            mapped.append(Task(map_contamination, task, inputs, params))
        self.mapped = run(mapped)
        most = {"maximum_documents": settings.maximum_documents}
        self.counted = run(reduce_tasks(count_grams, self.mapped, partitions, most))
        common = outputs(self.counted, "common.npy")
        params = {
            "dropped_items": settings.dropped_items,
            "dropped_item_share": settings.dropped_item_share,
        }
        self.decided = run(
            [
                Task(decide_contamination, task,
                     {"hits": result.file("hits.npy"), "documents": documents[task],
                      "common": common, "index": index}, params)
                for task, result in enumerate(self.mapped)
            ]
        )  # fmt: skip
        self.report = contamination_report(settings, self.index, self.counted, self.decided)
        self._per_task = per_task

    def _number(self, record: int) -> int:
        return (record >> 40) * self._per_task + (record & ((1 << 40) - 1))

    @property
    def drops(self) -> dict[int, dict[str, Any]]:
        paths = [result.directory / "drops.parquet" for result in self.decided]
        rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
        return {self._number(row["record"]): row for row in rows}

    @property
    def left(self) -> dict[int, str]:
        """What is left of the documents that are cut."""
        edits = np.concatenate([np.load(result.directory / "edits.npy") for result in self.decided])
        assert edits.dtype == EDIT
        assert {KINDS[kind] for kind in edits["kind"]} <= {"contamination"}
        every = [text for part in self.texts for text in part]
        return {
            self._number(int(record)): apply(
                every[self._number(int(record))], edits[edits["record"] == record]
            ).text
            for record in np.unique(edits["record"])
        }


def _documents(
    folder: Path, texts: Sequence[str], numbers: range, dropped: frozenset[int]
) -> tuple[TaskInput, TaskInput]:
    folder.mkdir(parents=True, exist_ok=True)
    empty = dict.fromkeys(DOCUMENT_SCHEMA.names, "")
    rows = [
        {**empty, "doc_id": f"{number * 7919 % 10_007:032x}", "url": f"https://example.org/{number}",
         "text": text, "warc_offset": number}
        for number, text in zip(numbers, texts, strict=True)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, DOCUMENT_SCHEMA), folder / "documents.parquet")
    stages = ["rules" if number in dropped else None for number in numbers]
    pq.write_table(
        pa.table({"drop_stage": pa.array(stages, pa.string())}), folder / "decisions.parquet"
    )
    paths = (folder / "documents.parquet", folder / "decisions.parquet")
    return TaskInput(paths[0], file_digest(paths[0])), TaskInput(paths[1], file_digest(paths[1]))


def in_page(item: str, lang: str, seed: int) -> str:
    """A page of fresh prose with a text in its middle."""
    return f"{story(seed, lang)}\n\n{item}\n\n{story(seed + 1000, lang)}"


def question(rows: Sequence[Mapping[str, Any]], number: int) -> str:
    return str(rows[number]["question"])


def upper_without_marks(text: str) -> str:
    return text.upper().replace(",", " --").replace("?", "!")


def test_exact_and_changed_copies_are_found_and_clean_pages_stay(tmp_path: Path) -> None:
    copies = [
        in_page(question(ENGLISH, 0), "en", 1),
        in_page(upper_without_marks(question(ENGLISH, 1)), "en", 2),
        in_page(question(CHINESE, 0), "zh", 3),
        in_page(question(CHINESE, 1).replace("，", " ").replace("？", "?"), "zh", 4),
        in_page("雙溪口的老渡口從前每天有７７條船來往，後來修了木板橋，渡船只剩下11條，"
                "請問這裏的渡船一共減少了多少條？", "zh", 5),
        in_page(question(SHORT, 0), "en", 6),
    ]  # fmt: skip
    clean = [story(seed, lang) for seed in range(100, 140) for lang in ("en", "zh")]
    done = Decontaminated(tmp_path, settings_for(tmp_path), [*copies, *clean])
    # The question is nearly all of an item, so each copy has at least 60 % of one.
    assert sorted(done.drops) == list(range(len(copies)))
    assert {row["drop_rule"] for row in done.drops.values()} == {"contaminated_item_share"}
    assert done.left == {}
    assert [row["benchmark"] for _, row in sorted(done.drops.items())] == [
        "crates", "crates", "ferries", "ferries", "ferries", "songs",
    ]  # fmt: skip
    assert done.drops[0]["drop_threshold"] == 0.6
    assert done.drops[0]["drop_value"] == pytest.approx(32 / 34)  # two choices of one word
    assert [result.manifest.counts["probes_found"] for result in done.mapped] == [7]


def test_a_part_of_one_item_is_cut_with_its_sentence(tmp_path: Path) -> None:
    whole = question(ENGLISH, 3)
    part = "Nobody knew. " + " ".join(whole.split()[:18]) + " in all. It rained."
    chinese = "天晴了。" + question(CHINESE, 2)[:26] + "。后来下雨了。"
    done = Decontaminated(
        tmp_path, settings_for(tmp_path), [in_page(part, "en", 1), in_page(chinese, "zh", 2)]
    )
    assert done.drops == {}
    assert done.left[0] == in_page("Nobody knew. It rained.", "en", 1)
    assert done.left[1] == in_page("天晴了。后来下雨了。", "zh", 2)
    assert done.report["cut"] == 2
    crates = done.report["benchmarks"][0]
    assert (crates["items"], crates["items_found"], crates["documents_cut"]) == (6, 1, 1)
    assert crates["examples"][0]["item"] == "crates.jsonl:4"
    assert part.split(". ")[1][:20] in crates["examples"][0]["excerpt"]


def test_parts_of_two_items_drop_the_document(tmp_path: Path) -> None:
    parts = [f"{' '.join(question(ENGLISH, place).split()[:15])}." for place in (0, 4)]
    page = in_page(" ".join(parts), "en", 1)
    done = Decontaminated(tmp_path, settings_for(tmp_path), [page])
    assert done.drops[0]["drop_rule"] == "contaminated_items"
    assert done.drops[0]["drop_value"] == 2
    loose = Decontaminated(tmp_path / "loose", settings_for(tmp_path, dropped_items=3), [page])
    assert loose.drops == {}
    assert len(loose.left[0]) < len(page)


def test_a_phrase_of_many_documents_is_no_copy_but_a_whole_item_is(tmp_path: Path) -> None:
    phrase = " ".join(question(ENGLISH, 2).split()[-14:])
    pages = [in_page(phrase, "en", seed) for seed in range(4)]
    assert Decontaminated(tmp_path, settings_for(tmp_path, maximum_documents=4), pages).left
    common = Decontaminated(
        tmp_path / "common", settings_for(tmp_path, maximum_documents=3), pages, per_task=2
    )
    assert common.left == {}
    assert common.drops == {}
    assert common.report["common_grams"] == 2
    famous = [in_page(question(ENGLISH, 2), "en", seed) for seed in range(4)]
    found = Decontaminated(
        tmp_path / "famous", settings_for(tmp_path, maximum_documents=3), famous, per_task=2
    )
    assert sorted(found.drops) == [0, 1, 2, 3]


def test_short_answers_and_numbers_match_nothing(tmp_path: Path) -> None:
    rows = [*ENGLISH, {"question": "yes", "choices": ["no"]},
            {"question": "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15", "choices": []}]  # fmt: skip
    settings = ContaminationSettings(benchmarks=(benchmark(tmp_path, "crates", rows),))
    page = "Yes, yes, no: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15. " + story(1)
    done = Decontaminated(tmp_path, settings, [page])
    assert (done.drops, done.left) == ({}, {})
    assert done.report["benchmarks"][0]["too_short"] == 2


def test_order_tasks_and_partitions_change_nothing(tmp_path: Path) -> None:
    texts = [story(seed) for seed in range(6)]
    texts[1] = in_page(question(ENGLISH, 0), "en", 50)
    texts[4] = in_page(" ".join(question(ENGLISH, 5).split()[:16]) + ".", "en", 60)
    runs = [
        Decontaminated(tmp_path / f"{per_task}", settings_for(tmp_path), texts,
                       per_task=per_task, partitions=partitions)
        for per_task, partitions in ((6, 1), (2, 5), (1, 2))
    ]  # fmt: skip
    for run in runs:
        assert sorted(run.drops) == [1]
        assert sorted(run.left) == [4]
        assert run.left == runs[0].left
        assert run.report == runs[0].report


def test_dropped_records_are_not_looked_at(tmp_path: Path) -> None:
    page = in_page(question(ENGLISH, 0), "en", 1)
    done = Decontaminated(tmp_path, settings_for(tmp_path), [page, page], dropped=frozenset({0}))
    assert sorted(done.drops) == [1]


def test_the_same_bytes_from_worker_processes(tmp_path: Path) -> None:
    texts = [in_page(question(ENGLISH, 0), "en", 1), story(2), story(3)]
    alone = Decontaminated(tmp_path, settings_for(tmp_path), texts)
    runner = LocalRunner(workers=2)
    try:
        again = runner.run([result.task for result in alone.mapped], tmp_path / "workers")
    finally:
        runner.close()
    assert [result.manifest.outputs for result in again] == [
        result.manifest.outputs for result in alone.mapped
    ]


def test_a_scan_that_finds_nothing_fails_instead_of_passing_everything(tmp_path: Path) -> None:
    done = Decontaminated(tmp_path, settings_for(tmp_path), [story(1)])
    folder = done.index.directory
    blind = np.load(folder / "anchor_filter.npy")
    np.save(folder / "anchor_filter.npy", np.zeros_like(blind))
    with pytest.raises(TongwenError, match="planted in a text and not found"):
        map_contamination(TaskContext(done.mapped[0].task, tmp_path, frozenset(), None))


def test_a_benchmark_without_items_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    (tmp_path / "tiny.jsonl").write_text('{"answer": "yes"}\n', encoding="utf-8")
    for name, message in (("empty", "has no items"), ("tiny", "is long enough")):
        sets = (BenchmarkSettings(name=name, path=str(tmp_path / f"{name}.jsonl")),)
        with pytest.raises(InputError, match=message):
            Decontaminated(tmp_path, ContaminationSettings(benchmarks=sets), [story(1)])
    with pytest.raises(InputError, match="has no data at"):
        benchmark_of(BenchmarkSettings(name="gone", path=str(tmp_path / "gone.jsonl")))
    with pytest.raises(RecipeError, match="no task `gsm9k`") as raised:
        benchmark_of(BenchmarkSettings(name="x", path=str(tmp_path), layout="gsm9k"))
    assert raised.value.hint is not None
    assert "gsm8k" in raised.value.hint


def test_settings_that_could_find_nothing_are_refused() -> None:
    with pytest.raises(RecipeError, match="minimum_words is above words, 13"):
        ContaminationSettings(minimum_words=14)
    with pytest.raises(RecipeError, match="two benchmarks are named"):
        ContaminationSettings(
            benchmarks=(
                BenchmarkSettings(name="a", path="b"),
                BenchmarkSettings(name="a", path="c"),
            )
        )


def test_layouts_of_evaluation_tasks_give_the_texts_of_their_templates(tmp_path: Path) -> None:
    path = tmp_path / "valid.jsonl"
    write_jsonl(path, [{"goal": "Open a jar.", "sol1": "Turn it.", "sol2": "Eat it.", "id": 7}])
    found, files = benchmark_of(BenchmarkSettings(name="piqa", path=str(path)))
    assert [item.passages for item in read_items(found, files[0])] == [
        ("Open a jar.", "Turn it.", "Eat it.")
    ]
    write_jsonl(path, [{"sentence": "The cup would not fit the box as the _ was big.",
                        "option1": "cup", "option2": "box", "answer": "1"}])  # fmt: skip
    found, files = benchmark_of(BenchmarkSettings(name="mine", path=str(path), layout="winogrande"))
    assert next(read_items(found, files[0])).passages == (
        "The cup would not fit the box as the ", " was big.", "cup", "box",
    )  # fmt: skip
    text = tmp_path / "own.txt"
    text.write_text("First item.\n\nSecond item.\n", encoding="utf-8")
    found, files = benchmark_of(BenchmarkSettings(name="own", path=str(text)))
    assert [item.passages for item in read_items(found, files[0])] == [
        ("First item.",), ("Second item.\n",),
    ]  # fmt: skip


def test_units_know_where_they_stand() -> None:
    text = "Ｃａｆé “naïve” ﬁne—①②号：繁體字，don't\u00adstop"
    units = units_of_text(text)
    pieces = [text[start:end] for start, end in zip(units.starts, units.ends, strict=True)]
    assert pieces == ["Ｃａｆé", "naïve", "ﬁne", "①②", "号", "繁", "體", "字", "don", "t\u00adstop"]
    assert units.singles == 4
    plain = units_of_text("cafe naive fine 12 号 繁体字 don tstop")
    assert plain.hashes.tolist() == units.hashes.tolist()
    assert has_letter(text, units).tolist() == [True, True, True, False, *[True] * 6]


def test_recall_and_precision_on_planted_copies(tmp_path: Path) -> None:
    """Gate: every copy of every form found, no clean page touched."""
    items = [{"text": story(seed, lang, 6)} for seed in range(2000, 2030) for lang in ("en", "zh")]
    sets = (benchmark(tmp_path, "stories", items),)
    settings = ContaminationSettings(benchmarks=sets)
    texts, is_copy = [], []
    for number, item in enumerate(items):
        lang = "en" if number % 2 == 0 else "zh"
        words = item["text"].split() if lang == "en" else list(item["text"])
        joint = " " if lang == "en" else ""
        forms = (
            item["text"],
            item["text"].upper().replace(".", ";").replace("。", "！"),
            joint.join(words[: len(words) // 2]),
            joint.join(words[len(words) // 3 :]),
        )
        texts.append(in_page(forms[number // 2 % 4], lang, 3000 + number))
        texts.append(story(5000 + number, lang))
        is_copy += [True, False]
    done = Decontaminated(tmp_path, settings, texts, per_task=40)
    found = {*done.drops, *done.left}
    right = {number for number, copy in enumerate(is_copy) if copy}
    recall, precision = len(found & right) / len(right), len(found & right) / len(found)
    assert recall == 1
    assert precision >= 0.98
    json.dumps(done.report)
