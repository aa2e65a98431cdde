"""Name files past 500 lines and functions past 60: they are asking whether they should be two.

A question, not a limit: a whole that is cut into halves reads worse than a long one. Prints what it
finds and ends with 0.
"""

import ast
from pathlib import Path

FILE_LINES = 500
FUNCTION_LINES = 60


def large_parts(path: Path) -> list[str]:
    """The file and the functions of it that are longer, as lines to print."""
    text = path.read_text(encoding="utf-8")
    found = []
    lines = text.count("\n")
    if lines > FILE_LINES:
        found.append(f"{path}: {lines} lines")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                found.append(f"{path}:{node.lineno}: {node.name} has {length} lines")
    return found


def main() -> None:
    root = Path(__file__).parent.parent
    paths = [
        path for folder in ("tongwen", "bench", "tools") for path in (root / folder).rglob("*.py")
    ]
    large = [line for path in sorted(paths) for line in large_parts(path)]
    print("\n".join([*large, f"{len(paths)} files; longer than usual: {len(large)}"]))


if __name__ == "__main__":
    main()
