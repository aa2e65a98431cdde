"""Tables as text."""

from collections.abc import Iterable


def table_text(rows: Iterable[Iterable[str]]) -> str:
    """Rows as a Markdown table without its rule: cells between bars, line breaks as spaces."""
    lines = []
    for row in rows:
        cells = [" ".join(cell.split()) for cell in row]
        if any(cells):
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
