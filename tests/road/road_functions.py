"""Stage functions for the road tests."""

from collections.abc import Mapping

from tongwen.flow.stage import StageContext


def crawl(context: StageContext) -> Mapping[str, float]:
    (context.out / "words.txt").write_text("hello 你好\n", encoding="utf-8")
    (context.out / "log.txt").write_text("not an output", encoding="utf-8")
    return {"words": 2}


def curate(context: StageContext) -> Mapping[str, float]:
    text = (context.inputs["crawl"] / "words.txt").read_text(encoding="utf-8")
    keep = "zh-Hans" in context.settings.languages
    (context.out / "kept.txt").write_text(text if keep else text.split()[0], encoding="utf-8")
    languages = " ".join(context.settings.languages)
    (context.out / "languages.txt").write_text(languages, encoding="utf-8")
    return {"kept": 1}


def tokenizer(context: StageContext) -> Mapping[str, float]:
    kept = (context.inputs["documents"] / "kept.txt").read_text(encoding="utf-8")
    (context.out / "pieces.txt").write_text("\n".join(kept.split()), encoding="utf-8")
    return {"pieces": len(kept.split())}
