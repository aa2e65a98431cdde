"""The wheel holds what the package needs and nothing else, and works from an empty directory."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = (
    "tongwen/py.typed",
    "tongwen/road/presets/smallest.toml",
    "tongwen/evaluate/tasks/gsm8k.toml",
    "tongwen/report/page/report.html.jinja",
    "tongwen/sample/data/world.toml",
    "tongwen/sample/data/layouts/news.html",
    "tongwen/curate/scorers/lexicon.tsv",
    "tongwen/serve/static/index.html",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sources by the hatchling that is installed."""
    out = tmp_path_factory.mktemp("wheel")
    code = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    built = subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return out / built.stdout.strip().splitlines()[-1]


def tracked() -> set[str]:
    """Files of the package, compiled ones and caches aside."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tongwen").rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".nbi", ".nbc")
    }


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        requirements = archive.read(metadata).decode()
        points = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    assert names == tracked()
    assert set(NEEDED) <= names
    assert "Requires-Python: >=3.11" in requirements
    assert "tongwen = tongwen.cli.main:main" in points


def test_the_face_and_the_command_work_from_an_empty_directory(wheel: Path, tmp_path: Path) -> None:
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    code = (
        "import tongwen; print(tongwen.__file__); print(tongwen.load_recipe('smallest').run.name); "
        "print([getattr(tongwen, name) is not None for name in tongwen.__all__].count(True)); "
        "from tongwen.evaluate.spec import builtin_names; print(len(builtin_names()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    for command, expected in (
        (["-c", code], [str(installed / "tongwen/__init__.py"), "smallest", "14", "66"]),
        (["-m", "tongwen", "run", "smallest", "--dry-run"], ["crawl", "curate", "tokenizer"]),
    ):
        found = subprocess.run(
            [sys.executable, *command], cwd=empty, env=environment, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        assert found.stdout.splitlines()[: len(expected)] == expected
    assert list(empty.iterdir()) == []
