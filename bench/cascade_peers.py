"""datatrove's FineWeb configuration over a folder of WARC files; run by `cascade.py`.

    python cascade_peers.py WARC_FOLDER WORK_FOLDER LID_MODEL RESULT_JSON

Steps, order and thresholds are those of its `examples/fineweb.py`. FineWeb keeps English
only; here Chinese is kept too, judged by the same filters with datatrove's Chinese tokenizer and
without what cannot hold for Chinese: English stop words and three letters a word.
"""

import copyreg
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import trafilatura
from datatrove.executor import LocalPipelineExecutor
from datatrove.io import strip_protocol
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
    URLFilter,
)
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.lid import FT176LID
from datatrove.utils.typeshelper import Languages
from huggingface_hub import cached_assets_path
from tldextract import TLDExtract

LANGUAGES = {"en": Languages.english, "zh": Languages.mandarin_chinese}
CONFIG = MinhashConfig(
    hash_config=HashConfig(hash_fc="sha1", precision=64),
    num_buckets=14,
    hashes_per_bucket=8,
    n_grams=5,
)


class ByLanguage(BaseFilter):
    """The filter of the document's language."""

    name = "By language"

    def __init__(self, make: Callable[[str], BaseFilter]) -> None:
        super().__init__()
        self._filters = {short: make(language) for short, language in LANGUAGES.items()}

    def filter(self, doc: Any) -> Any:
        return self._filters[doc.metadata["language"]].filter(doc)


def gopher_quality(language: str) -> BaseFilter:
    """As FineWeb; for Chinese without stop words and with words of one or two characters."""
    if language == Languages.english:
        return GopherQualityFilter()
    return GopherQualityFilter(min_stop_words=None, min_avg_word_length=None, language=language)


def place_model(model: Path) -> None:
    """Put the language model where datatrove looks for what it has downloaded."""
    folder = cached_assets_path(
        library_name="datatrove", namespace="lid", subfolder=FT176LID.MODEL_SUBFOLDER
    )
    target = Path(folder) / strip_protocol(FT176LID.MODEL_URL).replace("/", "_")
    shutil.copyfile(model, target)
    target.with_name(target.name + ".completed").touch()


def processor_seconds() -> float:
    """Of this process and the children it has waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def run_step(pipeline: list[Any], logs: Path, tasks: int = 1) -> tuple[Any, float]:
    """Statistics of a pipeline's steps and its CPU seconds."""
    started = processor_seconds()
    executor = LocalPipelineExecutor(
        pipeline, tasks=tasks, workers=1, logging_dir=str(logs), skip_completed=False
    )
    statistics = executor.run()
    return statistics, processor_seconds() - started


def filtering(warcs: Path, work: Path) -> list[Any]:
    """From WARC files to filtered documents, a folder a language."""
    url_filter = URLFilter()
    url_filter.tldextractor = TLDExtract(suffix_list_urls=())  # the list that ships with it
    return [
        WarcReader(str(warcs), glob_pattern="*.warc.gz"),
        url_filter,
        Trafilatura(favour_precision=True, timeout=10),  # 1 s cuts pages on a busy machine
        LanguageFilter(list(LANGUAGES)),
        ByLanguage(lambda language: GopherRepetitionFilter(language=language)),
        ByLanguage(gopher_quality),
        ByLanguage(
            lambda language: C4QualityFilter(filter_no_terminal_punct=False, language=language)
        ),
        ByLanguage(lambda language: FineWebQualityFilter(language=language)),
        JsonlWriter(str(work / "filtered"), output_filename="${language}/${rank}.jsonl.gz"),
    ]


def deduplication(work: Path, short: str) -> list[tuple[str, list[Any], int]]:
    """(name, pipeline, tasks) of the four steps of MinHash for one language."""
    filtered, hashes = work / "filtered" / short, work / "minhash" / short
    reader = JsonlReader(str(filtered))
    return [
        ("signatures", [reader, MinhashDedupSignature(
            str(hashes / "signatures"), config=CONFIG, language=LANGUAGES[short])], 1),
        ("buckets", [MinhashDedupBuckets(
            str(hashes / "signatures"), str(hashes / "buckets"), config=CONFIG)],
         CONFIG.num_buckets),
        ("clusters", [MinhashDedupCluster(
            str(hashes / "buckets"), str(hashes / "remove"), config=CONFIG)], 1),
        ("filter", [reader, MinhashDedupFilter(str(hashes / "remove")), PIIFormatter(),
                    JsonlWriter(str(work / "final" / short))], 1),
    ]  # fmt: skip


def main() -> None:
    # Its executor copies every step, and its Chinese tokenizer holds the module jieba.
    copyreg.pickle(ModuleType, lambda module: (import_module, (module.__name__,)))
    warcs, work, model, result = map(Path, sys.argv[1:])
    place_model(model)
    trafilatura.extract("")  # else each new sandbox takes longer to import it than its limit
    started = time.monotonic()
    statistics, seconds = run_step(filtering(warcs, work), work / "logs" / "filtering")
    steps = {"filtering": seconds}
    flow = [[step.name, json.loads(step.to_json())["stats"]] for step in statistics.stats]
    for short in LANGUAGES:
        if not (work / "filtered" / short).is_dir():
            continue
        for name, pipeline, tasks in deduplication(work, short):
            _, seconds = run_step(pipeline, work / "logs" / f"{short}-{name}", tasks)
            steps[f"{name} {short}"] = seconds
    kept = {
        short: sum(1 for _ in JsonlReader(str(work / "final" / short)).run())
        for short in LANGUAGES
        if (work / "final" / short).is_dir()
    }
    answer = {
        "kept": kept,
        "steps": steps,
        "flow": flow,
        "processor_seconds": processor_seconds(),
        "seconds": time.monotonic() - started,
    }
    result.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
