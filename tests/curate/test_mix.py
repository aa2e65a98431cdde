"""The mix through all its tasks: proportions, epochs, order, and what nothing may change."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from curate_runs import InlineRunner

from tongwen.curate.mix.settings import BucketSettings, MixSettings, WeightSettings
from tongwen.curate.mix.steps import mix_documents, mix_parameters
from tongwen.curate.mix.weights import measure_weights
from tongwen.curate.mix.write import copies_of
from tongwen.curate.outcome.materialize import materialize_records
from tongwen.encode.split import split_of, validation_thresholds
from tongwen.errors import InputError, RecipeError
from tongwen.files import file_digest, read_json
from tongwen.flow.manifest import Manifest, describe_outputs
from tongwen.flow.runner import TaskResult
from tongwen.flow.task import Task, TaskInput, step_of
from tongwen.formats.documents import DOCUMENT_SCHEMA, document_batches

_ATTRIBUTES = pa.schema(
    [("doc_id", pa.string()), ("lang", pa.string()), ("source", pa.string()),
     ("characters", pa.int64()), ("quality", pa.float64()), ("cluster_size", pa.int64()),
     ("drop_stage", pa.string())]
)  # fmt: skip


def corpus(number: int = 600) -> list[dict[str, Any]]:
    """Documents of two languages and three sources, each a tenth of them dropped."""
    rows = []
    for place in range(number):
        is_english = place % 3 != 0
        rows.append(
            {"doc_id": f"{place * 2654435761 % 2**61:032x}",
             "lang": "en" if is_english else "zh-Hans",
             "source": ("web", "books", "wiki")[place % 7 % 3],
             "text": f"document {place} " + ("word " * 18 if is_english else "文字" * 45),
             "quality": (place * 37 % number) / number, "cluster_size": 1 + place % 4,
             "drop_stage": "rules" if place % 10 == 9 else None}
        )  # fmt: skip
    return rows


class Mixed:
    """All steps over some documents."""

    def __init__(
        self, folder: Path, settings: MixSettings, rows: Sequence[dict[str, Any]], per_task: int
    ) -> None:
        runner = InlineRunner()
        materialized = []
        for index, start in enumerate(range(0, len(rows), per_task)):
            home = folder / f"in-{start}"
            _files(home, rows[start : start + per_task])
            manifest = Manifest(digest="", outputs=describe_outputs(home))
            task = Task(
                materialize_records, index, dict.fromkeys(step_of(materialize_records).inputs, ())
            )
            materialized.append(TaskResult(task, home, manifest))
        written, self.report = mix_documents(
            lambda tasks: runner.run(tasks, folder), settings, materialized
        )
        self.plan = read_json(folder / "mix-plan" / "00000" / "plan.json")
        self.files = [result.directory / "documents.parquet" for result in written]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for path in self.files for row in pq.read_table(path).to_pylist()]

    @property
    def copies(self) -> Counter[str]:
        return Counter(row["doc_id"] for row in self.rows)


def _files(folder: Path, rows: Sequence[dict[str, Any]]) -> tuple[TaskInput, TaskInput]:
    folder.mkdir(parents=True, exist_ok=True)
    empty = {**dict.fromkeys(DOCUMENT_SCHEMA.names, ""), "warc_offset": 0}
    kept = [row for row in rows if row["drop_stage"] is None]
    documents = [{key: {**empty, **row}[key] for key in DOCUMENT_SCHEMA.names} for row in kept]
    attributes = [{**row, "characters": len(row["text"])} for row in rows]
    tables = {
        "documents": pa.Table.from_pylist(documents, DOCUMENT_SCHEMA),
        "attributes": pa.Table.from_pylist(attributes, _ATTRIBUTES),
    }
    inputs = []
    for name, table in tables.items():
        path = folder / f"{name}.parquet"
        pq.write_table(table, path)
        inputs.append(TaskInput(path, file_digest(path)))
    return inputs[0], inputs[1]


def kept(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["drop_stage"] is None]


def test_without_settings_every_kept_document_goes_in_once_in_another_order(tmp_path: Path) -> None:
    rows = corpus()
    mixed = Mixed(tmp_path, MixSettings(), rows, 600)
    ids = [row["doc_id"] for row in kept(rows)]
    found = [row["doc_id"] for row in mixed.rows]
    assert sorted(found) == sorted(ids)
    assert found != ids
    texts = {row["doc_id"]: row["text"] for row in rows}
    assert all(row["text"] == texts[row["doc_id"]] for row in mixed.rows)
    assert mixed.report["documents_given"] == len(ids)
    list(document_batches(mixed.files[0]))  # keeps the contract


def test_tasks_and_order_of_the_input_change_no_byte(tmp_path: Path) -> None:
    settings = MixSettings(
        weights=(WeightSettings(when="quality_decile >= 8", weight=2.5),),
        shares={"en": 1, "zh": 2}, tokens=20_000, file_bytes=10_000,
    )  # fmt: skip
    rows = corpus()
    runs = [
        Mixed(tmp_path / "one", settings, rows, 600),
        Mixed(tmp_path / "many", settings, rows[::-1], 37),
    ]
    assert len(runs[0].files) > 3
    assert [path.read_bytes() for path in runs[0].files] == [
        path.read_bytes() for path in runs[1].files
    ]
    assert runs[0].report == runs[1].report


def test_weights_conditions_and_cluster_sizes_decide_the_copies(tmp_path: Path) -> None:
    rows = corpus()
    settings = MixSettings(
        keep_if='source != "wiki"',
        weights=(
            WeightSettings(when='source == "books" and language == "zh"', weight=2),
            WeightSettings(when="quality < 0.5", weight=0.5),
        ),
        weight_by_cluster_size=True,
    )
    copies = Mixed(tmp_path, settings, rows, 100).copies
    for row in kept(rows):
        wanted = (1, 2, 3, 3)[row["cluster_size"] - 1]
        wanted *= 2 if row["source"] == "books" and row["lang"] != "en" else 1
        wanted *= 0.5 if row["quality"] < 0.5 else 1
        wanted = 0 if row["source"] == "wiki" else min(4, wanted)
        assert copies[row["doc_id"]] in {int(wanted), -int(-wanted // 1)}


def test_shares_of_tokens_are_given_within_the_sampling_error(tmp_path: Path) -> None:
    rows = corpus(3000)
    settings = MixSettings(shares={"en": 0.3, "zh": 0.7}, tokens=60_000)
    report = Mixed(tmp_path, settings, rows, 500).report
    groups = report["groups"]
    assert groups["zh"]["tokens_wanted"] == 42_000
    assert groups["zh"]["tokens_given"] == pytest.approx(42_000, rel=0.04)
    assert groups["en"]["tokens_given"] == pytest.approx(18_000, rel=0.04)
    assert groups["zh"]["epochs"] == pytest.approx(
        groups["zh"]["tokens_given"] / groups["zh"]["tokens_available"], rel=1e-4
    )
    assert report["tokens_unmet"] == 0
    assert (
        sum(source["copies"] for source in report["sources"].values()) == report["documents_given"]
    )


def test_epochs_are_capped_and_what_is_missing_is_said(tmp_path: Path) -> None:
    rows = corpus()
    settings = MixSettings(shares={"en": 0.5, "zh": 0.5, "code": 1}, tokens=10**7)
    mixed = Mixed(tmp_path, settings, rows, 600)
    assert set(mixed.copies.values()) == {4}
    assert mixed.report["without_documents"] == ["code"]
    available = sum(group["tokens_available"] for group in mixed.report["groups"].values())
    assert mixed.report["tokens_unmet"] == pytest.approx(10**7 - 4 * available, abs=10)
    assert mixed.report["groups"]["zh"]["epochs"] == 4


def test_deciles_are_ranks_within_the_language(tmp_path: Path) -> None:
    rows = corpus()
    settings = MixSettings(keep_if="quality_decile == 10")
    copies = Mixed(tmp_path, settings, rows, 50).copies
    for lang in ("en", "zh-Hans"):
        own = sorted((row["quality"], row["doc_id"]) for row in kept(rows) if row["lang"] == lang)
        chosen = [doc_id for _, doc_id in own if copies[doc_id]]
        assert chosen == [doc_id for _, doc_id in own[-len(chosen) :]]
        assert len(chosen) == pytest.approx(len(own) / 10, abs=1)


def test_buckets_are_equal_parts_and_the_best_of_several_scores_counts(tmp_path: Path) -> None:
    rows = corpus()
    best = BucketSettings(columns=("quality", "-cluster_size"), number=4)
    settings = MixSettings(buckets={"best": best}, keep_if="best == 3")
    copies = Mixed(tmp_path, settings, rows, 50).copies
    for lang in ("en", "zh-Hans"):
        own = [row for row in kept(rows) if row["lang"] == lang]
        ranked = sorted(row["quality"] for row in own)
        for row in own:
            by_quality = 1 + 4 * ranked.index(row["quality"]) // len(ranked)
            sizes = sorted(item["cluster_size"] for item in own)
            borders = [sizes[-(-(len(sizes) - 1) * part // 4)] for part in (1, 2, 3)]
            by_size = 4 - sum(row["cluster_size"] >= border for border in borders)
            expected = max(by_quality, by_size) == 3
            if abs(4 * ranked.index(row["quality"]) / len(ranked) % 1 - 0.5) < 0.48:  # no border
                assert bool(copies[row["doc_id"]]) == expected


def test_buckets_can_be_given_shares(tmp_path: Path) -> None:
    best = BucketSettings(columns=("quality",), number=2)
    settings = MixSettings(
        buckets={"best": best}, share_by="best", shares={"1": 0.25, "2": 0.75}, tokens=60_000
    )
    groups = Mixed(tmp_path, settings, corpus(3000), 1000).report["groups"]
    assert groups["2"]["tokens_given"] == pytest.approx(45_000, rel=0.1)
    assert groups["1"]["tokens_given"] == pytest.approx(15_000, rel=0.12)


def test_wrong_buckets_are_refused_by_name(tmp_path: Path) -> None:
    for name, columns, problem in (
        ("best", ("qualty",), r"buckets.best.columns has 'qualty'"),
        ("best", ("lang",), r"'lang', which is no column of numbers"),
        ("quality", ("quality",), "has the name 'quality', which the attributes have"),
    ):
        settings = MixSettings(buckets={name: BucketSettings(columns=columns)})
        with pytest.raises(RecipeError, match=problem):
            Mixed(tmp_path, settings, corpus(60), 60)
    with pytest.raises(RecipeError, match="number is 1"):
        BucketSettings(columns=("quality",), number=1)


def test_the_draw_is_fair_and_nested() -> None:
    ids = [f"{number:032x}" for number in range(20_000)]
    less = {doc_id for doc_id in ids if copies_of(doc_id, 0.3, 1)}
    more = {doc_id for doc_id in ids if copies_of(doc_id, 0.6, 1)}
    assert less < more
    assert len(less) == pytest.approx(6_000, abs=250)
    assert {copies_of(doc_id, 2.0, 1) for doc_id in ids} == {2}


def test_copies_stay_on_their_side_of_the_validation_split(tmp_path: Path) -> None:
    mixed = Mixed(tmp_path, MixSettings(tokens=10**7), corpus(), 600)
    pairs = [(row["doc_id"], row["lang"]) for row in mixed.rows]
    thresholds = validation_thresholds(pairs, 0.1)
    sides = {(doc_id, split_of(doc_id, lang, thresholds)) for doc_id, lang in pairs}
    assert len(sides) == len(mixed.copies)
    assert len(pairs) == 4 * len(sides)


def test_wrong_settings_are_refused_by_name(tmp_path: Path) -> None:
    rows = corpus(60)
    with pytest.raises(RecipeError, match=r"curate.mix.weights\[0\].when: `qualty`"):
        Mixed(
            tmp_path, MixSettings(weights=(WeightSettings(when="qualty > 1", weight=2),)), rows, 60
        )
    with pytest.raises(RecipeError, match="says nothing of the language 'zh'"):
        Mixed(tmp_path, MixSettings(shares={"en": 1}), rows, 60)
    with pytest.raises(RecipeError, match="keeps no document at all"):
        Mixed(tmp_path, MixSettings(keep_if="quality > 2"), rows, 60)
    with pytest.raises(RecipeError, match="share_by is 'topc'"):
        Mixed(tmp_path, MixSettings(share_by="topc"), rows, 60)
    with pytest.raises(RecipeError, match="no value for 'zh-Hans'"):
        Mixed(tmp_path, MixSettings(characters_per_token={"en": 4}), rows, 60)
    with pytest.raises(RecipeError, match="both `shares` and `equal_shares`"):
        MixSettings(shares={"en": 1}, equal_shares=True)


def test_attributes_of_other_documents_are_refused(tmp_path: Path) -> None:
    first, second = _files(tmp_path / "a", corpus(30)), _files(tmp_path / "b", corpus(40))
    params = mix_parameters(MixSettings(), _ATTRIBUTES)
    task = Task(
        measure_weights,
        0,
        {"documents": first[0], "attributes": second[1], "deciles": ()},
        params,
    )
    with pytest.raises(InputError, match="does not describe the documents"):
        InlineRunner().run([task], tmp_path)
