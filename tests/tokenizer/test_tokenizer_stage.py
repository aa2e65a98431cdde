"""The tokenizer stage and its command."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner

from tongwen.cli.main import cli
from tongwen.files import read_json
from tongwen.formats.documents import DOCUMENT_SCHEMA
from tongwen.tokenizer.text import Tokenizer


def test_train_makes_a_verified_folder_and_the_same_one_again(
    tmp_path: Path, texts: list[str]
) -> None:
    empty = dict.fromkeys(DOCUMENT_SCHEMA.names, "")
    rows = [
        {
            **empty,
            "warc_offset": 0,
            "doc_id": str(number),
            "lang": ("en", "zh-Hans")[number % 2],
            "text": text,
        }
        for number, text in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA), tmp_path / "a.parquet")
    names = ("one", "two")
    for name in names:
        result = CliRunner().invoke(
            cli,
            [
                *("tokenizer", "train", str(tmp_path), "--out", str(tmp_path / name)),
                *("--set", "tokenizer.vocabulary_size=900"),
            ],
            catch_exceptions=False,
        )
        assert result.exit_code == 0
    for file in (
        "tokenizer.model",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "report.json",
    ):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    report = read_json(tmp_path / "one" / "report.json")
    assert report["digest"] == Tokenizer.load(tmp_path / "one").digest
    assert report["vocabulary_size"] == 900
    assert report["sample"]["documents"] == report["available"]["documents"] == len(texts)
    assert set(report["languages"]) == {"en", "zh-Hans", "digits"}
    assert not any(item["passed"] is False for item in report["checks"])

    again = tmp_path / "again"
    arguments = ("tokenizer", "train", str(tmp_path), "--out", str(again))
    taken = (
        "--set",
        f"tokenizer.model={tmp_path / 'one'}",
        "--set",
        "tokenizer.vocabulary_size=600",
    )
    result = CliRunner().invoke(cli, [*arguments, *taken], catch_exceptions=False)
    assert result.exit_code == 0
    for file in ("tokenizer.model", "tokenizer.json"):
        assert (again / file).read_bytes() == (tmp_path / "one" / file).read_bytes()
    assert read_json(again / "report.json")["vocabulary_size"] == 900
    assert read_json(again / "report.json")["sample"]["documents"] == 0
