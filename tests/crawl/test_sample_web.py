"""The sample web as files: real WARC, honest labels, equal bytes for equal settings."""

import gzip
import html
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from tongwen.files import read_jsonl, tree_files
from tongwen.sample import write_sample_web
from tongwen.sample.bad import CUT_RECORD
from tongwen.sample.settings import SampleWebSettings
from tongwen.sample.sites import Site, sites
from tongwen.sample.web import SHARES, page_counts

PAGES = 400


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample")
    write_sample_web(SampleWebSettings(pages=PAGES), out)
    return out


@pytest.fixture(scope="module")
def gold(web: Path) -> dict[str, dict[str, Any]]:
    return {row["url"]: row for row in read_jsonl(web / "gold" / "pages.jsonl")}


@pytest.fixture(scope="module")
def responses(web: Path) -> dict[str, tuple[str, str, bytes]]:
    """URL to status, content type and body of every record that an independent reader finds."""
    return {
        url: (status, content_type, body)
        for path in tree_files(web / "warc")
        for url, status, content_type, body in read_warc(path)
    }


def read_warc(path: Path) -> Iterator[tuple[str, str, str, bytes]]:
    with path.open("rb") as file:
        try:
            for record in ArchiveIterator(file):
                if record.rec_type == "response":
                    url = record.rec_headers.get_header("WARC-Target-URI")
                    status = record.http_headers.get_statuscode()
                    content_type = record.http_headers.get_header("Content-Type")
                    yield url, status, content_type, record.content_stream().read()
        except (ArchiveLoadFailed, zlib.error):  # the file that ends too early
            return


def site_of(url: str) -> Site:
    host = url.split("/")[2]
    roles = ("content", "mirror", "spam", "foreign")
    return next(site for role in roles for site in sites(role) if site.host == host)  # type: ignore[arg-type]


def shingles(row: dict[str, Any]) -> set[str]:
    """Eight characters each, letters and digits only: the same measure for both languages."""
    text = re.sub(r"\W", "", row["text"])
    return {text[start : start + 8] for start in range(len(text) - 7)}


def test_equal_settings_give_equal_bytes_and_another_seed_does_not(
    web: Path, tmp_path: Path
) -> None:
    write_sample_web(SampleWebSettings(pages=PAGES), tmp_path / "again")
    write_sample_web(SampleWebSettings(pages=PAGES, seed=7), tmp_path / "other")
    files = [path.relative_to(web) for path in tree_files(web)]
    assert len(files) == 12
    examinations = ("outside.jsonl", "greetings.jsonl")  # the same ones for every world
    for file in files:
        data = (web / file).read_bytes()
        assert data == (tmp_path / "again" / file).read_bytes()
        other = (tmp_path / "other" / file).read_bytes()
        assert (data == other) == (file.name in examinations)


def test_every_record_is_one_gzip_member_without_a_time_stamp(web: Path) -> None:
    data = (web / "warc" / "sample-00000.warc.gz").read_bytes()
    kinds: Counter[bytes] = Counter()
    while data:
        assert data[4:8] == bytes(4)
        member = zlib.decompressobj(wbits=31)
        record = member.decompress(data)
        assert member.eof
        assert record.startswith(b"WARC/1.0\r\n")
        assert record.endswith(b"\r\n\r\n")
        kinds[re.search(rb"WARC-Type: (\w+)", record)[1]] += 1  # type: ignore[index]
        data = member.unused_data
    assert kinds[b"warcinfo"] == 1
    assert kinds[b"response"] > 20


def test_every_labelled_page_is_in_the_files_once_but_for_the_one_cut_off(
    web: Path, gold: dict[str, dict[str, Any]], responses: dict[str, tuple[str, str, bytes]]
) -> None:
    found = [url for path in tree_files(web / "warc") for url, *_ in read_warc(path)]
    cut = {url for url, row in gold.items() if row["kind"] == CUT_RECORD}
    assert len(gold) == PAGES
    assert len(cut) == 1
    assert Counter(url for url in found if url not in cut) == Counter(gold.keys() - cut)


def test_the_last_record_of_one_file_is_really_cut(web: Path) -> None:
    cut = []
    for path in tree_files(web / "warc"):
        try:
            gzip.decompress(path.read_bytes())
        except EOFError:
            cut.append(path.name)
    assert len(cut) == 1


def test_the_counts_are_the_asked_for_shares_of_the_pages(gold: dict[str, dict[str, Any]]) -> None:
    counts = page_counts(PAGES)
    assert sum(counts.values()) == PAGES
    assert abs(sum(SHARES.values()) - 1) < 1e-9
    labels = Counter(row["label"] for row in gold.values())
    good = Counter(row["lang"] for row in gold.values() if row["label"] == "good")
    assert {name: (labels | good)[name] for name in counts} == counts


def test_the_body_of_a_page_holds_its_main_text_in_the_charset_of_its_host(
    gold: dict[str, dict[str, Any]], responses: dict[str, tuple[str, str, bytes]]
) -> None:
    checked = 0
    for url, row in gold.items():
        if row["label"] not in ("good", "duplicate"):
            continue
        page = responses[url][2].decode(site_of(url).charset)
        plain = html.unescape(re.sub(r"<[^>]*>", "", page))
        for line in (row["title"], *row["text"].split("\n")):
            assert all(cell in plain for cell in line.split(" | "))
        # There is much more on a page than its main text.
        assert len(page) > 1.2 * len(row["text"])
        checked += 1
    assert checked > 300


def test_character_sets_are_declared_in_every_way_the_live_web_knows(
    gold: dict[str, dict[str, Any]], responses: dict[str, tuple[str, str, bytes]]
) -> None:
    seen = set()
    for url in gold:
        site = site_of(url)
        if url in responses and gold[url]["label"] == "good":
            _, content_type, body = responses[url]
            head = body[:600].lower()
            assert (b"charset=" in head) == (site.declared in ("meta", "both", "wrong"))
            assert ("charset" in content_type) == (site.declared in ("header", "both", "wrong"))
            seen.add((site.charset, site.declared))
    assert {charset for charset, _ in seen} >= {"utf-8", "gb18030", "big5", "windows-1252"}
    assert {declared for _, declared in seen} == {"header", "meta", "both", "none", "wrong"}


def test_a_group_of_duplicates_has_one_good_page_and_copies_that_are_near_it(
    gold: dict[str, dict[str, Any]],
) -> None:
    kinds: Counter[str] = Counter()
    for row in gold.values():
        if row["label"] != "duplicate":
            assert row.get("group") in (None, row["url"])
            continue
        original = gold[row["group"]]
        assert row["duplicate_of"] == original["group"] == original["url"]
        assert original["label"] == "good"
        assert row["fact_ids"] == original["fact_ids"]
        one, other = shingles(row), shingles(original)
        likeness = len(one & other) / len(one | other)
        assert likeness == 1 if row["kind"] != "near_duplicate" else likeness > 0.75
        kinds[row["kind"]] += 1
    assert set(kinds) == {"mirror", "near_duplicate", "print_version"}


def test_copies_with_changed_words_still_tell_the_same_facts(
    web: Path, gold: dict[str, dict[str, Any]]
) -> None:
    facts = {row["fact_id"]: row for row in read_jsonl(web / "gold" / "facts.jsonl")}
    changed = 0
    for row in gold.values():
        if row["kind"] == "near_duplicate" and row["lang"] == "en":
            changed += row["text"] != gold[row["group"]]["text"]
            for fact_id in row["fact_ids"]:
                assert facts[fact_id]["answer_en"] in row["text"]
    assert changed >= 3


def test_no_page_asks_a_held_out_question_in_either_script(
    web: Path, gold: dict[str, dict[str, Any]]
) -> None:
    import opencc

    simplify = opencc.OpenCC("t2s").convert
    corpus = "\n".join(row.get("text", "") for row in gold.values())
    corpus = (corpus + simplify(corpus)).casefold()
    dialogues = (web / "gold" / "dialogues.jsonl").read_text(encoding="utf-8").casefold()
    for row in read_jsonl(web / "gold" / "questions.jsonl"):
        asked = row["question"].casefold().rstrip("?.？。")
        assert asked not in corpus
        assert f'"{row["question"].casefold()}"' not in dialogues


def test_personal_data_is_labelled_where_it_stands(gold: dict[str, dict[str, Any]]) -> None:
    labelled = [row for row in gold.values() if "personal_data" in row]
    assert {row["lang"] for row in labelled} >= {"en", "zh-Hans"}
    for row in gold.values():
        found = re.findall(r"[\w.]+@[\w.-]+\.example|(?:138-0000-|555-01)\d+", row.get("text", ""))
        assert len(found) == len(row.get("personal_data", ()))
        assert all(data in row["text"] for data in row.get("personal_data", ()))


def test_broken_pages_are_broken_in_many_ways(
    gold: dict[str, dict[str, Any]], responses: dict[str, tuple[str, str, bytes]]
) -> None:
    by_kind = {
        row["kind"]: responses[url]
        for url, row in gold.items()
        if row["label"] == "broken" and url in responses
    }
    assert by_kind["not_found"][0] == "404"
    assert by_kind["server_error"][0] == "500"
    assert by_kind["empty"][2] == b""
    assert by_kind["lorem_ipsum"][2].lower().count(b"lorem ipsum") >= 3
    assert b"</html>" not in by_kind["cut_off"][2].lower()
    damaged = by_kind["mojibake"][2].decode()
    assert damaged.count("\ufffd") > 0.02 * len(damaged)
    with pytest.raises(UnicodeDecodeError):
        by_kind["binary"][2].decode()


def test_spam_and_foreign_pages_come_in_every_kind_and_carry_no_facts(
    gold: dict[str, dict[str, Any]],
) -> None:
    kinds = Counter(
        (row["label"], row["kind"]) for row in gold.values() if row["label"] in ("spam", "foreign")
    )
    assert {kind for label, kind in kinds if label == "foreign"} == {
        "de", "fr", "es", "ru", "ja", "ko",
    }  # fmt: skip
    assert {kind for label, kind in kinds if label == "spam"} == {
        "keyword_stuffing", "promises", "link_farm", "doorway",
    }  # fmt: skip
    assert all(
        "text" not in row and row["fact_ids"] == []
        for row in gold.values()
        if row["label"] in ("spam", "foreign", "broken")
    )


def test_gold_files_are_json_lines_in_plain_utf8(web: Path) -> None:
    for path in tree_files(web / "gold"):
        for line in path.read_text(encoding="utf-8").splitlines():
            json.loads(line)
            assert "\\u" not in line
