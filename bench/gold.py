"""Pages with the main text that a person chose, and how alike two texts are.

`bench/extraction.py` and `bench/extraction_fit.py` read them.
"""

import hashlib
import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import zstandard

from tongwen.formats.charset.decode import decode
from tongwen.formats.readers import read_records

_KINDS = ("full", "markdown-source")
_CODE = re.compile(r"<figure[^>]*highlight.*?</figure>|<pre\b.*?</pre>", re.I | re.S)
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")


class GoldPage(NamedTuple):
    """A page and the main text that a person chose."""

    language: str
    html: str
    text: str
    url: str


def gold_pages(corpus: Path) -> list[GoldPage]:
    """Every gold page, in the order of the WARC files."""
    gold = {}
    with (corpus / "gold-extraction.jsonl.zst").open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        for line in io.TextIOWrapper(reader, encoding="utf-8"):
            row = json.loads(line)
            if row["gold_kind"] in _KINDS:
                gold[row["sha1"]] = row
    pages = []
    for path in sorted(corpus.glob("*.warc.gz")):
        for record in read_records(path, "warc"):
            row = gold.pop(hashlib.sha1(record.body).hexdigest(), None)
            if row is None:
                continue
            html = decode(record.body, record.charset).text
            if row["gold_kind"] == "markdown-source":
                html = _CODE.sub("", html)
            language = row["lang"] if row["lang"] in ("en", "zh") else "other"
            pages.append(GoldPage(language, html, row["text"], record.url))
    return pages


def word_scores(found: str, expected: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of the words of two texts, order left aside."""
    words, gold = (Counter(_WORD.findall(text.lower())) for text in (found, expected))
    shared = (words & gold).total()
    if not shared:
        return 0.0, 0.0, 0.0
    precision, recall = shared / words.total(), shared / gold.total()
    return precision, recall, 2 * precision * recall / (precision + recall)
