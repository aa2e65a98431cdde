"""Runs in the peers' own environment: sign the texts of a JSON file and propose pairs.

    python minhash_peers.py TEXTS.json RESULT.json

`bench/minhash.py` calls it. Imports nothing of ours.
"""

import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from datatrove.utils.hashing import HashConfig
from rensa import RMinHash, RMinHashLSH

LANGUAGES = {"en": "eng", "zh": "cmn_Hani"}
BUCKETS = 14


def rensa_shingles(text: str, language: str, size: int) -> list[str]:
    if language == "en":
        words = text.split()
        return [" ".join(words[at : at + size]) for at in range(max(1, len(words) - size + 1))]
    return [text[at : at + size] for at in range(max(1, len(text) - size + 1))]


def rensa_sign(texts: list[str], language: str, given: dict[str, Any]) -> list[RMinHash]:
    size = given["shingle"][language]
    sets = (rensa_shingles(text, language, size) for text in texts)
    return [RMinHash.from_token_sets([part], given["hashes"], 1)[0] for part in sets]


def rensa_pairs(texts: list[str], language: str, given: dict[str, Any]) -> set[tuple[int, int]]:
    signed = rensa_sign(texts, language, given)
    index = RMinHashLSH(given["threshold"], given["hashes"], 28)
    for key, sketch in enumerate(signed):
        index.insert(key, sketch)
    return {
        (min(key, other), max(key, other))
        for key, sketch in enumerate(signed)
        for other in index.query(sketch)
        if other != key and sketch.jaccard(signed[other]) >= given["threshold"]
    }


def datatrove_step(language: str, given: dict[str, Any]) -> MinhashDedupSignature:
    config = MinhashConfig(
        n_grams=given["shingle"][language],
        num_buckets=BUCKETS,
        hashes_per_bucket=given["hashes"] // BUCKETS,
        hash_config=HashConfig(precision=64),
    )
    return MinhashDedupSignature("memory://signatures", config, LANGUAGES[language])


def datatrove_sign(
    texts: list[str], language: str, given: dict[str, Any]
) -> list[list[list[int]] | None]:
    step = datatrove_step(language, given)
    signatures = []
    for text in texts:
        shingles = step.get_shingles(text)
        signatures.append(step.get_signature(shingles) if shingles.size else None)
    return signatures


def datatrove_pairs(texts: list[str], language: str, given: dict[str, Any]) -> set[tuple[int, int]]:
    buckets = defaultdict(list)
    for key, signature in enumerate(datatrove_sign(texts, language, given)):
        for number, part in enumerate(signature or []):
            buckets[number, tuple(part)].append(key)
    return {pair for members in buckets.values() for pair in combinations(members, 2)}


def rate(sign: Callable[..., Any], texts: list[str], language: str, given: dict[str, Any]) -> float:
    sign(texts[:2], language, given)  # what is loaded once is not the speed
    seconds = []
    for _ in range(given["passes"]):
        started = time.process_time()
        sign(texts, language, given)
        seconds.append(time.process_time() - started)
    return sum(map(len, texts)) / statistics.median(seconds)


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    results: dict[str, Any] = {}
    for name, sign, find in (
        ("rensa", rensa_sign, rensa_pairs),
        ("datatrove", datatrove_sign, datatrove_pairs),
    ):
        few = 1 if name == "rensa" else 8  # the slow one signs every eighth text
        results[name] = {
            "rates": {
                language: rate(sign, texts[::few], language, given)
                for language, texts in given["speed"].items()
            },
            "pairs": {
                language: sorted(find(texts, language, given))
                for language, texts in given["quality"].items()
            },
        }
    Path(sys.argv[2]).write_text(json.dumps(results), encoding="utf-8")


main()
