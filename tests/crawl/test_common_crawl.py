"""Files come from a crawl's server whole, checked and once, whatever the server does."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback import CRAWL, Site, crawl_site, md5_header, serve, warc_record

from tongwen.crawl.common_crawl import read_list
from tongwen.crawl.settings import CrawlSettings, DownloadSettings, SelectSettings, SourceSettings
from tongwen.crawl.stage import run
from tongwen.errors import DiskFullError, InputError, RecipeError
from tongwen.files import file_digest, read_jsonl
from tongwen.flow.local import LocalRunner
from tongwen.flow.settings import RunSettings
from tongwen.flow.stage import StageContext
from tongwen.formats.readers import read_records
from tongwen.progress import Progress


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(crawl_site()) as site:
        yield site


def crawl(
    site: Site, out: Path, *, listed: str = "warc.paths.gz", url: str = "", **more: Any
) -> list[dict[str, Any]]:
    """Run the stage; gives the rows of inputs.jsonl."""
    downloads = {"wait_seconds": 0.01, **more.pop("download", {})}
    source = SourceSettings(
        url=url or f"{site.base_url}{CRAWL}/{listed}",
        format="common-crawl",
        base_url=site.base_url,
        **more,
    )
    settings = CrawlSettings(sources=(source,), download=DownloadSettings(**downloads))
    out.mkdir(exist_ok=True)
    run(StageContext(settings, RunSettings(name="t"), {}, out, out, LocalRunner(), Progress()))
    return list(read_jsonl(out / "inputs.jsonl"))


def names(site: Site, folder: str = "warc") -> list[str]:
    return [name for name in site.files if f"/{folder}/" in name]


def assert_is_whole(
    site: Site, out: Path, rows: list[dict[str, Any]], folder: str = "warc"
) -> None:
    wanted = names(site, folder)
    assert [(out / row["path"]).read_bytes() for row in rows] == [
        site.files[name] for name in wanted
    ]
    assert [row["digest"] for row in rows] == [file_digest(out / row["path"]) for row in rows]


@pytest.mark.parametrize("folder", ["warc", "wet"])
def test_all_files_of_a_list_are_read_and_never_fetched_again(
    site: Site, tmp_path: Path, folder: str
) -> None:
    rows = crawl(
        site,
        tmp_path / "a",
        listed=f"{folder}.paths.gz",
        download={"cache": str(tmp_path / "cache")},
    )
    assert_is_whole(site, tmp_path / "a", rows, folder)
    records = [r for row in rows for r in read_records(Path(row["path"]), row["format"])]
    assert len(records) == 20
    assert {row["source"] for row in rows} == {"CC-MAIN-2026-40"}
    assert {record.is_text for record in records} == {folder == "wet"}
    assert all(record.problem is None for record in records)
    asked = site.asked.total()
    again = crawl(
        site,
        tmp_path / "b",
        listed=f"{folder}.paths.gz",
        download={"cache": str(tmp_path / "cache")},
    )
    assert again == rows
    assert site.asked.total() == asked
    assert all(agent.startswith("tongwen/") for agent in site.agents)


def test_the_selection_decides_which_files(site: Site, tmp_path: Path) -> None:
    def chosen(**select: Any) -> list[str]:
        listed = tmp_path / "warc.paths.gz"
        listed.write_bytes(site.files[f"{CRAWL}/warc.paths.gz"])
        wanted = read_list(listed, SelectSettings(**select), "list")
        return [name[-13:-8] for name in wanted.files]

    assert chosen() == ["00000", "00001", "00002", "00003"]
    assert chosen(first=2) == ["00000", "00001"]
    assert chosen(every=2) == ["00000", "00002"]
    assert chosen(numbers=(3, 1)) == ["00001", "00003"]
    assert chosen(sample=2, seed=5) == chosen(sample=2, seed=5)
    assert len(chosen(sample=3)) == 3
    with pytest.raises(InputError, match="line 4 of a list of 4"):
        chosen(numbers=(4,))


@pytest.mark.parametrize(
    "faults",
    [["503"], ["429 0", "503"], ["403", "403"], ["cut 100"], ["cut 100", "500", "cut 30", "cut 1"],
     ["cut 60", "no ranges"], ["flip"]],
)  # fmt: skip
def test_a_server_in_trouble_costs_time_only(site: Site, tmp_path: Path, faults: list[str]) -> None:
    first, second, *_ = names(site)
    site.faults[first] = list(faults)
    site.faults[second] = list(reversed(faults))
    rows = crawl(site, tmp_path / "out")
    assert_is_whole(site, tmp_path / "out", rows)
    answered_whole = faults.count("no ranges")
    assert site.asked[first] == len(faults) + 1 - answered_whole


@pytest.mark.parametrize("connections", [1, 3])
def test_no_more_connections_than_wanted(site: Site, tmp_path: Path, connections: int) -> None:
    site.delay_seconds = 0.2
    crawl(site, tmp_path / "out", download={"connections": connections})
    assert site.most_at_once == connections


@pytest.mark.parametrize("status", ["429 1", "503 1", "403 1"])
def test_when_the_server_asks_to_wait_all_connections_wait(
    site: Site, tmp_path: Path, status: str
) -> None:
    first, *others = names(site)
    site.faults[first] = [status]
    started = time.monotonic()
    crawl(site, tmp_path / "out", download={"connections": 1})
    assert time.monotonic() - started >= 1.0
    order = [name for name, _ in site.ranges if name in (first, *others)]
    assert order[:2] == [first, first]


def test_the_bandwidth_is_bounded(site: Site, tmp_path: Path) -> None:
    total = sum(len(site.files[name]) for name in names(site))
    started = time.monotonic()
    rate = total / 1e6  # MB/s: all of it in about a second
    crawl(site, tmp_path / "out", download={"megabytes_per_second": rate})
    assert time.monotonic() - started >= 0.95


def test_a_cut_connection_is_gone_on_with_where_it_ended(site: Site, tmp_path: Path) -> None:
    first = names(site)[0]
    site.faults[first] = ["cut 100", "cut 50"]
    crawl(site, tmp_path / "out", select=SelectSettings(first=1))
    assert [asked for name, asked in site.ranges if name == first] == [
        "",
        "bytes=100-",
        "bytes=150-",
    ]


def test_a_file_that_changed_meanwhile_is_begun_again(site: Site, tmp_path: Path) -> None:
    first = names(site)[0]
    site.faults[first] = ["cut 100", "404"]
    with pytest.raises(InputError, match="404"):
        crawl(site, tmp_path / "out", select=SelectSettings(first=1))
    site.files[first] = warc_record(99)
    (row,) = crawl(site, tmp_path / "out", select=SelectSettings(first=1))
    assert (tmp_path / "out" / row["path"]).read_bytes() == warc_record(99)


@pytest.mark.parametrize("has_etag", [True, False])
def test_last_modified_serves_where_there_is_no_etag(
    site: Site, tmp_path: Path, has_etag: bool
) -> None:
    site.has_etag = has_etag
    first = names(site)[0]
    site.faults[first] = ["cut 100"]
    crawl(site, tmp_path / "out", select=SelectSettings(first=1))
    assert ("bytes=100-") in [asked for name, asked in site.ranges if name == first]


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        (md5_header(b"other"), "md5"),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, "crc32"),
        ({"ETag": '"' + "0" * 32 + '"', "Server": "x", "x-amz-request-id": "1"}, "md5"),
    ],
)
def test_a_wrong_checksum_is_an_error_that_names_the_file(
    site: Site, tmp_path: Path, headers: dict[str, str], word: str
) -> None:
    first = names(site)[0]
    site.headers[first] = headers
    with pytest.raises(InputError, match=rf"CC-MAIN-00000\.warc\.gz: its {word} is"):
        crawl(site, tmp_path / "out", download={"attempts": 2})
    assert site.asked[first] == 2


def test_a_right_checksum_is_recorded(site: Site, tmp_path: Path) -> None:
    first = names(site)[0]
    site.headers[first] = md5_header(site.files[first])
    crawl(site, tmp_path / "out", select=SelectSettings(first=2))
    checked = [row["checked"] for row in read_jsonl(tmp_path / "out" / "downloads.jsonl")]
    assert checked == [["md5", "size"], ["gzip", "size"]]


def test_what_lies_damaged_on_the_server_is_kept_and_said_to_be_so(
    site: Site, tmp_path: Path
) -> None:
    first = names(site)[0]
    data = bytearray(site.files[first])
    data[len(data) // 2] ^= 1
    site.files[first] = bytes(data)
    rows = crawl(site, tmp_path / "out", select=SelectSettings(first=1))
    (told,) = read_jsonl(tmp_path / "out" / "downloads.jsonl")
    assert told["checked"] == ["damaged", "size"]
    assert (tmp_path / "out" / rows[0]["path"]).read_bytes() == bytes(data)
    assert site.asked[first] == 2


@pytest.mark.parametrize(("status", "requests"), [("404", 1), ("403", 4), ("401", 1), ("410", 1)])
def test_a_file_that_cannot_be_had_is_an_error_with_its_address(
    site: Site, tmp_path: Path, status: str, requests: int
) -> None:
    first = names(site)[0]
    site.faults[first] = [status] * 20
    with pytest.raises(InputError, match=rf"{site.base_url}.*00000\.warc\.gz: {status}") as caught:
        crawl(site, tmp_path / "out")
    assert caught.value.hint
    assert site.asked[first] == requests


def test_some_files_may_be_missing_if_the_recipe_says_so(site: Site, tmp_path: Path) -> None:
    del site.files[names(site)[1]]
    rows = crawl(site, tmp_path / "out", download={"allowed_missing": 1})
    assert len(rows) == 3
    (missing,) = read_jsonl(tmp_path / "out" / "missing.jsonl")
    assert missing["url"].endswith("00001.warc.gz")


def test_nobody_listening_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9/"):
        crawl(Site({}, base_url="http://127.0.0.1:9/"), tmp_path / "out", download={"attempts": 2})


def test_a_full_disk_is_told_before_it_is_full(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 10

    monkeypatch.setattr("tongwen.crawl.download.shutil.disk_usage", lambda _: Usage)
    with pytest.raises(DiskFullError, match="10 are free"):
        crawl(site, tmp_path / "out")


def test_many_connections_are_refused() -> None:
    with pytest.raises(RecipeError, match="connections is 11"):
        DownloadSettings(connections=11)


def index_rows(site: Site) -> list[dict[str, Any]]:
    """Every second record of every file."""
    rows = []
    for name in names(site):
        offset = 0
        for number, member in enumerate(site.files[name].split(b"\x1f\x8b\x08")[1:]):
            length = len(member) + 3
            if number % 2 == 0:
                rows.append({"url": f"http://a.example/{number}", "filename": name,
                             "offset": str(offset), "length": str(length)})  # fmt: skip
            offset += length
    return rows


@pytest.mark.parametrize("kind", ["cdxj.gz", "jsonl", "parquet"])
def test_single_records_are_fetched_by_their_ranges(site: Site, tmp_path: Path, kind: str) -> None:
    rows = index_rows(site)
    listed = tmp_path / f"index.{kind}"
    if kind == "parquet":
        columns = {
            "url": [row["url"] for row in rows],
            "warc_filename": [row["filename"] for row in rows],
            "warc_record_offset": [int(row["offset"]) for row in rows],
            "warc_record_length": [int(row["length"]) for row in rows],
        }
        pq.write_table(pa.table(columns), listed)
    else:
        key = "example,a)/ 20261001 " if kind == "cdxj.gz" else ""
        text = "".join(f"{key}{json.dumps(row)}\n" for row in rows).encode()
        listed.write_bytes(gzip.compress(text) if kind == "cdxj.gz" else text)
    site.files["index"] = listed.read_bytes()
    site.faults[rows[0]["filename"]] = ["503", "cut 20", "flip"]
    (row,) = crawl(site, tmp_path / "out", url=f"{site.base_url}index")
    expected = b"".join(
        site.files[r["filename"]][int(r["offset"]) : int(r["offset"]) + int(r["length"])]
        for r in rows
    )
    assert (tmp_path / "out" / row["path"]).read_bytes() == expected
    assert len(list(read_records(tmp_path / "out" / row["path"], "warc"))) == len(rows) == 12


def test_a_server_without_ranges_is_told(site: Site, tmp_path: Path) -> None:
    rows = index_rows(site)[:1]
    site.files["index"] = json.dumps(rows[0]).encode()
    site.faults[rows[0]["filename"]] = ["no ranges"]
    with pytest.raises(InputError, match=r"bytes 0 to .*gives no ranges"):
        crawl(site, tmp_path / "out", url=f"{site.base_url}index")


@pytest.mark.parametrize(
    "line", ["two words", "../../etc/passwd", "a/CC-MAIN-1.warc.wat.gz", '{"filename": "x"}']
)
def test_a_list_with_a_senseless_line_is_refused(site: Site, tmp_path: Path, line: str) -> None:
    site.files["list"] = line.encode()
    with pytest.raises(InputError, match="list"):
        crawl(site, tmp_path / "out", url=f"{site.base_url}list")


_CHILD = """
import sys
from pathlib import Path
from loopback import Site
from test_common_crawl import crawl
crawl(Site({}, base_url=sys.argv[1]), Path(sys.argv[2]))
"""


def test_after_kill_9_finished_files_are_not_fetched_again(tmp_path: Path) -> None:
    site = crawl_site(files=8)
    site.delay_seconds = 0.1
    with serve(site):
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        out = tmp_path / "out"
        for _ in range(3):
            child = subprocess.Popen(
                [sys.executable, "-c", _CHILD, site.base_url, str(out)], env=environment
            )
            before = site.asked.total()
            deadline = time.monotonic() + 120
            while site.asked.total() < before + 2 and child.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            child.send_signal(signal.SIGKILL)
            child.wait(60)
        done = [
            name for name in site.files if list(out.rglob(Path(name).name)) and "/warc/" in name
        ]
        asked = dict(site.asked)
        site.delay_seconds = 0.0
        rows = crawl(site, out)
        assert_is_whole(site, out, rows)
        assert all(site.asked[name] == asked[name] for name in done)


def test_downloads_of_a_relative_folder_have_relative_paths(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = crawl(site, Path("out"))
    assert_is_whole(site, Path("out"), rows)
    assert all(row["path"].startswith("downloads/") for row in rows)


_FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
from pathlib import Path
from loopback import Site
from test_common_crawl import crawl
from tongwen.errors import DiskFullError
try:
    crawl(Site({}, base_url=sys.argv[1]), Path(sys.argv[2]))
except DiskFullError as error:
    print(error.message)
"""


def test_what_came_before_the_disk_was_full_is_not_fetched_again(tmp_path: Path) -> None:
    site = crawl_site(files=1, records=20)
    (name,) = names(site)
    assert len(site.files[name]) > 2_000
    with serve(site):
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        child = subprocess.run(
            [sys.executable, "-c", _FULL_DISK, site.base_url, str(tmp_path / "out")],
            env=environment, capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        assert "no space left" in child.stdout
        rows = crawl(site, tmp_path / "out")
        assert_is_whole(site, tmp_path / "out", rows)
    assert site.ranges[-1] == (name, "bytes=2000-")
