import subprocess
import sys
from pathlib import Path

import pytest

from tongwen.cli.main import COMMANDS

HEAVY = ("torch", "numpy", "pyarrow", "numba", "sentencepiece", "fastapi", "rich", "transformers")


def tongwen(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tongwen", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        check=False,
    )


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['tongwen', '--help']\n"
        "from tongwen.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"loaded = sorted(set({HEAVY!r}) & set(sys.modules))\n"
        "assert not loaded, loaded\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    for name in COMMANDS:
        assert f"\n  {name} " in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_without_torch(name: str) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['tongwen', {name!r}, '--help']\n"
        "from tongwen.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "Usage:" in result.stdout


def test_a_mistyped_command_suggests_the_right_one() -> None:
    result = tongwen("evalute")
    assert result.returncode == 2
    assert "Did you mean `tongwen evaluate`?" in result.stderr


def test_a_users_error_has_a_hint_and_no_traceback(tmp_path: Path) -> None:
    recipe = tmp_path / "my.toml"
    recipe.write_text("[run]\nname = 'x'\n[crawl.sampel]\n", encoding="utf-8")
    result = tongwen("run", str(recipe), cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error: unknown key `crawl.sampel`")
    assert "hint: did you mean `sample`?" in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.toml"]


def test_a_dry_run_lists_the_stages_and_writes_nothing(tmp_path: Path) -> None:
    result = tongwen("run", "sample", "--dry-run", cwd=tmp_path)
    assert result.stdout.split()[:4] == ["crawl", "curate", "tokenizer", "encode"]
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_last_stage_is_refused() -> None:
    result = tongwen("run", "sample", "--until", "curat")
    assert result.returncode == 2
    assert "no such stage" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["crawl", "texts", "--out", "file"], "file: "),
        (["run", "smallest", "--until", "crawl", "--runs", "file"], "file"),
        (["run", "smallest", "--until", "crawl", "--runs", "file/below"], "file"),
        (["run", "smallest", "--until", "crawl", "--runs", "x" * 300], "File name too long"),
        (["curate", "texts", "--out", "file"], "file: "),
    ],
)
def test_a_path_that_cannot_be_written_is_an_error_without_a_traceback(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("some words", encoding="utf-8")
    result = tongwen(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "error: " in result.stderr
    assert message in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_to_a_full_disk_is_an_error_without_a_traceback() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        result = subprocess.run(
            [sys.executable, "-m", "tongwen", "recipe", "sample"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert result.returncode == 1
    assert "cannot write to standard output: No space left on device" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_reader_that_has_enough_ends_the_command_quietly() -> None:
    command = f"{sys.executable} -m tongwen recipe sample | head -n 1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1
