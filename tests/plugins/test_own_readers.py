"""Readers of a user's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from own_texts import CHINESE, ENGLISH

from tongwen.crawl.settings import CrawlSettings, OwnReaderSettings, SourceSettings
from tongwen.crawl.stage import files
from tongwen.errors import InputError, RecipeError
from tongwen.files import read_jsonl
from tongwen.flow.local import InProcessRunner
from tongwen.formats.readers import read_records
from tongwen.plugins import Code
from tongwen.road.alone import run_alone
from tongwen.road.recipe import load_recipe

Write = Callable[..., Path]

READER = """
from tongwen.plugins import Record, reader

@reader(suffixes=[".Cards"])
def cards(path):
    for card in path.read_text(encoding="utf-8").split("%"):
        if card == "broken":
            raise ValueError("a broken card")
        if card == "odd":
            yield card
        if card == "page":
            yield Record(body=b"<p>hello</p>", url="http://a.example/page", date="2026-01-01")
        elif card == "empty":
            yield Record(problem="empty_card")
        else:
            yield Record(text=card)
"""


def code(path: Path) -> Code:
    return Code("reader", "cards", path)


def test_a_reader_gives_texts_pages_and_named_problems(write: Write) -> None:
    reader = code(write("reader.py", READER))
    path = write("some.cards", "one%page%empty")
    one, page, empty = read_records(path, "cards", reader=reader, source="deck", license="MIT")
    assert (one.body, one.is_text, one.url, one.offset) == (b"one", True, f"{path.as_uri()}#0", 0)
    assert (page.body, page.is_text, page.content_type) == (b"<p>hello</p>", False, "text/html")
    assert (page.url, page.date) == ("http://a.example/page", "2026-01-01")
    assert (empty.problem, empty.body, empty.source, empty.license) == (
        "empty_card", b"", "deck", "MIT",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ("one%broken", r"after 1 records: line 8: ValueError: a broken card"),
        ("odd", "yielded a str as record 0"),
    ],
)
def test_an_error_in_a_reader_names_function_file_and_record(
    write: Write, cards: str, message: str
) -> None:
    path, reader = write("some.cards", cards), write("reader.py", READER)
    with pytest.raises(InputError, match=message) as caught:
        list(read_records(path, "cards", reader=code(reader)))
    assert f"`cards` in {reader}" in caught.value.message
    assert str(path) in caught.value.message


def test_a_record_that_kills_its_worker_is_left_out_and_one_that_cannot_be_read_ends_the_run(
    write: Write,
) -> None:
    path, reader = write("some.cards", "one%two"), code(write("reader.py", READER))
    marks: list[str] = []
    skip = frozenset({"some.cards@1"})
    _, two = read_records(path, "cards", reader=reader, skip=skip, mark=marks.append)
    assert two.problem == "quarantined"
    assert marks[:2] == ["some.cards@0 in cards", "some.cards@0"]
    with pytest.raises(InputError, match=r"held up or killed its worker twice at record 1 of"):
        list(read_records(path, "cards", reader=reader, skip=frozenset({"some.cards@1 in cards"})))


def test_an_unknown_format_and_the_name_of_ours_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"crawl\.sources\.0\.format is 'parket'") as caught:
        CrawlSettings(sources=(SourceSettings(path="x", format="parket"),))
    assert caught.value.hint == "did you mean 'parquet'?"
    with pytest.raises(RecipeError, match=r"crawl\.readers\.warc has the name of a built-in"):
        CrawlSettings(readers={"warc": OwnReaderSettings(path="x.py")})
    with pytest.raises(RecipeError, match="'A b'"):
        CrawlSettings(readers={"A b": OwnReaderSettings(path="x.py")})


def test_files_of_a_folder_are_taken_by_the_readers_suffix_and_its_code_is_an_input(
    write: Write, tmp_path: Path
) -> None:
    reader = write("reader.py", READER)
    for name in ("deck/a.cards", "deck/b.CARDS", "deck/c.txt"):
        write(name, "text")
    settings = CrawlSettings(
        readers={"cards": OwnReaderSettings(path=str(reader))},
        sources=(SourceSettings(path=str(tmp_path / "deck"), format="cards"),),
    )
    assert files(settings) == [
        tmp_path / "deck/a.cards", tmp_path / "deck/b.CARDS", reader,
    ]  # fmt: skip


def test_a_reader_of_an_installed_package_is_found_by_the_format_alone(
    install: Write, write: Write
) -> None:
    module = install("card_package", READER, "[tongwen.readers]\ncards = card_package:cards\n")
    path = write("some.cards", "one")
    settings = CrawlSettings(sources=(SourceSettings(path=str(path), format="cards"),))
    assert files(settings) == [path, module]


def test_crawl_and_curate_read_a_format_of_ones_own_and_again_when_its_code_changes(
    write: Write, tmp_path: Path
) -> None:
    reader = write("reader.py", READER)
    write("some.cards", f"{ENGLISH}%{CHINESE}%empty")
    recipe = write(
        "recipe.toml",
        'base = "defaults"\n[run]\nname = "cards"\nworkers = 1\n'
        '[crawl.readers.cards]\npath = "reader.py"\n'
        '[[crawl.sources]]\npath = "some.cards"\nformat = "cards"\nname = "deck"\n',
    )
    assert load_recipe(str(recipe)).crawl.readers["cards"].path == str(reader)

    def run() -> list[dict[str, Any]]:
        for stage, inputs in (("crawl", {}), ("curate", {"crawl": tmp_path / "crawl"})):
            run_alone(
                stage,
                inputs=inputs,
                out=tmp_path / stage,
                recipe=str(recipe),
                overrides=(),
                runner=InProcessRunner(),
            )
        (part,) = (tmp_path / "curate" / "attributes").glob("*.parquet")
        return list(pq.read_table(part).to_pylist())

    assert [(row["lang"], row["drop_rule"]) for row in run()] == [
        ("en", None), ("zh-Hans", None), ("", "empty_card"),
    ]  # fmt: skip
    (row,) = read_jsonl(tmp_path / "crawl" / "inputs.jsonl")
    digest = row["reader"]["digest"]
    write("reader.py", READER.replace("text=card", "text=card[:30]"))
    assert run()[0]["characters"] == 30
    (row,) = read_jsonl(tmp_path / "crawl" / "inputs.jsonl")
    assert row["reader"]["digest"] != digest
