"""Where results of benches go: `docs/benchmarks.md`, and what machine they are from."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def append_rows(head: str, rows: Sequence[str], page: Path = PAGE) -> None:
    """Add rows to the table of a section, below its last row.

    Args:
        head: the section with its title, its words and the first two lines of its table; written
            where the page has no section of that title yet.
        rows: lines of the table.
        page: the Markdown file.
    """
    text = page.read_text(encoding="utf-8")
    title = head.strip().splitlines()[0]
    if title not in text:
        text = text.rstrip("\n") + "\n" + head
    before, _, after = text.partition(title)
    section, mark, rest = after.partition("\n## ")
    lines = section.split("\n")
    last = max(number for number, line in enumerate(lines) if line.startswith("|"))
    lines[last + 1 : last + 1] = rows
    page.write_text(before + title + "\n".join(lines) + mark + rest, encoding="utf-8")


def put_below(title: str, text: str, page: Path = PAGE) -> None:
    """Put text right below a section's title, above what was recorded before."""
    whole = page.read_text(encoding="utf-8")
    if title not in whole:
        whole = whole.rstrip("\n") + f"\n\n{title}\n"
    newest = f"{title}\n{text}\n\n"
    page.write_text(whole.replace(f"{title}\n", newest, 1).rstrip("\n") + "\n", encoding="utf-8")


def append_section(title: str, text: str, page: Path = PAGE) -> None:
    """Put a section at the page's end."""
    with page.open("a", encoding="utf-8") as file:
        file.write(f"\n{title}\n{text}\n")


def machine() -> str:
    """The GPU, or cores and CPU, and versions."""
    import torch

    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {versions}"
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    kind = ", ".join(f"{name} {fields[name]}" for name in ("cpu family", "model") if name in fields)
    return (
        f"{os.cpu_count()} cores of {fields.get('model name', platform.machine())} ({kind}), "
        f"{torch.backends.cpu.get_cpu_capability()}, {versions}"
    )
