"""Runs in the peers' own environment: extract the pages of a JSON list with each of them.

    python extraction_peers.py PAGES.json RESULT.json

`bench/extraction.py` calls it. Imports nothing of ours.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import trafilatura
from magic_html import GeneralExtractor
from readability import Document
from readability.readability import Unparseable
from resiliparse.extract.html2text import extract_plain_text


def readable(html: str) -> str:
    """Text of what readability keeps; it takes no page without markup."""
    try:
        summary = Document(html).summary()
    except (Unparseable, ValueError):
        return ""
    return " ".join(extract_plain_text(summary).split())


def magic(html: str) -> str:
    """Text of what magic-html keeps; what makes it fail counts as an empty text."""
    try:
        kept = GeneralExtractor().extract(html, base_url="http://page.example/")["html"]
    except Exception as error:
        print(f"magic-html: {type(error).__name__}: {str(error)[:100]}", file=sys.stderr)
        return ""
    return extract_plain_text(kept)


EXTRACTORS: dict[str, Callable[[str], str | None]] = {
    "trafilatura, precision": lambda html: trafilatura.extract(
        html, include_comments=False, favor_precision=True
    ),
    "trafilatura": lambda html: trafilatura.extract(html, include_comments=False),
    "trafilatura, fast": lambda html: trafilatura.extract(html, include_comments=False, fast=True),
    "trafilatura, recall": lambda html: trafilatura.extract(
        html, include_comments=False, favor_recall=True
    ),
    "resiliparse, main content": lambda html: extract_plain_text(html, main_content=True),
    "readability-lxml": readable,
    "magic-html": magic,
}


def main() -> None:
    pages = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    results = {}
    for name, extract in EXTRACTORS.items():
        extract(pages[0])  # what is loaded once is not the extractor's speed
        started = time.process_time()
        texts = [extract(page) or "" for page in pages]
        results[name] = {"seconds": time.process_time() - started, "texts": texts}
    Path(sys.argv[2]).write_text(json.dumps(results), encoding="utf-8")


main()
