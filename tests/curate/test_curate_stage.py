"""The whole stage on small crawls: planted duplicates, the funnel, resume, explain, the command."""

import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from curate_runs import Curated, InlineRunner, write_crawl
from curate_texts import CHINESE, ENGLISH, TRADITIONAL, edited, story

from tongwen.cli.curate import command
from tongwen.curate.mix.settings import MixSettings
from tongwen.curate.outcome.explain import explain, explanation_text
from tongwen.curate.records.folders import curate_folder
from tongwen.curate.settings import (
    CurateSettings,
    DuplicateSettings,
    EnglishRules,
    RepeatSettings,
)
from tongwen.errors import InputError
from tongwen.files import file_digest, read_json, read_jsonl, tree_files, write_jsonl
from tongwen.flow.local import InProcessRunner, LocalRunner
from tongwen.flow.store import Store
from tongwen.formats.documents import DOCUMENT_SCHEMA, read_documents

CurateFunction = Callable[..., Curated]

PAGE = """<!doctype html><html><head><meta charset="{charset}"><title>{title}</title></head><body>
<nav><a href="/">Home</a> <a href="/about">About</a></nav><main><h1>{title}</h1>{paragraphs}</main>
<footer>© 2020 Harbour News. All rights reserved.</footer></body></html>"""
GERMAN = """Der Leuchtturm am nördlichen Kap wurde in elf Sommern von Hand gebaut. Der Wärter liebte
Karten und schrieb jeden Morgen das Wetter auf. Niemand wurde bezahlt, und niemand fragte danach."""
SPAM = (
    "Come to the casino that gives you the jackpot and have free spins with your welcome bonus. "
    "You can have a payday loan with bad credit, and to be sure, buy now: viagra is cheap. "
) * 4


def html(title: str, text: str, charset: str = "utf-8") -> bytes:
    paragraphs = "".join(f"<p>{part}</p>" for part in text.split("\n\n"))
    page = PAGE.format(title=title, paragraphs=paragraphs, charset=charset)
    return page.encode(charset)


def warc_record(url: str, body: bytes, date: str = "2024-05-01T00:00:00Z") -> bytes:
    response = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: {date}\r\n"
        f"WARC-Record-ID: <urn:uuid:{abs(hash((url, date))) % 10**12:012d}>\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(response)}"
    )
    return gzip.compress(head.encode() + b"\r\n\r\n" + response + b"\r\n\r\n", mtime=0)


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A folder with one WARC file: good, foreign, spam, empty, copied and twice crawled pages."""
    pages = [
        ("http://news.example/lamp", html("The lamp", ENGLISH), "2024-05-01T00:00:00Z"),
        ("http://news.example/lamp#2", html("The lamp", story(50)), "2024-06-01T00:00:00Z"),
        ("http://haijiao.example/1", html("灯塔", CHINESE, "gb18030"), "2024-05-01T00:00:00Z"),
        ("http://copy.example/1", html("Copied", ENGLISH.title()), "2024-05-01T00:00:00Z"),
        ("http://leuchtturm.example/", html("Kap", GERMAN), "2024-05-01T00:00:00Z"),
        ("http://win.example/", html("Win", SPAM), "2024-05-01T00:00:00Z"),
        ("http://news.example/empty", b"<html><body></body></html>", "2024-05-01T00:00:00Z"),
    ]
    folder = tmp_path / "web"
    folder.mkdir()
    data = b"".join(warc_record(url, body, date) for url, body, date in pages)
    (folder / "pages.warc.gz").write_bytes(data)
    return folder


def test_pages_of_a_warc_file_are_kept_or_dropped_with_a_reason(
    web: Path, curate: CurateFunction
) -> None:
    curated = curate(web)
    reasons = {url: row["drop_rule"] for url, row in curated.by_url().items()}
    assert reasons == {
        "http://news.example/lamp": "same_url",
        "http://news.example/lamp#2": None,
        "http://haijiao.example/1": None,
        "http://copy.example/1": None,  # what it copies was dropped before: it stays
        "http://leuchtturm.example/": "language",
        "http://win.example/": "maximum_spam_share",
        "http://news.example/empty": "no_text",
    }
    documents = {row["url"]: row for row in read_documents(curated.folder)}
    chinese = documents["http://haijiao.example/1"]
    assert "却很喜欢地图；他每天早晨记下天气" in chinese["text"]
    assert "All rights reserved" not in chinese["text"]
    assert (chinese["lang"], chinese["title"]) == ("zh-Hans", "灯塔")
    assert list(chinese) == DOCUMENT_SCHEMA.names
    attributes = curated.by_url()["http://haijiao.example/1"]
    assert attributes["encoding"] == "gb18030"


def duplicated_texts() -> dict[str, list[str]]:
    """Two sources: 12 stories each, and copies of the first of them, exact and edited."""
    first = [story(n, "en" if n % 2 else "zh", 20) for n in range(12)]
    copies = [
        story(1, "en", 20).upper(),
        edited(story(3, "en", 20), "The", "A"),
        edited(story(2, "zh", 20), "，", "、"),
        edited(story(4, "zh", 20), "旁边的", "附近的"),
        CHINESE[:60] + "！！",
        TRADITIONAL[:60],
    ]
    second = [story(n, "en" if n % 2 else "zh", 20) for n in range(20, 32)]
    return {"first": first, "second": second + copies}


def test_planted_duplicates_are_found_and_different_texts_are_left(
    tmp_path: Path, curate: CurateFunction
) -> None:
    files = duplicated_texts()
    curated = curate(write_crawl(tmp_path, files))
    rows = curated.rows("attributes")
    copies = rows[24:]
    assert [row["drop_rule"] for row in copies] == [
        "same_text", "near_duplicate", "same_text", "near_duplicate", None, "same_text",
    ]  # fmt: skip
    originals = [rows[place]["doc_id"] for place in (1, 3, 2, 4)]
    assert [row["duplicate_of"] for row in copies[:4]] == originals
    assert copies[5]["duplicate_of"] == copies[4]["doc_id"]
    assert copies[1]["drop_value"] >= copies[1]["drop_threshold"] == 0.7
    assert all(row["drop_stage"] is None for row in rows[:24])
    assert Counter(row["cluster_size"] for row in rows if row["drop_stage"] is None) == {
        1: 20,
        2: 5,
    }


def test_a_longer_copy_of_an_earlier_source_wins_over_a_later_source(
    tmp_path: Path, curate: CurateFunction
) -> None:
    text = story(1, "en", 30)
    longer = text + " One more line was added by the harbour museum."
    curated = curate(
        write_crawl(tmp_path, {"a": [text, longer], "b": [longer + " And then more."]})
    )
    assert [row["text"] for row in curated.rows("documents")] == [longer]


def test_every_record_read_is_kept_or_has_a_reason_and_the_sums_balance(
    web: Path, curate: CurateFunction
) -> None:
    curated = curate(web)
    funnel = curated.json("funnel.json")
    for count in ("pages", "characters", "raw_bytes"):
        parts = sum(row[count] for row in [*funnel["kept"], *funnel["dropped"]])
        assert funnel["read"][count] == parts
        flow = funnel["stages"]
        assert flow[0]["in"][count] == funnel["read"][count]
        assert flow[-1]["out"][count] == sum(row[count] for row in funnel["kept"])
        for before, after in pairwise(flow):
            assert before["out"][count] == after["in"][count]
            assert before["in"][count] - before["dropped"][count] == before["out"][count]
    attributes = curated.rows("attributes")
    assert funnel["read"]["pages"] == len(attributes) == 7
    assert sum(row["characters"] for row in funnel["kept"]) == sum(
        len(row["text"]) for row in curated.rows("documents")
    )
    rejects = list(read_jsonl(curated.folder / "rejects.jsonl"))
    assert {row["doc_id"] for row in rejects} == {
        row["doc_id"] for row in attributes if row["drop_stage"]
    }


def test_no_more_rejects_than_asked_for_are_shown_of_each_reason(
    tmp_path: Path, curate: CurateFunction
) -> None:
    crawl = write_crawl(tmp_path, {"a": [f"{GERMAN} {n}" for n in range(9)], "b": [SPAM, ENGLISH]})
    curated = curate(crawl, settings=CurateSettings(reject_samples=3, task_bytes=1))
    rows = list(read_jsonl(curated.folder / "rejects.jsonl"))
    assert Counter(row["drop_rule"] for row in rows) == {"language": 3, "maximum_spam_share": 1}
    german = sorted(row["doc_id"] for row in curated.rows("attributes") if row["lang"] == "de")
    assert [row["doc_id"] for row in rows if row["lang"] == "de"] == german[:3]
    assert all(len(row["excerpt"]) <= 400 for row in rows)


def outputs(curated: Curated) -> dict[str, Any]:
    names = ("funnel.json", "rejects.jsonl")
    return {
        **{name: (curated.folder / name).read_bytes() for name in names},
        **{kind: curated.rows(kind) for kind in ("documents", "attributes")},
    }


def test_grouping_of_tasks_and_worker_processes_change_nothing(
    tmp_path: Path, curate: CurateFunction
) -> None:
    crawl = write_crawl(tmp_path, duplicated_texts())
    together = curate(crawl, "together")
    apart = CurateSettings(task_bytes=1)
    one_each = curate(crawl, "apart", settings=apart)
    in_workers = curate(crawl, "workers", settings=apart, runner=LocalRunner(workers=2))
    assert outputs(together) == outputs(one_each) == outputs(in_workers)
    for name in ("documents/part-00001.parquet", "attributes/part-00000.parquet"):
        first, second = one_each.folder / name, in_workers.folder / name
        assert first.read_bytes() == second.read_bytes()


def test_work_on_a_store_publishes_the_same_bytes_and_leaves_nothing_here(
    tmp_path: Path, curate: CurateFunction
) -> None:
    crawl = write_crawl(tmp_path, duplicated_texts())
    settings = CurateSettings(mix=MixSettings(tokens=1_000))
    here = curate(crawl, "here", settings=settings)
    store = Store("memory://bucket/work", tmp_path / "stored")
    stored = curate(crawl, "stored", settings=settings, runner=InProcessRunner(store=store))
    files = [path.relative_to(here.folder) for path in tree_files(here.folder)]
    published = [path for path in files if path.parts[0] not in ("tasks", "cost.json")]
    assert len(published) > 5
    for path in published:
        assert (stored.folder / path).read_bytes() == (here.folder / path).read_bytes()
    assert tree_files(stored.folder / "tasks") == []
    fsspec.filesystem("memory").store.clear()


def test_another_threshold_decides_again_but_extracts_nothing_again(
    web: Path, curate: CurateFunction
) -> None:
    first = curate(web)
    settings = CurateSettings(english=EnglishRules(maximum_spam_share=None))
    second = curate(web, settings=settings)
    assert "extract/00000" in first.ran
    assert "decide/00000" in second.ran
    assert not {"extract/00000", "fingerprint/00000"}.intersection(second.ran)
    similar = replace(settings, duplicates=DuplicateSettings(similarity=0.9))
    assert curate(web, settings=similar).ran == ["cluster-map/00000", "materialize/00000"]
    assert curate(web, settings=similar).ran == []


def test_deduplication_can_be_turned_off(web: Path, curate: CurateFunction) -> None:
    off = DuplicateSettings(same_url=False, same_text=False, similarity=None)
    settings = CurateSettings(duplicates=off, repeats=RepeatSettings(paragraphs=False, spans=False))
    curated = curate(web, settings=settings)
    assert sum(row["drop_stage"] is None for row in curated.rows("attributes")) == 4


def test_an_empty_crawl_and_a_lost_file_are_clear_errors(
    tmp_path: Path, curate: CurateFunction
) -> None:
    with pytest.raises(InputError, match="no WARC files"):
        curate(tmp_path)
    crawl = write_crawl(tmp_path, {"a": [ENGLISH]})
    (crawl / "a.jsonl").unlink()
    with pytest.raises(InputError, match="is not there any more"):
        curate(crawl)


def test_gold_labels_are_scored(web: Path, curate: CurateFunction) -> None:
    gold = web / "gold" / "pages.jsonl"
    rows = [
        {"url": "http://haijiao.example/1", "label": "good", "lang": "zh-Hans", "text": CHINESE},
        {"url": "http://win.example/", "label": "spam", "lang": "en"},
        {"url": "http://copy.example/1", "label": "broken", "lang": "en"},
    ]
    gold.parent.mkdir()
    write_jsonl(gold, rows)
    score = curate(web).json("score.json")
    assert score["good"] == {"pages": 1, "kept_share": 1.0}
    assert score["spam en"] == {"pages": 1, "dropped_share": 1.0}
    assert score["broken"] == {"pages": 1, "dropped_share": 0.0}
    assert [row["url"] for row in score["wrong"]] == ["http://copy.example/1"]
    assert score["text_similarity"]["recall"] == 1.0


def test_explain_tells_values_thresholds_and_the_decision(
    web: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the commands, with the stage's manifest."""
    monkeypatch.setattr("tongwen.flow.stage.LocalRunner", InlineRunner)
    invoke = CliRunner().invoke
    out = tmp_path / "curated"
    result = invoke(command, [str(web), "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    folder = curate_folder(out)
    spam = explain(folder, "http://win.example/")[0]
    failed = [check for check in spam.checks if not check.passes]
    assert failed[0].threshold == EnglishRules().maximum_spam_share
    assert "FAIL maximum_spam_share" in explanation_text(spam)
    result = invoke(command, ["explain", "https://news.example/lamp", "--run", str(out), "--json"])
    found = json.loads(result.stdout)
    assert [item["attributes"]["drop_rule"] for item in found] == ["same_url", None]
    assert found[0]["duplicate_of"]["url"] == "http://news.example/lamp#2"
    by_id = explain(folder, found[1]["attributes"]["doc_id"])
    assert by_id[0].attributes["url"] == "http://news.example/lamp#2"
    assert explanation_text(by_id[0]).endswith("kept, for 2 that are the same")
    with pytest.raises(InputError) as caught:
        explain(folder, "http://news.example/lomp")
    assert caught.value.hint == "nearest: http://news.example/lamp"
    with pytest.raises(InputError, match="no finished curate stage"):
        curate_folder(web)


def damaged_crawl(folder: Path, good: int, bad: int) -> Path:
    """Parquet files with a text each, the last of them damaged."""
    folder.mkdir()
    rows = []
    for number in range(good + bad):
        path = folder / f"{number}.parquet"
        pq.write_table(pa.table({"text": [f"The text of file {number} is short and plain."]}), path)
        if number >= good:
            path.write_bytes(path.read_bytes()[:-100] + bytes(100))
        rows.append(
            {"path": str(path), "format": "parquet", "digest": file_digest(path), "bytes": 1,
             "source": "s", "license": "", "text_field": "text"}
        )  # fmt: skip
    write_jsonl(folder / "inputs.jsonl", rows)
    return folder


def test_three_bad_files_among_many_are_named_and_the_run_goes_on(
    tmp_path: Path, curate: CurateFunction
) -> None:
    curated = curate(damaged_crawl(tmp_path / "crawl", 30, 3))
    named = [row["path"] for row in read_jsonl(curated.folder / "bad_files.jsonl")]
    assert named == ["30.parquet", "31.parquet", "32.parquet"]
    funnel = read_json(curated.folder / "funnel.json")
    assert funnel["read"]["pages"] == 33
    assert [row["pages"] for row in funnel["dropped"] if row["rule"] == "unreadable"] == [3]


def test_more_bad_files_than_allowed_end_the_run_with_their_names(
    tmp_path: Path, curate: CurateFunction
) -> None:
    crawl = damaged_crawl(tmp_path / "crawl", 4, 2)
    with pytest.raises(InputError, match=r"2 of 6 files are empty or damaged: 4\.parquet"):
        curate(crawl)
    allowed = CurateSettings(maximum_bad_files=2)
    assert curate(crawl, "again", allowed).counts["pages"] == 6


def test_a_crawl_of_bad_files_alone_is_an_error(tmp_path: Path, curate: CurateFunction) -> None:
    with pytest.raises(InputError, match=r"none of the 1 files can be read: 0\.parquet"):
        curate(damaged_crawl(tmp_path / "crawl", 0, 1))


def test_a_trusted_source_keeps_what_rules_would_drop(
    tmp_path: Path, curate: CurateFunction
) -> None:
    texts = ["Ein kurzer Satz auf Deutsch, den niemand braucht.", "短", CHINESE, CHINESE]
    crawl = write_crawl(tmp_path / "crawl", {"books": texts})
    rows = [{**row, "trusted": True} for row in read_jsonl(crawl / "inputs.jsonl")]
    write_jsonl(crawl / "inputs.jsonl", rows)
    found = [row["drop_stage"] for row in curate(crawl).rows("attributes")]
    assert found[:2] == [None, None]
    assert sorted(found[2:], key=str) == [None, "same_text"]
    write_jsonl(crawl / "inputs.jsonl", [{**row, "trusted": False} for row in rows])
    again = [row["drop_stage"] for row in curate(crawl, "again").rows("attributes")]
    assert again[:2] == ["language", "rules"]
