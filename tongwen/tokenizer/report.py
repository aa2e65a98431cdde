"""How well a tokenizer spells each language: the content of `report.json`, and a comparison."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tongwen.tokenizer.sides import Side, is_byte_piece

MEASURED_BYTES = 8 << 20
"""UTF-8 bytes that are measured of each language, at most."""
DIGITS = "digits"
_NUMBER = re.compile(r"[0-9][0-9.,]*")
_SHOWN_PIECES = 20
_SHOWN_CHARACTERS = 20


@dataclass
class Texts:
    """The texts that tokenizers are measured on, by language; `digits` are the numbers in them."""

    by_language: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def gather(cls, texts: Iterable[tuple[str, str]], *, measured_bytes: int) -> "Texts":
        """Keep (language, text) in order, until a language has `measured_bytes` or more.

        Memory: that much of every language.
        """
        found: dict[str, list[str]] = {}
        sizes: dict[str, int] = {}
        numbers: list[str] = []
        for language, text in texts:
            if sizes.get(language, 0) < measured_bytes:
                sizes[language] = sizes.get(language, 0) + len(text.encode("utf-8"))
                found.setdefault(language, []).append(text)
                numbers += _NUMBER.findall(text)
        found = dict(sorted(found.items()))
        if numbers:
            found[DIGITS] = numbers
        return cls(found)

    def counts(self) -> dict[str, dict[str, int]]:
        """What every language contains, whatever the tokenizer."""
        result = {}
        for language, texts in self.by_language.items():
            words = [word for text in texts for word in text.split()]
            result[language] = {
                "documents": len(texts),
                "utf8_bytes": sum(len(text.encode("utf-8")) for text in texts),
                "characters": sum(map(len, words)),
                "words": len(words),
            }
        return result


def measure(side: Side, texts: Texts) -> dict[str, Any]:
    """Bytes per token and fertility of each language, and which pieces are of no use.

    Tokens per word counts words between spaces, tokens per character all characters but spaces;
    the first is meaningful for English, the second for Chinese. Byte tokens represent a byte or a
    part of a character. Unused pieces are learned pieces that none of the measured texts needs.
    A text has failed when its ids do not decode to it, byte for byte.
    """
    use_count = np.zeros(side.size, dtype=np.int64)
    languages: dict[str, dict[str, float]] = {}
    failures: list[str] = []
    counts = texts.counts()
    uses: dict[str, Any] = {}
    for language, part in texts.by_language.items():
        encoded = side.encode_many(part)
        flat = np.array([number for ids in encoded for number in ids], dtype=np.int64)
        uses[language] = np.bincount(flat, minlength=side.size)
        if len(uses[language]) > len(use_count):  # ids with holes between them
            use_count.resize(len(uses[language]), refcheck=False)
        if language != DIGITS:
            use_count[: len(uses[language])] += uses[language]
            failures += [
                _difference(text, back)
                for text, ids in zip(part, encoded, strict=True)
                if (back := side.decode(ids)) != text
            ]
        languages[language] = _rates(counts[language], len(flat))
    is_byte = np.array([is_byte_piece(side.piece(number)) for number in range(len(use_count))])
    is_part = is_byte.copy()
    for number in np.flatnonzero(use_count).tolist():
        is_part[number] |= "\ufffd" in side.decode([number])
    for language, rates in languages.items():
        use = uses[language]
        rates["byte_token_share"] = _share(use[is_part[: len(use)]].sum(), use.sum())
    is_learned = ~is_byte
    is_learned[[number for number in side.special_ids.values() if number < len(is_learned)]] = False
    is_learned &= np.array([side.piece(number) != "" for number in range(len(use_count))])
    unused = np.flatnonzero(is_learned & (use_count == 0))
    return {
        "languages": languages,
        "byte_token_share": _share(use_count[is_part].sum(), use_count.sum()),
        "learned_pieces": int(is_learned.sum()),
        "unused_pieces": len(unused),
        "unused_examples": [side.piece(int(number)) for number in unused[:_SHOWN_PIECES]],
        "texts_failed": len(failures),
        "failure_examples": failures[:3],
    }


def compare(sides: Mapping[str, Side], texts: Texts) -> dict[str, Any]:
    """`measure` of several tokenizers on the same texts, and which spells them in fewest tokens.

    The best has the largest geometric mean of bytes per token over the languages, `digits` left
    out, among those that reproduce every text; None when none does.
    """
    results = {
        name: {"kind": side.name, "size": side.size, **measure(side, texts)}
        for name, side in sides.items()
    }
    for result in results.values():
        rates = [item["bytes_per_token"] for language, item in result["languages"].items()
                 if language != DIGITS]  # fmt: skip
        result["mean_bytes_per_token"] = round(_geometric_mean(rates), 4)
    exact = [name for name, result in results.items() if not result["texts_failed"]]
    best = max(exact, key=lambda name: results[name]["mean_bytes_per_token"], default=None)
    return {"texts": texts.counts(), "tokenizers": results, "best": best}


def _geometric_mean(values: Sequence[float]) -> float:
    if not values or min(values) <= 0:
        return 0.0
    return math.exp(sum(map(math.log, values)) / len(values))


def _share(part: Any, whole: Any) -> float:
    return round(float(part) / int(whole), 6) if whole else 0.0


def _difference(text: str, back: str) -> str:
    """Where a text and what came back of it part."""
    pairs = enumerate(zip(text, back, strict=False))
    place = next((n for n, (one, other) in pairs if one != other), min(len(text), len(back)))
    shown = slice(max(0, place - 2), place + _SHOWN_CHARACTERS)
    return f"{text[shown]!r} comes back as {back[shown]!r}"


def _rates(counts: Mapping[str, int], tokens: int) -> dict[str, float]:
    return {
        **counts,
        "tokens": tokens,
        "bytes_per_token": round(counts["utf8_bytes"] / max(tokens, 1), 4),
        "tokens_per_word": round(tokens / max(counts["words"], 1), 4),
        "tokens_per_character": round(tokens / max(counts["characters"], 1), 4),
    }
