"""How well a tokenizer spells each language: the content of `report.json`."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from tongwen.tokenizer.text import Tokenizer

MEASURED_BYTES = 8 << 20
"""UTF-8 bytes that are measured of each language, at most."""
_NUMBER = re.compile(r"[0-9][0-9.,]*")
_SHOWN_PIECES = 20


def measure(tokenizer: Tokenizer, texts: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Bytes per token and fertility of each language in `texts` (language, text).

    Tokens per word counts words between spaces, tokens per character all characters but spaces;
    the first says something of English, the second of Chinese. `digits` are the numbers found in
    the texts. Unused pieces are learned pieces that none of the measured texts needs.
    """
    use_count = np.zeros(tokenizer.vocabulary_size, dtype=np.int64)
    totals: dict[str, dict[str, int]] = {}
    for language, text in texts:
        total = totals.setdefault(language, dict.fromkeys(_COUNTS, 0))
        if total["utf8_bytes"] >= MEASURED_BYTES:
            continue
        ids = tokenizer.encode(text)
        use_count += np.bincount(ids, minlength=len(use_count))
        _add(total, text, len(ids))
        numbers = _NUMBER.findall(text)
        if numbers:
            digits = totals.setdefault("digits", dict.fromkeys(_COUNTS, 0))
            for number in numbers:
                _add(digits, number, len(tokenizer.encode(number)))
    is_byte = np.array(
        [tokenizer.piece(number).startswith("<0x") for number in range(len(use_count))]
    )
    is_learned = np.array([len(data) > 0 for data in tokenizer.token_bytes]) & ~is_byte
    unused = np.flatnonzero(is_learned & (use_count == 0))
    tokens = int(use_count.sum())
    return {
        "languages": {name: _rates(total) for name, total in sorted(totals.items())},
        "byte_token_share": float(use_count[is_byte].sum() / tokens) if tokens else 0.0,
        "learned_pieces": int(is_learned.sum()),
        "unused_pieces": len(unused),
        "unused_examples": [tokenizer.piece(int(number)) for number in unused[:_SHOWN_PIECES]],
    }


_COUNTS = ("documents", "utf8_bytes", "characters", "words", "tokens")


def _add(total: dict[str, int], text: str, tokens: int) -> None:
    words = text.split()
    total["documents"] += 1
    total["utf8_bytes"] += len(text.encode("utf-8"))
    total["characters"] += sum(map(len, words))
    total["words"] += len(words)
    total["tokens"] += tokens


def _rates(total: dict[str, int]) -> dict[str, float]:
    return {
        **total,
        "bytes_per_token": round(total["utf8_bytes"] / max(total["tokens"], 1), 4),
        "tokens_per_word": round(total["tokens"] / max(total["words"], 1), 4),
        "tokens_per_character": round(total["tokens"] / max(total["characters"], 1), 4),
    }
