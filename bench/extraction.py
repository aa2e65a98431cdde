"""Main-content extraction beside trafilatura and resiliparse: quality and speed, in one run.

    python bench/extraction.py CORPUS

CORPUS is a folder of `*.warc.gz` files with `gold-extraction.jsonl.zst`, whose rows hold `sha1`
(of a page's payload), `lang`, `gold_kind` and `text`, the main text that a person chose (`full`) or
the Markdown that the page was made from (`markdown-source`). Markdown gold leaves fenced code
out, so code blocks are taken out of those pages before any extractor sees them.

Quality is the F1 of words, a Chinese character counting as a word, each page weighing the same.
The row `cross-validated` is that of `extraction_fit.py`: thresholds chosen on pages of other hosts.
Seconds are processor time of one process. The peers are installed, pinned, in an environment of
their own below `--environment`.
"""

import argparse
import hashlib
import io
import json
import re
import subprocess
import tempfile
import time
import venv
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import zstandard

from tongwen.curate.html.main_content import extract
from tongwen.formats.charset.decode import decode
from tongwen.formats.readers import read_records

PEERS = ("trafilatura==2.3.1", "lxml_html_clean==0.4.6", "resiliparse==2.0.1")
# Asks for an extra of lxml that current installers cannot resolve.
_PEERS_ALONE = ("readability-lxml==0.9", "chardet==7.7.0", "cssselect==1.6.0")
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


def run_ours(pages: list[str]) -> dict[str, object]:
    """Texts and processor seconds of our extractor."""
    extract(pages[0])
    started = time.process_time()
    texts = [extract(page).text for page in pages]
    return {"seconds": time.process_time() - started, "texts": texts}


def run_peers(pages: list[str], environment: Path) -> dict[str, dict[str, object]]:
    """The same for every peer, in its own environment."""
    python = environment / "bin" / "python"
    if not python.exists():
        venv.create(environment, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
    alone = [python, "-m", "pip", "install", "--quiet", "--no-deps", *_PEERS_ALONE]
    subprocess.run(alone, check=True)
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder) / "pages.jsonl", Path(folder) / "result.json"
        given.write_text("".join(json.dumps(page) + "\n" for page in pages), encoding="utf-8")
        script = Path(__file__).with_name("extraction_peers.py")
        subprocess.run([python, script, given, result], check=True)
        peers: dict[str, dict[str, object]] = json.loads(result.read_text(encoding="utf-8"))
        return peers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--environment", type=Path, default=Path("build/bench/extraction"))
    options = parser.parse_args()
    rows = gold_pages(options.corpus)
    pages = [row.html for row in rows]
    from extraction_fit import fit  # here, for it reads its pages with this module

    ours = run_ours(pages)
    results = {
        "tongwen": ours,
        "tongwen, cross-validated": {"seconds": ours["seconds"], "texts": fit(rows).texts},
        **run_peers(pages, options.environment.absolute()),
    }
    counts = Counter(row.language for row in rows)
    languages = sorted(counts)
    print(f"{len(pages)} pages: " + ", ".join(f"{counts[name]} {name}" for name in languages))
    heads = [f"{name} {part}" for name in languages for part in ("precision", "recall", "F1")]
    print("| extractor | pages/s | ours is faster | " + " | ".join(heads) + " |")
    print("|" + " --- |" * (3 + len(heads)))
    ours_seconds = float(str(results["tongwen"]["seconds"]))
    for name, result in results.items():
        seconds, texts = float(str(result["seconds"])), result["texts"]
        assert isinstance(texts, list)
        cells = [f"{len(pages) / seconds:.0f}", f"{seconds / ours_seconds:.1f}×"]
        for language in languages:
            scores = [
                word_scores(text, row.text)
                for row, text in zip(rows, texts, strict=True)
                if row.language == language
            ]
            cells += [f"{sum(part) / len(scores):.4f}" for part in zip(*scores, strict=True)]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
