"""Main-content extraction and its peers: quality by language and page type, and speed, in one run.

    python bench/extraction.py CORPUS --pages PAGES --folds DIR

CORPUS is a folder of `*.warc.gz` files with `gold-extraction.jsonl.zst`, whose rows hold `sha1`
(of a page's payload), `lang`, `gold_kind` and `text`, the main text that a person chose (`full`) or
the Markdown that the page was made from (`markdown-source`). Markdown gold leaves fenced code
out, so code blocks are taken out of those pages before any extractor sees them. PAGES are those of
WCXB (Foley 2026), gold by page type.

Quality is the F1 of words, each page weighing the same: in CORPUS a Chinese character is a word,
and PAGES are scored as their authors do. The row `cross-validated` is by trees that learned nothing
from a page's host (`extraction_fit.py`); `tongwen` is what the package ships, which has seen most
pages. Code and cells: lines of `<pre>` and cells of tables that are in the gold text, and the share
of them that an extractor finds. Seconds are CPU time of one process. The peers are installed,
pinned, in an environment of their own below `--environment`.
"""

import argparse
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from extraction_fit import fold_of, trees_of_folds
from gold import GoldPage, gold_pages, typed_pages, typed_scores, word_scores
from peers import interpreter, result_of
from selectolax.lexbor import LexborHTMLParser

from tongwen.curate.html.main_content import extract
from tongwen.curate.html.training import host_of

PEERS = (
    "trafilatura==2.3.1", "lxml_html_clean==0.4.6", "resiliparse==2.0.1", "chardet==7.7.0",
    "cssselect==1.6.0", "numpy==2.2.6", "py_asciimath==0.3.0", "urllib3==2.8.0",
)  # fmt: skip
# One asks for an extra of lxml that current installers cannot resolve, the other for Python 3.12,
# though it runs on 3.11.
_PEERS_ALONE = ("readability-lxml==0.9", "magic-html==0.1.8")
_SPACE = re.compile(r"[\s\\|`*_]+")
_LEAST_CHARACTERS = 4
Texts = list[str]


def run_ours(pages: Sequence[GoldPage]) -> dict[str, object]:
    """Texts and CPU seconds of our extractor."""
    extract(pages[0].html)
    started = time.process_time()
    texts = [extract(page.html).text for page in pages]
    return {"seconds": time.process_time() - started, "texts": texts}


def pieces(page: GoldPage, selector: str) -> set[str]:
    """Lines of code or cells of tables that are in the gold text, without white space."""
    gold = _bare(page.text)
    found = set()
    for node in LexborHTMLParser(page.html).css(selector):
        for line in node.text().split("\n" if selector == "pre" else "\0"):
            bare = _bare(line)
            if len(bare) >= _LEAST_CHARACTERS and bare in gold:
                found.add(bare)
    return found


def _bare(text: str) -> str:
    return _SPACE.sub("", text)


def shares_found(rows: Sequence[GoldPage], wanted: list[set[str]], texts: Texts) -> str:
    """Share of all pieces of all pages that the texts hold."""
    found = total = 0
    for page_pieces, text in zip(wanted, texts, strict=True):
        bare = _bare(text) if page_pieces else ""
        total += len(page_pieces)
        found += sum(piece in bare for piece in page_pieces)
    return f"{found / max(1, total):.3f} of {total:,}"


def snippets_found(rows: Sequence[GoldPage], texts: Texts, *, wanted: bool) -> str:
    found = total = 0
    for row, text in zip(rows, texts, strict=True):
        snippets = row.wanted if wanted else row.unwanted
        total += len(snippets)
        found += sum(snippet in text for snippet in snippets)
    return f"{found / max(1, total):.3f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--pages", type=Path, required=True)
    parser.add_argument("--folds", type=Path, default=Path("build/bench/extraction-folds"))
    parser.add_argument("--environment", type=Path, default=Path("build/bench/extraction"))
    parser.add_argument("--peers", type=Path, help="results of peers: read if there, else written")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument(
        "--every", type=int, default=1, help="only each so many-th page, of each set"
    )
    options = parser.parse_args()
    trees = trees_of_folds(options.corpus, options.pages, options.folds)
    step = options.every
    rows = [*typed_pages(options.pages)[::step], *gold_pages(options.corpus)[::step]]
    results = {"tongwen": run_ours(rows)}
    seconds = {"tongwen": float(str(results["tongwen"]["seconds"]))}
    texts: dict[str, Texts] = {"tongwen": list(results["tongwen"]["texts"])}  # type: ignore[call-overload]
    texts["tongwen, cross-validated"] = [
        extract(row.html, trees[fold_of(host_of(row.url))]).text for row in rows
    ]
    seconds["tongwen, cross-validated"] = seconds["tongwen"]
    if not options.ours_only:
        if options.peers and options.peers.exists():
            peers = json.loads(options.peers.read_text("utf-8"))
        else:
            python = interpreter(options.environment, PEERS, without_dependencies=_PEERS_ALONE)
            peers = result_of(python, "extraction_peers.py", [row.html for row in rows])
            if options.peers:
                options.peers.write_text(json.dumps(peers), encoding="utf-8")
        for name, result in peers.items():
            texts[name], seconds[name] = result["texts"], result["seconds"]
    report(rows, texts, seconds)


def report(rows: list[GoldPage], texts: dict[str, Texts], seconds: dict[str, float]) -> None:
    """Print the three tables."""
    typed = [n for n, row in enumerate(rows) if row.is_typed]
    others = [n for n, row in enumerate(rows) if not row.is_typed]
    counts = Counter(rows[n].kind for n in typed)
    kinds = [kind for kind, _ in counts.most_common()]
    print(f"\n{len(typed)} pages of WCXB: F1 by page type\n")
    head = ["extractor", "all", *(f"{kind} ({counts[kind]})" for kind in kinds), "with", "without"]
    lines = []
    for name, found in texts.items():
        scores = defaultdict(list)
        for n in typed:
            f1 = typed_scores(found[n], rows[n].text)[2]
            scores["all"].append(f1)
            scores[rows[n].kind].append(f1)
        cells = [f"{sum(scores[kind]) / len(scores[kind]):.3f}" for kind in ("all", *kinds)]
        of_typed = [rows[n] for n in typed], [found[n] for n in typed]
        snippets = [snippets_found(*of_typed, wanted=wanted) for wanted in (True, False)]
        lines.append([name, *cells, *snippets])
    table(head, lines)
    languages = sorted({rows[n].language for n in others})
    counts = Counter(rows[n].language for n in others)
    print(f"\n{len(others)} pages of the corpus: precision, recall, F1 by language\n")
    head = ["extractor"]
    for language in languages:
        head += [f"{language} ({counts[language]}) precision", "recall", "F1"]
    lines = []
    for name, found in texts.items():
        cells = [name]
        for language in languages:
            chosen = [n for n in others if rows[n].language == language]
            scored = [word_scores(found[n], rows[n].text) for n in chosen]
            cells += [f"{sum(part) / len(chosen):.4f}" for part in zip(*scored, strict=True)]
        lines.append(cells)
    table(head, lines)
    print(f"\n{len(rows)} pages: speed, lines of code and cells of tables\n")
    code, cell = ([pieces(row, selector) for row in rows] for selector in ("pre", "td, th"))
    ours = seconds["tongwen"]
    lines = [
        [
            name, f"{1000 * seconds[name] / len(rows):.1f}", f"{seconds[name] / ours:.1f}",
            shares_found(rows, code, found), shares_found(rows, cell, found),
        ]
        for name, found in texts.items()
    ]  # fmt: skip
    table(["extractor", "CPU ms a page", "times ours", "lines of code", "cells"], lines)


if __name__ == "__main__":
    main()
