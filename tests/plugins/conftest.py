"""Files of a user's own code, and packages that offer it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode adds no path

WriteCode = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteCode:
    """Writes a file and gives its path."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def install(write: WriteCode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> WriteCode:
    """Installs a package of one module, with entry points as the text of their file."""

    def install(module: str, text: str, points: str = "") -> Path:
        path = write(f"site/{module}.py", text)
        name = f"site/{module}-1.0.dist-info"
        write(f"{name}/METADATA", f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        write(f"{name}/entry_points.txt", points)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        return path

    return install  # type: ignore[return-value]
