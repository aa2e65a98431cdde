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
import time
from collections import Counter
from pathlib import Path

from extraction_fit import fit
from gold import gold_pages, word_scores
from peers import interpreter, result_of

from tongwen.curate.html.main_content import extract

PEERS = ("trafilatura==2.3.1", "lxml_html_clean==0.4.6", "resiliparse==2.0.1")
# Asks for an extra of lxml that current installers cannot resolve.
_PEERS_ALONE = ("readability-lxml==0.9", "chardet==7.7.0", "cssselect==1.6.0")


def run_ours(pages: list[str]) -> dict[str, object]:
    """Texts and processor seconds of our extractor."""
    extract(pages[0])
    started = time.process_time()
    texts = [extract(page).text for page in pages]
    return {"seconds": time.process_time() - started, "texts": texts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--environment", type=Path, default=Path("build/bench/extraction"))
    options = parser.parse_args()
    rows = gold_pages(options.corpus)
    pages = [row.html for row in rows]
    python = interpreter(options.environment, PEERS, without_dependencies=_PEERS_ALONE)
    ours = run_ours(pages)
    results = {
        "tongwen": ours,
        "tongwen, cross-validated": {"seconds": ours["seconds"], "texts": fit(rows).texts},
        **result_of(python, "extraction_peers.py", pages),
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
