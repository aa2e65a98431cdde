"""The cache of compiled kernels: never stale, filled once, cleaned."""

import fcntl
import io
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tongwen
from tongwen import kernels
from tongwen.kernels import compile_once, kernel, kernel_folder
from tongwen.progress import Progress

PRINT_HASH = """
import numpy as np
from tongwen.curate.duplicates.minhash import shingle_hashes
out = np.zeros(1, np.uint64)
shingle_hashes(np.array([5], np.uint64), 1, np.uint64(1), out)
print(out[0])
"""


def run_with(package: Path, cache: Path, code: str) -> str:
    """What code prints in a new process that has `package` in front of its path."""
    environment = os.environ | {"PYTHONPATH": str(package), "TONGWEN_CACHE": str(cache)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=package, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that a test may change."""
    source = Path(tongwen.__file__).parent
    target = tmp_path / "package"
    shutil.copytree(source, target / "tongwen", ignore=shutil.ignore_patterns("__pycache__"))
    return target


def test_a_changed_constant_of_another_file_compiles_the_kernel_again(
    package: Path, tmp_path: Path
) -> None:
    constants = package / "tongwen/curate/text/units.py"
    source = constants.read_text(encoding="utf-8")
    cache = tmp_path / "cache"
    before = run_with(package, cache, PRINT_HASH)
    changed = source.replace("0xFF51AFD7ED558CCD", "0xFF51AFD7ED558CCF")
    assert changed != source
    constants.write_text(changed, encoding="utf-8")
    assert run_with(package, cache, PRINT_HASH) != before
    constants.write_text(source, encoding="utf-8")
    assert run_with(package, cache, PRINT_HASH) == before
    assert len(list((cache / "kernels").glob("*-numba-*"))) == 2


def test_a_comment_keeps_the_folder(package: Path, tmp_path: Path) -> None:
    code = "from tongwen.kernels import kernel_folder; print(kernel_folder().name)"
    before = run_with(package, tmp_path / "cache", code)
    constants = package / "tongwen/curate/text/units.py"
    constants.write_text(constants.read_text(encoding="utf-8") + "# a remark\n", encoding="utf-8")
    assert run_with(package, tmp_path / "cache", code) == before


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("TONGWEN_CACHE", str(tmp_path))
    for function in (kernels.kernel_folder, kernels._base_folder):
        function.cache_clear()
    monkeypatch.setattr(kernels, "_defined", [])
    yield tmp_path / "kernels"
    for function in (kernels.kernel_folder, kernels._base_folder):
        function.cache_clear()


def test_a_trial_runs_once_and_is_said(own_cache: Path) -> None:
    stream = io.StringIO()
    calls = []

    @kernel
    def doubled(value: int) -> int:
        return 2 * value

    def trial() -> None:
        calls.append(doubled(4))

    for _ in range(2):
        compile_once({"doubling": trial}, Progress(stream))
    assert calls == [8]
    assert "compiling kernels, once on this machine" in stream.getvalue()
    assert "compiled 1 kernels in" in stream.getvalue()


def test_a_trial_that_fails_runs_again(own_cache: Path) -> None:
    def trial() -> None:
        raise KeyError("trial")

    for _ in range(2):
        with pytest.raises(KeyError):
            compile_once({"failing": trial}, Progress(io.StringIO()))


def test_who_waits_for_another_process_is_told_so(own_cache: Path) -> None:
    stream = io.StringIO()
    with (kernel_folder() / ".lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threading.Thread(
            target=compile_once, args=({"nothing": lambda: None}, Progress(stream))
        )
        waiting.start()
        for _ in range(600):
            if stream.getvalue():
                break
            time.sleep(0.05)
    waiting.join(timeout=60)
    assert stream.getvalue().startswith("  waiting for another process")
    assert "compiling kernels" in stream.getvalue()


def test_folders_unused_for_a_month_go_and_others_stay(own_cache: Path) -> None:
    mine = kernel_folder()
    old, young = own_cache / "old-numba-0.1", own_cache / "young-numba-0.1"
    for folder, days in ((old, 31), (young, 29)):
        folder.mkdir()
        (folder / "some.nbc").write_bytes(b"code")
        when = time.time() - days * 86_400
        os.utime(folder, (when, when))
    compile_once({"nothing": lambda: None}, Progress(io.StringIO()))
    assert sorted(path.name for path in own_cache.iterdir()) == sorted([mine.name, young.name])


def test_processes_that_compile_at_the_same_time_compile_once(tmp_path: Path) -> None:
    code = """
import sys, time
from tongwen.kernels import compile_once
from tongwen.progress import Progress
def trial():
    time.sleep(0.5)
    print("compiled")
compile_once({"slow": trial}, Progress())
"""
    environment = os.environ | {"TONGWEN_CACHE": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    printed = "".join(process.communicate()[0] for process in processes)
    assert printed.count("compiled") == 1
    assert all(process.returncode == 0 for process in processes)


def test_an_option_changes_no_result() -> None:
    @kernel(allocates=True)
    def squares(number: int) -> np.ndarray:
        return np.arange(number) ** 2

    assert squares(4).tolist() == [0, 1, 4, 9]
