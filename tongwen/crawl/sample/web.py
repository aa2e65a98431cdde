"""Writes the sample web: WARC files and the gold labels beside them."""

from collections.abc import Mapping
from pathlib import Path

from tongwen.crawl.sample.articles import write_articles
from tongwen.crawl.sample.labels import dialogue_rows, fact_rows, question_rows
from tongwen.crawl.sample.packaged import Language
from tongwen.crawl.sample.world import build_world
from tongwen.crawl.settings import SampleWebSettings
from tongwen.files import write_jsonl


def write_sample_web(settings: SampleWebSettings, out: Path) -> Mapping[str, int]:
    """Write `out/warc/*.warc.gz` and `out/gold/*.jsonl`; gives the counts."""
    world = build_world(pages=settings.pages, seed=settings.seed)
    gold = out / "gold"
    rows = []
    shares: tuple[tuple[Language, float], ...] = (("en", 0.36), ("zh", 0.38))
    for language, share in shares:
        articles = write_articles(world, language, int(settings.pages * share), seed=settings.seed)
        for number, article in enumerate(articles):
            rows.append(
                {
                    "url": f"http://{language}.example/{number}",
                    "label": "good",
                    "lang": "en" if language == "en" else "zh-Hans",
                    "text": article.text,
                    "fact_ids": list(article.fact_ids),
                }
            )
    return {
        "pages": write_jsonl(gold / "pages.jsonl", rows),
        "facts": write_jsonl(gold / "facts.jsonl", fact_rows(world)),
        "dialogues": write_jsonl(
            gold / "dialogues.jsonl", dialogue_rows(world, seed=settings.seed)
        ),
        "questions": write_jsonl(
            gold / "questions.jsonl", question_rows(world, seed=settings.seed)
        ),
    }
