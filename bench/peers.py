"""The programs that we compare with: each in an environment of its own, run as a script of its own.

A peer's script (`*_peers.py`) imports nothing of ours. It reads JSON from its first argument and
writes JSON to its last.
"""

import json
import subprocess
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def interpreter(
    environment: Path, packages: Sequence[str], *, without_dependencies: Sequence[str] = ()
) -> Path:
    """The Python of a virtual environment that has `packages`, made on first use.

    `without_dependencies` are packages whose declared dependencies, or version of Python, cannot be
    had; what they need is among `packages`.
    """
    python = environment.absolute() / "bin" / "python"
    if not python.exists():
        venv.create(environment, with_pip=True)
    install = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, *packages], check=True)
    if without_dependencies:
        alone = ["--no-deps", "--ignore-requires-python", *without_dependencies]
        subprocess.run([*install, *alone], check=True)
    return python


def result_of(python: Path, script: str, given: object, *arguments: object) -> Any:
    """What the script writes for `given` and further arguments."""
    with tempfile.TemporaryDirectory() as folder:
        path, result = Path(folder) / "given.json", Path(folder) / "result.json"
        path.write_text(json.dumps(given), encoding="utf-8")
        command = [python, Path(__file__).with_name(script), path, *arguments, result]
        subprocess.run(list(map(str, command)), check=True)
        return json.loads(result.read_text(encoding="utf-8"))
