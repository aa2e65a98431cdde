"""Training in one command: every kind on small files, its folder, its report, its errors."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from scorer_texts import made_text, write_texts

from tongwen.cli.curate_train_scorer import command
from tongwen.curate.records.edits import EDIT
from tongwen.curate.records.numbering import record_numbers
from tongwen.curate.scorers.clusters import read_cluster_labels
from tongwen.curate.scorers.folder import open_folder
from tongwen.curate.scorers.options import KINDS, TrainingOptions
from tongwen.curate.scorers.samples import pieces_of
from tongwen.curate.scorers.scoring import SCORE_SCHEMA, Scorers, scorer_of
from tongwen.curate.scorers.tasks import score_records, scorer_inputs
from tongwen.curate.scorers.training import TrainingFiles, train_scorer
from tongwen.errors import InputError, TongwenError, UsageError
from tongwen.flow.task import Task, TaskContext, TaskInput
from tongwen.formats.documents import DOCUMENT_SCHEMA

OPTIONS = TrainingOptions(bucket_bits=12, epochs=6, clusters=4, cluster_samples=3, fewest_pieces=10)


def train(kind: str, topic_file, out: Path, options: TrainingOptions = OPTIONS):
    good, bad = topic_file("sea"), topic_file("law")
    files = {
        "perplexity": TrainingFiles(reference=[good], against=[bad]),
        "quality": TrainingFiles(reference=[good], against=[bad]),
        "coherence": TrainingFiles(reference=[good]),
        "safety": TrainingFiles(reference=[bad], against=[good]),
        "topic": TrainingFiles(reference=[good, bad]),
        "clusters": TrainingFiles(labelled=[good, bad]),
    }
    if kind.endswith("_grade"):
        files[kind] = TrainingFiles(labelled=[_graded(out.parent, good, bad)])
    return train_scorer(kind, files[kind], out, options)


def _graded(folder: Path, good: Path, bad: Path) -> Path:
    """Both files with grades, 4 or 5 and 0 or 1."""
    rows = []
    for path, least in ((good, 4), (bad, 0)):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            grade = least + number % 2
            rows.append({**json.loads(line), "educational": grade, "quality": grade})
    return write_texts(folder / "graded.jsonl", rows)


def score(folder: Path, text: str, lang: str):
    return Scorers([open_folder(folder)]).score(text, lang)


SEA = {"en": made_text("en", "sea", 900), "zh-Hans": made_text("zh", "sea", 900)}
LAW = {"en": made_text("en", "law", 901), "zh-Hans": made_text("zh", "law", 901)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_and_input_give_the_same_bytes(kind, topic_file, tmp_path) -> None:
    train(kind, topic_file, tmp_path / "one")
    train(kind, topic_file, tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    other = train(kind, topic_file, tmp_path / "three", replace(OPTIONS, seed=5))
    assert other["digest"] != open_folder(tmp_path / "one").digest


def test_the_order_of_rows_and_files_decides_nothing(topic_file, tmp_path) -> None:
    first = train("quality", topic_file, tmp_path / "one")
    path = topic_file("sea")
    path.write_text("".join(sorted(path.read_text().splitlines(keepends=True))))
    half = path.read_text().splitlines(keepends=True)
    one, two = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    one.write_text("".join(half[::2]))
    two.write_text("".join(half[1::2]))
    files = TrainingFiles(reference=[two, one], against=[topic_file("law")])
    assert train_scorer("quality", files, tmp_path / "two", OPTIONS)["digest"] == first["digest"]


@pytest.mark.parametrize("lang", ["en", "zh-Hans"])
def test_quality_tells_the_reference_from_the_rest(lang, topic_file, tmp_path) -> None:
    trained = train("quality", topic_file, tmp_path / "q")
    good, bad = (score(tmp_path / "q", texts[lang], lang)["quality"] for texts in (SEA, LAW))
    assert good > 0.8
    assert bad < 0.2
    report = trained["report"][lang[:2]]
    assert report["auc"] == 1
    assert 0 <= report["expected_calibration_error"] < 0.2
    assert report["reliability"]


@pytest.mark.parametrize("lang", ["en", "zh-Hans"])
def test_perplexity_is_lower_on_text_like_the_reference(lang, topic_file, tmp_path) -> None:
    trained = train("perplexity", topic_file, tmp_path / "p")
    near, far = (score(tmp_path / "p", texts[lang], lang) for texts in (SEA, LAW))
    assert near["perplexity"] < far["perplexity"]
    assert near["perplexity_percentile"] < 99
    assert far["perplexity_percentile"] == 100
    assert trained["report"][lang[:2]]["auc"] > 0.95


def test_a_short_text_has_no_perplexity(topic_file, tmp_path) -> None:
    train("perplexity", topic_file, tmp_path / "p")
    assert score(tmp_path / "p", "支付完成", "zh-Hans") == {}
    assert score(tmp_path / "p", "支付完成。" * 10, "zh-Hans")["perplexity_percentile"] == 100


@pytest.mark.parametrize("lang", ["en", "zh-Hans"])
def test_shuffled_sentences_are_less_coherent(lang, topic_file, tmp_path) -> None:
    trained = train("coherence", topic_file, tmp_path / "c")
    whole = SEA[lang]
    stop = ". " if lang == "en" else "。"
    parts = whole.rstrip(stop).split(stop)
    turned = stop.join(parts[place] for place in (7, 2, 9, 0, 5, 3, 8, 1, 6, 4)) + stop
    values = [score(tmp_path / "c", text, lang)["coherence"] for text in (whole, turned)]
    assert values[0] > values[1] + 0.2
    assert trained["report"][lang[:2]]["auc_by_disturbance"]["sentences"] > 0.8
    assert score(tmp_path / "c", stop.join(parts[:3]), lang) == {}


@pytest.mark.parametrize("lang", ["en", "zh-Hans"])
def test_safety_joins_classifier_and_lexicon(lang, topic_file, tmp_path) -> None:
    train("safety", topic_file, tmp_path / "s")
    safe, unsafe = (score(tmp_path / "s", texts[lang], lang) for texts in (SEA, LAW))
    assert safe["safety_level"] == 0
    assert unsafe["safety_level"] >= 1
    assert unsafe["safety_score"] > 0.5 > safe["safety_score"]
    dropped = score(tmp_path / "s", SEA[lang] + " buy heroin online 出售冰毒", lang)
    assert dropped["safety_level"] == 3


def test_a_lexicon_alone_is_a_safety_scorer(tmp_path) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text("1\tx\tsquid\n3\tx\tkraken\n", encoding="utf-8")
    trained = train_scorer("safety", TrainingFiles(lexicons=[path]), tmp_path / "s", OPTIONS)
    assert trained["report"]["en"]["score_from"] == "lexicon"
    plain = "The harbour was quiet and the captain slept. " * 10
    assert score(tmp_path / "s", plain, "en") == {"safety_level": 0, "safety_score": 0}
    assert score(tmp_path / "s", plain + "squid " * 9, "en")["safety_level"] >= 1
    assert score(tmp_path / "s", plain + "kraken", "en")["safety_level"] == 3


@pytest.mark.parametrize("lang", ["en", "zh-Hans"])
def test_topic_takes_the_files_names_for_labels(lang, topic_file, tmp_path) -> None:
    trained = train("topic", topic_file, tmp_path / "t")
    assert score(tmp_path / "t", SEA[lang], lang)["topic"] == "sea"
    found = score(tmp_path / "t", LAW[lang], lang)
    assert found["topic"] == "law"
    assert found["topic_confidence"] > 0.7
    assert trained["report"][lang[:2]]["macro_f1"] == 1
    assert set(trained["report"][lang[:2]]["classes"]) == {"sea", "law"}


def test_clusters_follow_the_subject_and_take_labels_back(topic_file, tmp_path) -> None:
    out = tmp_path / "k"
    trained = train("clusters", topic_file, out, replace(OPTIONS, clusters=2))
    found = [score(out, texts[lang], lang)["cluster"] for lang in SEA for texts in (SEA, LAW)]
    assert sorted(found) == [0, 1, 2, 3]
    assert trained["report"]["en"]["agreement_with_labels"] == 1
    sheet = [json.loads(line) for line in (out / "clusters.jsonl").read_text().splitlines()]
    assert [row["cluster"] for row in sheet] == [0, 1, 2, 3]
    assert all(len(row["samples"]) == 3 for row in sheet)
    sea = next(row for row in sheet if row["cluster"] == found[0])
    assert "harbour" in " ".join(sample["text"] for sample in sea["samples"])
    assert set(sea["top_terms"]) & {"harbour", "ship", "sailor", "wave", "anchor"}
    for row, label in zip(sheet, ("keep", "drop", 0.5, None), strict=True):
        row["label"] = label
    labels = write_texts(tmp_path / "labels.jsonl", sheet)
    assert read_cluster_labels(labels, open_folder(out)) == {0: 1.0, 1: 0.0, 2: 0.5}
    for wrong in ("maybe", -1, True):
        sheet[0]["label"] = wrong
        with pytest.raises(InputError, match="label"):
            read_cluster_labels(write_texts(labels, sheet), open_folder(out))
    with pytest.raises(InputError, match="cluster 9"):
        read_cluster_labels(write_texts(labels, [{"cluster": 9, "label": 1}]), open_folder(out))


def test_score_records_writes_a_row_for_every_record_after_its_edits(topic_file, tmp_path) -> None:
    import pyarrow as pa

    for kind in ("quality", "topic"):
        train(kind, topic_file, tmp_path / kind)
    texts = [(SEA["en"] + " " + LAW["en"], "en"), (LAW["zh-Hans"], "zh-Hant"), ("", ""),
             ("def f(): pass", "code")]  # fmt: skip
    empty = dict.fromkeys(DOCUMENT_SCHEMA.names, "") | {"warc_offset": 0}
    rows = [empty | {"text": text, "lang": lang} for text, lang in texts]
    pq.write_table(pa.Table.from_pylist(rows, DOCUMENT_SCHEMA), tmp_path / "documents.parquet")
    record = int(record_numbers(2, np.array([0]))[0])
    np.save(tmp_path / "edits.npy", np.array([(record, len(SEA["en"]), len(texts[0][0]), 0)], EDIT))
    scorers = scorer_inputs([tmp_path / "quality", tmp_path / "topic"])
    inputs = {
        "documents": TaskInput(tmp_path / "documents.parquet", "d"),
        "scorers": scorers,
        "edits": TaskInput(tmp_path / "edits.npy", "e"),
    }
    digests = [item.digest for item in scorers]
    out = tmp_path / "out"
    out.mkdir()
    task = Task(score_records, 2, inputs, {"task": 2, "scorers": digests})
    counts = score_records(TaskContext(task, out, frozenset(), None))
    assert counts["records"] == 4
    assert counts["scored_records"] == 2
    table = pq.read_table(out / "scores.parquet")
    assert table.schema == SCORE_SCHEMA
    assert table["topic"].to_pylist() == ["sea", "law", None, None]
    assert table["quality"][0].as_py() > 0.5
    assert table["cluster"].null_count == 4
    digests[0] = "other"
    with pytest.raises(InputError, match="changed since"):
        score_records(TaskContext(task, out, frozenset(), None))


def test_a_folder_of_another_kind_damaged_or_none_is_refused(topic_file, tmp_path) -> None:
    train("quality", topic_file, tmp_path / "q")
    with pytest.raises(InputError, match="holds a quality scorer, not topic"):
        open_folder(tmp_path / "q", "topic")
    with pytest.raises(InputError, match="not a scorer's folder"):
        open_folder(tmp_path)
    with pytest.raises(UsageError, match="both quality"):
        Scorers([open_folder(tmp_path / "q"), open_folder(tmp_path / "q")])
    weights = tmp_path / "q" / "en_weights.npy"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(InputError, match=r"en_weights\.npy is missing or damaged"):
        open_folder(tmp_path / "q")
    description = tmp_path / "q" / "scorer.json"
    description.write_text(description.read_text().replace('"seed": 1862', '"seed": 1863'))
    with pytest.raises(InputError, match="changed after training"):
        open_folder(tmp_path / "q")
    description.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        open_folder(tmp_path / "q")


def test_what_cannot_be_trained_on_is_named(topic_file, tmp_path) -> None:
    good = topic_file("sea")
    cases: list[tuple[str, TrainingFiles, str]] = [
        ("quality", TrainingFiles(reference=[good]), "good and bad"),
        ("quality", TrainingFiles(reference=[good], against=[tmp_path / "no.jsonl"]), "no file"),
        ("perplexity", TrainingFiles(reference=[good], text_field="body"), "'body'"),
        ("quality", TrainingFiles(labelled=[good], label_field="mark"), "'mark'"),
        ("topic", TrainingFiles(reference=[good]), "1 labels"),
        ("coherence", TrainingFiles(reference=[topic_file("law", 6)]), "not enough text"),
        ("coherence", TrainingFiles(reference=[good], lexicons=[good]), "no use"),
        ("poetry", TrainingFiles(), "unknown kind"),
    ]
    for kind, files, message in cases:
        with pytest.raises(TongwenError, match=message):
            train_scorer(kind, files, tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="not a scorer's folder"):
        train_scorer("coherence", TrainingFiles(reference=[good]), tmp_path / "mine", OPTIONS)
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "a"', encoding="utf-8")
    with pytest.raises(InputError, match="cannot read"):
        train_scorer("coherence", TrainingFiles(reference=[broken]), tmp_path / "out", OPTIONS)


@pytest.mark.parametrize("kind", ["quality", "safety"])
def test_few_texts_are_measured_by_cross_fitting_and_many_by_parts_held_out(
    kind, topic_file, tmp_path
) -> None:
    crossed = train(kind, topic_file, tmp_path / "a")["report"]["en"]
    parts = train(kind, topic_file, tmp_path / "b", replace(OPTIONS, crossed_below=0))
    assert crossed["is_cross_fitted"]
    assert crossed["positives"] + crossed["negatives"] == 160
    assert not parts["report"]["en"]["is_cross_fitted"]
    assert parts["report"]["en"]["positives"] < 40
    assert parts["report"]["en"]["auc"] == crossed["auc"] == 1


def test_a_language_without_enough_text_gets_no_model_and_says_so(tmp_path) -> None:
    rows = [{"text": made_text("en", topic, place), "lang": "en", "label": topic}
            for topic in ("sea", "law") for place in range(60)]  # fmt: skip
    path = write_texts(tmp_path / "en.jsonl", rows)
    files = TrainingFiles(labelled=[path], positive=["sea"])
    trained = train_scorer("quality", files, tmp_path / "q", OPTIONS)
    assert trained["languages"] == ["en"]
    assert "at least 10" in trained["report"]["zh"]["not_trained"]
    assert score(tmp_path / "q", SEA["zh-Hans"], "zh-Hans") == {}
    assert scorer_of(open_folder(tmp_path / "q")) is not None


def test_pages_of_one_host_are_all_in_one_part(tmp_path) -> None:
    rows = [{"text": made_text("en", "sea", place), "lang": "en", "host": f"h{place % 7}"}
            for place in range(70)]  # fmt: skip
    from tongwen.curate.scorers.samples import Source, read_samples

    path = write_texts(tmp_path / "x.jsonl", [row | {"id": str(row["host"])} for row in rows])
    samples = read_samples(
        [Source((path,), "x")], seed=3, piece_characters=4_000, maximum_characters=10**9
    )
    parts = {}
    for piece in samples.pieces:
        assert parts.setdefault(piece.name, piece.part) == piece.part
    assert len(samples.pieces) == 70


def test_the_limit_takes_the_same_pieces_in_any_order_and_counts_the_rest(tmp_path) -> None:
    from tongwen.curate.scorers.samples import Source, read_samples

    rows = [{"text": made_text("en", "sea", place), "lang": "en", "id": place}
            for place in range(60)]  # fmt: skip
    found = []
    for order in (rows, rows[::-1]):
        path = write_texts(tmp_path / "x.jsonl", order)
        samples = read_samples(
            [Source((path,), "x")], seed=3, piece_characters=4_000, maximum_characters=15_000
        )
        found.append(samples)
    assert [p.text for p in found[0].pieces] == [p.text for p in found[1].pieces]
    assert sum(len(p.text) for p in found[0].pieces) < 16_000
    assert found[0].counts["pieces_over_the_limit"] == 60 - len(found[0].pieces)
    assert len({piece.part for piece in found[0].pieces}) == 3


def test_long_texts_are_cut_where_something_ends() -> None:
    text = "\n\n".join(f"Paragraph {number} " + "word " * 60 for number in range(20))
    pieces = list(pieces_of(text, 1_000))
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(len(piece) <= 1_500 for piece in pieces)
    assert all(piece.startswith("Paragraph") for piece in pieces)


def test_the_command_prints_figures_and_the_folder(topic_file, tmp_path) -> None:
    arguments = ["quality", "--out", str(tmp_path / "q"), "--reference", str(topic_file("sea")),
                 "--against", str(topic_file("law"))]  # fmt: skip
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0
    assert "en  auc  1.0" in result.stdout
    assert result.stdout.splitlines()[-1] == str(tmp_path / "q")
    result = CliRunner().invoke(command, [*arguments, "--json"])
    assert json.loads(result.stdout)["report"]["zh"]["auc"] == 1
