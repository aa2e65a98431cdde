"""Work on a store that is a server: S3 as moto plays it, on this machine.

Runs where moto and s3fs are installed: `pip install "tongwen[test-s3]"`.
"""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError

import pytest
from curate_runs import CurateFunction, write_crawl
from curate_texts import ENGLISH, story

from tongwen.curate.settings import CurateSettings
from tongwen.files import tree_files
from tongwen.flow.local import InProcessRunner
from tongwen.flow.store import Store

pytestmark = [
    pytest.mark.skipif(
        find_spec("moto") is None or find_spec("s3fs") is None,
        reason="needs moto[server] and s3fs: pip install tongwen[test-s3]",
    ),
    # Those of boto and of what moto imports.
    pytest.mark.filterwarnings("default"),
]
BUCKET = "work"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An empty bucket on a port of its own; the server's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                request = urllib.request.Request(f"{address}/{BUCKET}", method="PUT")
                urllib.request.urlopen(request, timeout=30).close()
                break
            except URLError:
                assert process.poll() is None, "the server ended"
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def store(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    return Store(f"s3://{BUCKET}/run", tmp_path / "stored")


def test_work_on_an_s3_server_publishes_the_same_bytes_and_is_not_done_twice(
    tmp_path: Path, curate: CurateFunction, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"one": [story(number) for number in range(4)], "two": [ENGLISH, story(2)]}
    crawl = write_crawl(tmp_path, texts)
    settings = CurateSettings(task_bytes=1)
    here = curate(crawl, "here", settings=settings)
    files = [path.relative_to(here.folder) for path in tree_files(here.folder)]
    published = [path for path in files if path.parts[0] not in ("tasks", "cost.json")]
    assert len(published) > 5
    for again in (False, True):
        if again:
            monkeypatch.setattr(Store, "put", None)
        runner = InProcessRunner(store=store)
        stored = curate(crawl, "stored", settings=settings, runner=runner)
        for path in published:
            assert (stored.folder / path).read_bytes() == (here.folder / path).read_bytes()
        assert tree_files(stored.folder / "tasks") == []
