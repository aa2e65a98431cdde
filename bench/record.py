"""Where results of benches go: a page in `docs/benchmarks`, and what machine they are from."""

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

PAGES = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
_PAGES = {
    "cascade": "curation", "growth": "growth", "encode": "encoding", "train": "training-cpu",
    "train_gpu": "training-gpu", "optimizers": "optimizers", "evaluate": "evaluation",
}  # fmt: skip


def page_of(title: str) -> Path:
    """The page of the bench whose command is in a section's title."""
    script = re.search(r"bench/(\w+)\.py", title)
    assert script is not None, title
    return PAGES / f"{_PAGES[script[1]]}.md"


def append_rows(head: str, rows: Sequence[str], page: Path | None = None) -> None:
    """Add rows to the table of a section, below its last row.

    Args:
        head: the section with its title, its words and the first two lines of its table; written
            where the page has no section of that title yet.
        rows: lines of the table.
        page: the Markdown file; that of the bench when absent.
    """
    title = head.strip().splitlines()[0]
    page = page or page_of(title)
    text = page.read_text(encoding="utf-8")
    if title not in text:
        text = text.rstrip("\n") + "\n" + head
    before, _, after = text.partition(title)
    section, mark, rest = after.partition("\n## ")
    lines = section.split("\n")
    last = max(number for number, line in enumerate(lines) if line.startswith("|"))
    lines[last + 1 : last + 1] = rows
    page.write_text(before + title + "\n".join(lines) + mark + rest, encoding="utf-8")


def put_below(title: str, text: str, page: Path | None = None) -> None:
    """Put text right below a section's title, above what was recorded before."""
    page = page or page_of(title)
    whole = page.read_text(encoding="utf-8")
    if title not in whole:
        whole = whole.rstrip("\n") + f"\n\n{title}\n"
    newest = f"{title}\n{text}\n\n"
    page.write_text(whole.replace(f"{title}\n", newest, 1).rstrip("\n") + "\n", encoding="utf-8")


def append_section(title: str, text: str, page: Path | None = None) -> None:
    """Put a section at the page's end."""
    with (page or page_of(title)).open("a", encoding="utf-8") as file:
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
