"""Small texts in two languages out of a few word lists: with a topic, and with an order."""

import json
from pathlib import Path

import numpy as np


def _words(text: str) -> list[str]:
    return text.split()


WORDS = {
    "en": {
        "sea": _words("harbour ship sailor wave anchor tide captain island fish storm"),
        "law": _words("court judge statute clause appeal verdict contract lawyer trial penalty"),
        "": _words("the a of and with in on was is had then very old new small"),
    },
    "zh": {
        "sea": _words("海港 轮船 水手 波浪 船锚 潮水 船长 岛屿 渔网 风暴"),
        "law": _words("法院 法官 条例 条款 上诉 判决 合同 律师 审理 处罚"),
        "": _words("的 了 在 和 是 有 很 不 这 那 于 又 都"),
    },
}


def made_text(language: str, topic: str, number: int, sentences: int = 10) -> str:
    """A text in which each sentence shares words with the next, the first one opens."""
    generator = np.random.Generator(np.random.PCG64([number, len(topic), len(language)]))
    own, common = WORDS[language][topic], WORDS[language][""]
    gap, stop = (" ", ". ") if language == "en" else ("", "。")
    lines = []
    for place in range(sentences):
        # The subject moves on slowly: neighbours talk of the same things.
        words = [own[(place // 2 + step) % len(own)] for step in range(2)]
        words += generator.choice(common, 5).tolist()
        generator.shuffle(words)
        opening = ("Once" if language == "en" else "从前") if place == 0 else (
            "Then" if language == "en" else "然后"
        )  # fmt: skip
        lines.append(gap.join([opening, *words]) + stop)
    return "".join(lines).strip()


def write_texts(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
