"""Raw and curated text of one crawl, as token shards that differ in nothing else.

    python bench/cost_data.py CRAWL TEXTS --out DIR [--pages PAGES]

CRAWL is a folder of WARC files, PAGES a `*.jsonl.zst` of further pages (`url`, `html`). All text
comes out of `tongwen curate`, with the same languages and the same removal of duplicates and of
what is held out: `raw` is extracted and stops there, `curated` is the whole cascade with its
default settings, `whole` is raw without extraction, all text of each page as WET files have it.
With `--quality`, a folder of `tongwen curate train-scorer quality`, `best` is the two fifths of raw
that score highest, by amount of text within each language.
Held out are documents of TEXTS, none of which is from the crawl; passages of the crawl that repeat
them are cut out.

Below DIR: `tokenizer`, trained on as much raw English as raw Chinese, `shards/raw`,
`shards/curated`, `shards/whole`, and `data.json` with what is in them. What is there is not made
again.
"""

import argparse
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import zstandard
from growth import record
from ladder import COVERAGE, VOCABULARY, shortened, texts_of, write_part
from selectolax.lexbor import LexborHTMLParser

from tongwen.curate.settings import (
    ChineseRules,
    CodeRules,
    EnglishRules,
    TextRules,
)
from tongwen.files import file_digest, read_json, remove_tree, write_json, write_jsonl
from tongwen.formats.charset.decode import decode
from tongwen.formats.documents import document_batches, document_files
from tongwen.formats.readers import read_records
from tongwen.prove.groups import Question, Texts, groups_of
from tongwen.prove.proxies import EncodedTexts
from tongwen.tokenizer.export import write_tokenizer_folder
from tongwen.tokenizer.text import Tokenizer
from tongwen.tokenizer.train import train_model

LANGUAGES = {"en": ("en",), "zh": ("zh-Hans", "zh-Hant")}
"""Name of the validation set -> languages of documents that are trained on for it."""
HELD_OUT = {
    "en": ("en-docs-01.jsonl.zst", "en-misc.jsonl.zst"),
    "zh": ("zh-docs-01.jsonl.zst", "zh-articles.jsonl.zst"),
}
HELD_OUT_BYTES = 200_000
"""Of each file."""
_HELD_OUT_CHARACTERS = 3_000
"""Of a document, at most: many short ones say more than a few long ones."""
_WARC_PAGES = 500
_BLOCK = re.compile(
    r"<(?:p|div|li|tr|td|th|h[1-6]|br|ul|ol|table|section|article|header|footer|nav|pre|dt|dd|option)\b",
    re.I,
)


def unfiltered() -> list[str]:
    """Settings of `tongwen curate` that leave extraction, languages and duplicates."""
    rules = {
        "english": EnglishRules,
        "chinese": ChineseRules,
        "code": CodeRules,
        "texts": TextRules,
    }
    settings = [
        f"curate.{section}.{field.name}=false"
        for section, kind in rules.items()
        for field in fields(kind)
    ]
    repeats = [f"curate.repeats.{name}=false" for name in ("templates", "paragraphs", "spans")]
    others = ("address_words=false", "replace_personal_data=false", "line_reasons=[]")
    return [
        *settings,
        *repeats,
        "curate.minimum_language_confidence=0",
        *(f"curate.{setting}" for setting in others),
    ]


def write_held_out(folder: Path, out: Path) -> None:
    """`valid-en.jsonl` and `valid-zh.jsonl` below `out`: beginnings of documents, spread over their
    files.
    """
    for name, files in HELD_OUT.items():
        rows = []
        for file in files:
            found = [text[:_HELD_OUT_CHARACTERS] for text in texts_of(folder / file)]
            found = [text for text in found if len(text) >= 200]
            wanted = HELD_OUT_BYTES / (sum(len(text.encode()) for text in found) / len(found))
            rows += [{"text": text} for text in found[:: max(1, int(len(found) / wanted))]]
        write_jsonl(out / f"valid-{name}.jsonl", rows)


def write_pages(pages: Path, out: Path) -> None:
    """Pages of a JSON Lines file as WARC files."""
    with pages.open("rb") as file:
        reader = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(file)
        lines = list(io.TextIOWrapper(reader, "utf-8"))
    for first in range(0, len(lines), _WARC_PAGES):
        rows = map(json.loads, lines[first : first + _WARC_PAGES])
        members = b"".join(
            record(row["url"] or f"https://page.example/{row['id']}", row["html"]) for row in rows
        )
        (out / f"pages-{first:05}.warc.gz").write_bytes(members)


def write_whole_pages(crawl: Path, out: Path) -> None:
    """A crawl folder with all text of each page as it is shown, menus and footers too."""
    rows = []
    for path in sorted(crawl.glob("*.warc.gz")):
        for page in read_records(path, "warc"):
            if page.problem is None:
                html = _BLOCK.sub(r"\n\g<0>", decode(page.body, page.charset).text)
                tree = LexborHTMLParser(html)
                tree.strip_tags(["script", "style", "noscript", "template"])
                lines = tree.body.text().splitlines() if tree.body else []
                rows.append({"text": "\n".join(line.strip() for line in lines if line.strip())})
    write_jsonl(out / "pages.jsonl", rows)
    listed = {"path": "pages.jsonl", "format": "jsonl", "source": "crawl", "license": ""}
    listed |= {"digest": file_digest(out / "pages.jsonl"), "text_field": "text"}
    write_jsonl(out / "inputs.jsonl", [{**listed, "bytes": (out / "pages.jsonl").stat().st_size}])


def curate(crawl: Path, out: Path, held_out: Path, overrides: list[str]) -> None:
    """Run `tongwen curate`; what is done is not done again."""
    benchmarks = ", ".join(
        f'{{ name = "{name}", path = "{held_out / f"valid-{name}.jsonl"}", fields = ["text"] }}'
        for name in HELD_OUT
    )
    command = [sys.executable, "-m", "tongwen", "curate", "run", str(crawl), "--out", str(out)]
    for override in (*overrides, f"curate.contamination.benchmarks=[{benchmarks}]"):
        command += ["--set", override]
    subprocess.run(command, check=True)


def documents(
    curated: Path, languages: tuple[str, ...], chosen: frozenset[str] | None = None
) -> Iterator[str]:
    """Texts of some languages of a curate folder, all or those with the ids."""
    for path in document_files(curated):
        for batch in document_batches(path, ["doc_id", "lang", "text"]):
            for row in batch.to_pylist():
                if row["lang"] in languages and (chosen is None or row["doc_id"] in chosen):
                    yield row["text"]


def train_tokenizer(raw: Path, out: Path) -> None:
    """On as many bytes of either language."""
    found = {name: list(documents(raw, codes)) for name, codes in LANGUAGES.items()}
    size = min(sum(len(text.encode()) for text in texts) for texts in found.values())
    samples = [text for texts in found.values() for text in shortened(texts, size)]
    model = train_model(samples, vocabulary_size=VOCABULARY, character_coverage=COVERAGE)
    write_tokenizer_folder(model, out)


def best_documents(raw: Path, tokenizer: Tokenizer) -> frozenset[str]:
    """Ids of the two best fifths by the column `quality`."""
    texts = Texts(raw)
    tokens = EncodedTexts(texts.texts(), tokenizer).tokens()
    groups = groups_of(Question("score", "quality", buckets=5), texts, tokens, frozenset())
    return frozenset(name for group in groups[3:] for ids in group.ids.values() for name in ids)


def write_shards(
    curated: Path,
    held_out: Path,
    tokenizer: Tokenizer,
    out: Path,
    chosen: frozenset[str] | None = None,
) -> dict[str, Any]:
    """Training and validation shards of one text; documents, bytes and tokens of each."""
    counts = {}
    for number, (name, codes) in enumerate(LANGUAGES.items()):
        lines = (held_out / f"valid-{name}.jsonl").read_text("utf-8").splitlines()
        parts = {
            f"train-{number:05}": list(documents(curated, codes, chosen)),
            f"valid-{name}-00000": [json.loads(line)["text"] for line in lines],
        }
        language = codes[0]
        for part, texts in parts.items():
            tokens = write_part(out / f"{part}.shard", texts, language, tokenizer)
            counts[part] = {
                "documents": len(texts),
                "bytes": sum(len(text.encode()) for text in texts),
                "tokens": tokens,
            }
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crawl", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pages", type=Path, help="Further pages, as JSON Lines.")
    parser.add_argument("--quality", type=Path, help="Folder of a quality scorer.")
    parser.add_argument("--set", dest="overrides", action="append", default=[],
                        help="Of all curations.")  # fmt: skip
    options = parser.parse_args()
    out, crawl = options.out, options.out / "crawl"
    if not crawl.exists():
        partial = out / "crawl.partial"
        remove_tree(partial)
        partial.mkdir(parents=True)
        write_held_out(options.texts, out)
        for path in sorted(options.crawl.glob("*.warc.gz")):
            (partial / path.name).symlink_to(path.resolve())
        if options.pages:
            write_pages(options.pages, partial)
        partial.rename(crawl)
    if not (out / "crawl-whole" / "inputs.jsonl").exists():
        (out / "crawl-whole").mkdir(exist_ok=True)
        write_whole_pages(crawl, out / "crawl-whole")
    scorers = [f'curate.scorers=["{options.quality.resolve()}"]'] if options.quality else []
    for name, folder, overrides in (
        ("raw", crawl, unfiltered()),
        ("curated", crawl, []),
        ("whole", out / "crawl-whole", unfiltered()),
    ):
        curate(folder, out / name, out, [*overrides, *scorers, *options.overrides])
    if not (out / "tokenizer").exists():
        train_tokenizer(out / "raw", out / "tokenizer")
    tokenizer = Tokenizer.load(out / "tokenizer")
    counts = {
        name: write_shards(out / name, out, tokenizer, out / "shards" / name)
        for name in ("raw", "curated", "whole")
    }
    if options.quality:
        best = best_documents(out / "raw", tokenizer)
        counts["best"] = write_shards(out / "raw", out, tokenizer, out / "shards" / "best", best)
    write_json(out / "data.json", counts)
    print(json.dumps(read_json(out / "data.json"), indent=1))


if __name__ == "__main__":
    main()
