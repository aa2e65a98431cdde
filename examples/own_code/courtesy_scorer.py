"""A scorer: values of documents in batches. A class is created once in each worker process, so it
can load a model there; this one loads two lists of words.
"""

import re
from collections.abc import Sequence

from tongwen.plugins import Document, scorer

_WORDS = {
    "en": ["please", "thank", "thanks", "kindly", "welcome", "dear", "regards"],
    "zh": ["请", "谢谢", "感谢", "欢迎", "您", "此致", "敬礼"],
}


@scorer(languages=["en", "zh-Hans"], batch_documents=32)
class Courtesy:
    """How courteous a text is, 0 to 1: courteous words in 20 words, a Chinese character being
    half a word.
    """

    def __init__(self) -> None:
        self._patterns = {
            "en": re.compile("|".join(rf"\b{word}\b" for word in _WORDS["en"]), re.IGNORECASE),
            "zh": re.compile("|".join(_WORDS["zh"])),
        }

    def score(self, documents: Sequence[Document]) -> list[float]:
        return [self._score(document) for document in documents]

    def _score(self, document: Document) -> float:
        is_chinese = document.lang == "zh-Hans"
        words = len(document.text) / 2 if is_chinese else len(document.text.split())
        found = self._patterns["zh" if is_chinese else "en"].findall(document.text)
        return min(1.0, 20 * len(found) / max(1.0, words))
