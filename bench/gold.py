"""Pages with the main text that a person chose, and how alike two texts are.

    python bench/gold.py CORPUS --pages PAGES --out gold.jsonl

writes the pages that trees may learn from (`tongwen curate train-extractor gold.jsonl`): those of a
source that states a licence. CORPUS is a folder of `*.warc.gz` with `gold-extraction.jsonl.zst` and
`index.jsonl.zst`; PAGES are those of the Web Content eXtraction Benchmark (WCXB, Foley 2026). The
benches `extraction*.py` read the same.
"""

import argparse
import hashlib
import io
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import zstandard
from gold_layouts import layout_page

from tongwen.curate.html.training import GoldPage as Gold
from tongwen.formats.charset.decode import decode
from tongwen.formats.readers import read_records
from tongwen.sample.settings import SampleWebSettings
from tongwen.sample.web import write_sample_web

_SCORED = ("full", "markdown-source")
_LEARNED = (*_SCORED, "test-suite", "segments")
_CODE = re.compile(r"<figure[^>]*highlight.*?</figure>|<pre\b.*?</pre>", re.I | re.S)
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")
_ANY_WORD = re.compile(r"\w+")


class GoldPage(NamedTuple):
    """A page and the main text that a person chose.

    Attributes:
        language: en, zh or other.
        html, text, url: of the page; `text` is empty where only snippets are known.
        kind: of the gold, or the page's type where the set has types.
        wanted, unwanted: snippets that the text must and must not hold.
        may_teach: its source states a licence.
        is_typed: of the set with page types.
    """

    language: str
    html: str
    text: str
    url: str
    kind: str = "full"
    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()
    may_teach: bool = True
    is_typed: bool = False

    @property
    def is_scored(self) -> bool:
        """Whether a person chose the whole text, without the help of an extractor."""
        return self.is_typed or self.kind in _SCORED


def _json_lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file)
        for line in io.TextIOWrapper(reader, encoding="utf-8"):
            yield json.loads(line)


def gold_pages(corpus: Path, *, with_others: bool = False) -> list[GoldPage]:
    """Every gold page, in the order of the WARC files.

    `with_others` adds pages of which only snippets, or an extractor's own tests, are known.
    """
    gold: dict[str, Any] = {}
    for row in _json_lines(corpus / "gold-extraction.jsonl.zst"):
        if row["gold_kind"] in (_LEARNED if with_others else _SCORED):
            gold.setdefault(row["sha1"], row)
    licences = {row["sha1"]: row["license"] for row in _json_lines(corpus / "index.jsonl.zst")}
    pages = []
    for path in sorted(corpus.glob("*.warc.gz")):
        for record in read_records(path, "warc"):
            digest = hashlib.sha1(record.body).hexdigest()
            row = gold.pop(digest, None)
            if row is None:
                continue
            html = decode(record.body, record.charset).text
            if row["gold_kind"] == "markdown-source":
                html = _CODE.sub("", html)
            language = row["lang"] if row["lang"] in ("en", "zh") else "other"
            page = GoldPage(
                language, html, row.get("text") or "", record.url, row["gold_kind"],
                tuple(row.get("with") or ()), tuple(row.get("without") or ()),
                "none stated" not in licences[digest],
            )  # fmt: skip
            pages.append(page)
    return pages


def typed_pages(path: Path) -> list[GoldPage]:
    """Every page of WCXB, its type as kind."""
    return [
        GoldPage(
            "en", row["html"], row["main_content"], row["url"] or "", row["page_type"],
            tuple(row["with"]), tuple(row["without"]), is_typed=True,
        )
        for row in _json_lines(path)
    ]  # fmt: skip


def invented_pages(pages: int = 240, seed: int = 7) -> list[GoldPage]:
    """Good pages of a sample web other than the one that tests read, for frames in Chinese."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sample_web(SampleWebSettings(pages=pages, seed=seed), folder)
        gold = {}
        for line in (folder / "gold" / "pages.jsonl").open(encoding="utf-8"):
            row = json.loads(line)
            if row["label"] == "good":
                gold[row["url"]] = row
        found = []
        for path in sorted((folder / "warc").glob("*.warc.gz")):
            for record in read_records(path, "warc"):
                row = gold.pop(record.url, None)
                if row is not None and record.problem is None:
                    html = decode(record.body, record.charset).text
                    found.append(GoldPage(row["lang"], html, row["text"], record.url, "invented"))
        return found


def invented_layouts(pages: Sequence[GoldPage], count: int = 300, seed: int = 11) -> list[GoldPage]:
    """Layouts of `gold_layouts` filled with the prose of `pages`."""
    found = []
    for number in range(count):
        generator = Random(seed * 1_000_003 + number)
        page = pages[number % len(pages)]
        language = page.language[:2]
        prose = page.text.split("\n\n")
        other = generator.choice(
            [own for own in pages if own.language[:2] == language and own != page]
        )
        linked = other.text.split("\n\n")
        html, text = layout_page(generator, language, prose[0][:40], prose, linked)
        url = f"https://layout-{number}.example/"
        found.append(GoldPage(language, html, text, url, "layout"))
    return found


def as_training(page: GoldPage) -> Gold:
    """The page as the trainer takes it."""
    return Gold(page.html, page.text, page.url, page.wanted, page.unwanted)


def teaching_pages(corpus: Path, typed: Path) -> list[GoldPage]:
    """All pages that trees may learn from."""
    invented = invented_pages()
    pages = [
        *typed_pages(typed), *gold_pages(corpus, with_others=True), *invented,
        *invented_layouts(invented),
    ]  # fmt: skip
    return [page for page in pages if page.may_teach]


def word_scores(found: str, expected: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of the words of two texts, order left aside."""
    return _scores(_WORD.findall(found.lower()), _WORD.findall(expected.lower()))


def typed_scores(found: str, expected: str) -> tuple[float, float, float]:
    """As WCXB counts it: words are `\\w+`, and an empty gold scores 1 for an empty text."""
    words, gold = _ANY_WORD.findall(found.lower()), _ANY_WORD.findall(expected.lower())
    if not gold:
        return (1.0, 1.0, 1.0) if not words else (0.0, 0.0, 0.0)
    return _scores(words, gold)


def _scores(found: list[str], expected: list[str]) -> tuple[float, float, float]:
    words, gold = Counter(found), Counter(expected)
    shared = (words & gold).total()
    if not shared:
        return 0.0, 0.0, 0.0
    precision, recall = shared / words.total(), shared / gold.total()
    return precision, recall, 2 * precision * recall / (precision + recall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--pages", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    pages = teaching_pages(options.corpus, options.pages)
    with options.out.open("w", encoding="utf-8") as file:
        for page in pages:
            row = {
                "html": page.html, "text": page.text, "url": page.url,
                "with": page.wanted, "without": page.unwanted,
            }  # fmt: skip
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(Counter(page.kind for page in pages))


if __name__ == "__main__":
    main()
