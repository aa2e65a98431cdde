"""What the first curation on a machine costs, when every kernel must be compiled, and the second.

    python bench/first_run.py

Curates three texts that it makes (English, Chinese, an HTML page) twice, with a cache folder that
is empty at first, and prints the CPU seconds of all processes. Wall time depends on what else the
machine does; CPU seconds do so less, by a quarter between an idle and a crowded one.
"""

import gzip
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENGLISH = """The town library opened in the spring of 1911, in two rooms above the old post office.
It owned four hundred books then, most of them gifts of the schoolmaster and his friends, and
everybody who lived within the walls was free to borrow them.

Ten years later the rooms were too small. A carpenter built new shelves along the stairs, and the
council voted for a house of its own near the river, with tall windows to the north and a stove in
each hall. Readers came from villages around on market days and stayed until the lamps were lit.

Today the library has forty thousand volumes, a reading room for children and a small press on which
it prints its own catalogue. Visitors may use the garden in summer. Those who wish to see the oldest
maps are asked to write a few days before, because only one person knows where they are kept."""
CHINESE = """镇上的图书馆创办于一九一一年春天，最初设在旧邮局楼上的两间屋子里。当时藏书只有四百册，
大多是小学校长和他的朋友们捐赠的，凡是住在城里的居民都可以免费借阅。

十年以后，房间已经不够用了。木匠沿着楼梯做了新的书架，镇里决定在河边另建一座房子，朝北开高大的窗
户，每个大厅都装上火炉。赶集的日子，附近村子里的读者也来看书，一直坐到点灯的时候才回家。

如今图书馆有四万多册藏书，一间儿童阅览室，还有一台小印刷机，用来印自己的目录。夏天读者可以在花园里
休息。想看最古老的地图的人，需要提前几天写信预约，因为只有一个人知道它们放在什么地方。"""
PAGE = (
    "<!doctype html><html lang=en><head><title>Mills</title></head><body><nav><a href=/>Home</a>"
    "<a href=/map>Map</a></nav><main><h1>The mills on the river</h1>{}</main></body></html>"
).format(
    "".join(
        f"<p>{text}</p>"
        for text in (
            "Seven mills once stood between the bridge and the weir, each with a name and a bell "
            "of its own. Grain came down from the hills on flat boats after the harvest, and the "
            "millers paid the boatmen in flour.",
            "The largest burned in the dry summer of 1834. What is left of its walls belongs to a "
            "farmer, who keeps bees there and shows the wheel pit to anyone who knocks at his door "
            "before noon.",
            "Two of the others still turn. Their owners grind a little wheat for the bakers of the "
            "town, more to keep the stones from standing still than for the money it brings.",
        )
    )
)


def write_crawl(folder: Path) -> None:
    """One WARC file for each of the texts."""
    for number, (kind, body) in enumerate(
        (("text/plain", ENGLISH), ("text/plain", CHINESE), ("text/html", PAGE))
    ):
        data = body.encode("utf-8")
        response = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\n\r\n".encode() + data
        head = (
            "WARC/1.0\r\nWARC-Type: response\r\n"
            f"WARC-Target-URI: http://{number}.example/\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
            f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-00000000000{number}>\r\n"
            "Content-Type: application/http; msgtype=response\r\n"
            f"Content-Length: {len(response)}\r\n\r\n"
        )
        record = head.encode() + response + b"\r\n\r\n"
        (folder / f"{number}.warc.gz").write_bytes(gzip.compress(record))


def curate(folder: Path, number: int) -> tuple[float, float, str]:
    """CPU and wall seconds of one curation in `folder`, and the last line that it printed."""
    command = [sys.executable, "-m", "tongwen", "curate", "run", str(folder / "crawled")]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [*command, "--out", str(folder / f"curated-{number}")],
        env=os.environ | {"TONGWEN_CACHE": str(folder / "cache")},
        stderr=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - started, done.stderr.strip().splitlines()[-1]


def main() -> None:
    """Curate twice and print what it cost."""
    os.environ.pop("NUMBA_CACHE_DIR", None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "crawled").mkdir()
        write_crawl(folder / "crawled")
        for number, what in enumerate(("first", "second")):
            cpu, wall, last = curate(folder, number)
            print(f"{what} run: {cpu:.1f} s of CPU, {wall:.1f} s of wall time; {last}")


if __name__ == "__main__":
    main()
