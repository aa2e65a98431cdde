"""The encode stage loses and doubles nothing, whatever the number of workers, tasks and kills."""

import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tongwen.encode.stage as stage
from tongwen.encode.settings import EncodeSettings
from tongwen.encode.split import validation_thresholds
from tongwen.errors import InputError, RecipeError
from tongwen.files import read_json, write_bytes
from tongwen.flow.local import LocalRunner
from tongwen.flow.settings import RunSettings
from tongwen.flow.stage import StageContext
from tongwen.formats.documents import DOCUMENT_SCHEMA, draw
from tongwen.formats.shards import Shard
from tongwen.progress import Progress
from tongwen.tokenizer.special import EOS_ID
from tongwen.tokenizer.text import Tokenizer
from tongwen.tokenizer.train import train_model

PARTS = (
    "the old market of Halden opens at 9:30, ",
    "同文馆的学生学习翻译，",
    "價錢是三十元！",
    "emoji 😀 ",
    "<|endoftext|>",
    "a▁b\0",
    "\n\n  x = 1\n",
)
LANGUAGES = ("en", "zh-Hans", "zh-Hant", "code")


def documents(count: int = 300) -> list[dict[str, str]]:
    rng = random.Random(3)
    empty = dict.fromkeys(DOCUMENT_SCHEMA.names, "")
    return [
        {
            **empty,
            "warc_offset": number,
            "doc_id": f"{number:032x}",
            "lang": LANGUAGES[number % 4],
            "text": "".join(rng.choices(PARTS, k=rng.randint(0, 30))),
        }
        for number in range(count)
    ]


def write(folder: Path, rows: list[dict[str, str]], files: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number in range(files):
        part = rows[number * len(rows) // files : (number + 1) * len(rows) // files]
        pq.write_table(
            pa.Table.from_pylist(part, schema=DOCUMENT_SCHEMA),
            folder / f"part-{number:05d}.parquet",
        )


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    model = train_model(list(PARTS) * 50, vocabulary_size=400)
    write_bytes(folder / "tokenizer.model", model)
    return folder


@pytest.fixture
def context(tmp_path: Path, tokenizer_folder: Path) -> StageContext:
    write(tmp_path / "curate" / "documents", documents(), files=3)
    out = tmp_path / "encode"
    out.mkdir()
    return StageContext(
        settings=EncodeSettings(shard_tokens=4_000, validation_share=0.1),
        run=RunSettings(name="test"),
        inputs={"documents": tmp_path / "curate", "tokenizer": tokenizer_folder},
        out=out,
        run_dir=tmp_path,
        runner=LocalRunner(workers=2),
        progress=Progress(),
    )


def contents(out: Path) -> dict[str, bytes]:
    paths = [*out.glob("*.shard"), out / "shards.json"]
    return {path.name: path.read_bytes() for path in paths}


def test_every_document_comes_out_once_with_its_text_language_and_length(
    context: StageContext,
) -> None:
    counts = stage.run(context)
    tokenizer = Tokenizer.load(context.inputs["tokenizer"])
    found: Counter[tuple[str, str]] = Counter()
    summary = read_json(context.out / "shards.json")
    assert summary["documents_in"] == summary["documents_out"] == counts["documents"] == 300
    for row in summary["shards"]:
        shard = Shard.open(context.out / row["path"], tokenizer_digest=tokenizer.digest)
        shard.check_content()
        assert row["documents"] == shard.documents
        assert row["tokens"] == len(shard.tokens)
        assert sum(item["tokens"] for item in row["languages"].values()) == len(shard.tokens)
        for number in range(shard.documents):
            ids = shard.document(number).tolist()
            assert ids[-1] == EOS_ID
            assert EOS_ID not in ids[:-1]
            text = tokenizer.decode(ids)
            assert int(shard.utf8_bytes[number]) == len(text.encode())
            found[text, shard.language(number)] += 1
            if row["split"].startswith("valid-"):
                assert shard.language(number).startswith(row["split"].removeprefix("valid-"))
    assert found == Counter((row["text"], row["lang"]) for row in documents())
    assert counts["tokens"] == sum(row["tokens"] for row in summary["shards"])


def test_the_files_have_their_promised_names(context: StageContext) -> None:
    stage.run(context)
    names = sorted(path.name for path in context.out.glob("*.shard"))
    assert names[0] == "train-00000.shard"
    assert "train-00001.shard" in names
    assert names[-3:] == ["valid-code-00000.shard", "valid-en-00000.shard", "valid-zh-00000.shard"]


def test_a_training_shard_ends_with_the_document_that_fills_it(context: StageContext) -> None:
    stage.run(context)
    shards = [Shard.open(path) for path in sorted(context.out.glob("train-*.shard"))]
    for shard in shards[:-1]:
        assert len(shard.tokens) >= 4_000
        assert int(shard.document_starts[-1]) < 4_000


def test_neither_workers_nor_the_cut_into_files_change_the_documents_order(
    context: StageContext, tmp_path: Path
) -> None:
    stage.run(context)
    first = contents(context.out)
    write(tmp_path / "curate" / "documents", documents(), files=5)
    context.runner.workers = 1
    stage.run(context)
    assert contents(context.out) == first


def test_what_a_killed_run_left_is_built_on_and_gives_the_same_bytes(
    context: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.run(context)
    undisturbed = contents(context.out)
    shutil.rmtree(context.out / "tasks" / "encode-documents" / "00001")
    (context.out / "train-00001.shard").unlink()
    (context.out / "shards.json").unlink()
    (context.out / "train-00099.shard").write_bytes(b"of a run with smaller shards")
    stage.run(context)
    assert contents(context.out) == undisturbed


def test_a_document_stays_on_its_side_when_others_come() -> None:
    names = [(f"{n:032x}", "en") for n in range(2_000)]
    few = validation_thresholds(names[:1_000], 0.02)
    many = validation_thresholds(names, 0.02)
    assert few == many == {"en": 0.02}
    held_out = sum(draw(name, "validation") < 0.02 for name, _ in names)
    assert 20 <= held_out <= 60


def test_a_language_with_few_documents_still_holds_one_out() -> None:
    names = [("a", "zh-Hans"), ("b", "zh-Hant"), ("c", "zh-Hans"), ("d", "en")]
    thresholds = validation_thresholds(names, 1e-9)
    assert sum(draw(name, "validation") < thresholds["zh"] for name, _ in names[:3]) == 1
    assert thresholds["en"] == 0.0


def test_a_share_of_zero_holds_out_nothing() -> None:
    assert validation_thresholds([("a", "en"), ("b", "en")], 0.0) == {"en": 0.0}


def test_no_document_at_all_is_an_error(context: StageContext, tmp_path: Path) -> None:
    write(tmp_path / "curate" / "documents", [], files=1)
    with pytest.raises(InputError, match="no document"):
        stage.run(context)


def test_a_missing_tokenizer_is_an_error_before_any_work(
    context: StageContext, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    wrong = replace(context, inputs={**context.inputs, "tokenizer": tmp_path / "empty"})
    with pytest.raises(InputError, match=r"tokenizer\.model"):
        stage.run(wrong)
    assert not (context.out / "tasks").exists()


@pytest.mark.parametrize("wrong", [{"shard_tokens": 0}, {"validation_share": 0.9}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        EncodeSettings(**wrong)  # type: ignore[arg-type]
