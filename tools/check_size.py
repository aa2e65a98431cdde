"""Refuse files past 500 lines and functions past 60: they are asking to be two (docs: style)."""

import ast
import sys
from pathlib import Path

FILE_LINES = 500
FUNCTION_LINES = 60


def too_large(path: Path) -> list[str]:
    """What in the file at `path` is past a limit, as lines to print."""
    text = path.read_text(encoding="utf-8")
    found = []
    lines = text.count("\n")
    if lines > FILE_LINES:
        found.append(f"{path}: {lines} lines, at most {FILE_LINES}")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                place = f"{path}:{node.lineno}"
                found.append(f"{place}: {node.name} has {length} lines, at most {FUNCTION_LINES}")
    return found


def main() -> None:
    root = Path(__file__).parent.parent
    paths = [
        path for folder in ("tongwen", "bench", "tools") for path in (root / folder).rglob("*.py")
    ]
    problems = [line for path in sorted(paths) for line in too_large(path)]
    print("\n".join(problems) if problems else f"{len(paths)} files within limits")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
