"""A curation whose tasks work on a local S3 server, beside one in a folder: the same bytes?

    python bench/store.py CRAWL

CRAWL is a folder of `tongwen crawl`. The server (moto) and s3fs are installed in an environment of
their own. A third run is killed in the middle and resumed.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from tongwen.files import file_digest, tree_files

_PACKAGES = ("moto[server]>=5", "s3fs>=2025.2")
_BUCKET = "work"
_RUN_FILES = {"cost.json", "manifest.json", "events.jsonl", "inputs.json", "progress.json"}


def environment(folder: Path) -> Path:
    """A Python with the packages, which also sees those of this one; made once."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        site = next(folder.glob("lib/python3*/site-packages"))
        (site / "main.pth").write_text("\n".join(path for path in sys.path if path) + "\n")
        subprocess.run([python, "-m", "pip", "install", "-q", *_PACKAGES], check=True)
    return python


@contextmanager
def s3_server(python: Path) -> Iterator[str]:
    """A server on this machine; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/moto-api/", timeout=5).close()
                break
            except (URLError, OSError):
                time.sleep(0.5)
        request = urllib.request.Request(f"{address}/{_BUCKET}", method="PUT")
        urllib.request.urlopen(request, timeout=30).close()
        yield address
    finally:
        server.terminate()
        server.wait(timeout=10)


def command_of(python: Path, crawl: Path, out: Path, *settings: str) -> list[str]:
    """The command that curates."""
    options = [part for setting in settings for part in ("--set", setting)]
    command = [python, "-m", "tongwen", "curate", "run", crawl, "--out", out, *options]
    return [str(part) for part in command]


def published(folder: Path) -> dict[str, str]:
    """Digests of the results."""
    names = ((path.relative_to(folder), path) for path in tree_files(folder))
    return {
        name.as_posix(): file_digest(path)
        for name, path in names
        if name.parts[0] != "tasks" and name.name not in _RUN_FILES
    }


def killed(command: Sequence[str], seconds: float, variables: dict[str, str]) -> bool:
    """Run a command and kill it after some seconds, if it has not ended."""
    process = subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crawl", type=Path)
    parser.add_argument("--task-bytes", type=int, default=60_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kill-after", type=float, default=20.0, help="seconds; 0 for not")
    parser.add_argument("--environment", type=Path, default=Path("build/bench/store"))
    options = parser.parse_args()
    python = environment(options.environment.absolute())
    common = (f"curate.task_bytes={options.task_bytes}", f"run.workers={options.workers}")
    with tempfile.TemporaryDirectory() as name, s3_server(python) as address:
        folder = Path(name)
        variables = os.environ | {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": address,
        }
        seconds = {}
        for run, more in (("folder", ()), ("store", (f"run.work=s3://{_BUCKET}/one",))):
            command = command_of(python, options.crawl, folder / run, *common, *more)
            started = time.monotonic()
            subprocess.run(command, check=True, env=variables, stderr=subprocess.DEVNULL)
            seconds[run] = time.monotonic() - started
        expected = published(folder / "folder")
        results = {"store": published(folder / "store") == expected}
        if options.kill_after:
            more = (f"run.work=s3://{_BUCKET}/two",)
            command = command_of(python, options.crawl, folder / "killed", *common, *more)
            was_killed = killed(command, options.kill_after, variables)
            subprocess.run(command, check=True, env=variables, stderr=subprocess.DEVNULL)
            name = "store, killed and resumed" if was_killed else "store, ended before the kill"
            results[name] = published(folder / "killed") == expected
        left = tree_files(folder / "store" / "tasks")
    print(f"{len(expected)} result files; folder {seconds['folder']:.0f} s, "
          f"store {seconds['store']:.0f} s; {len(left)} outputs of tasks left here")  # fmt: skip
    for run, is_same in results.items():
        print(f"{run}: {'the same bytes' if is_same else 'DIFFERENT BYTES'}")
    if not all(results.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
