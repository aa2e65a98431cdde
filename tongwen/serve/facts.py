"""What a served model says of itself: its shape, and the model card of its folder."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tongwen.model.config import ModelConfig

_CARD_BYTES = 1 << 20
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def model_facts(config: ModelConfig, folder: Path | None, *, has_chat: bool) -> Mapping[str, Any]:
    """Facts for the page, and the card's Markdown; None for what the folder does not say.

    Args:
        config: the model's shape.
        folder: of the model; None when there is none.
        has_chat: whether the model knows dialogues.
    """
    card = _card(folder)
    head = _FRONT_MATTER.match(card or "")
    fields = _fields(head[1]) if head else {}
    return {
        "parameters": config.parameters,
        "context_length": config.max_position_embeddings,
        "vocabulary_size": config.vocabulary_size,
        "has_chat": has_chat,
        "license": next(iter(fields.get("license", ())), None),
        "languages": fields.get("language"),
        "card": None if card is None else card[head.end() if head else 0 :].strip(),
    }


def _card(folder: Path | None) -> str | None:
    file = None if folder is None else folder / "README.md"
    if file is None or not file.is_file():
        return None
    with file.open("rb") as opened:
        return opened.read(_CARD_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")


def _fields(text: str) -> dict[str, list[str]]:
    """The top-level strings and lists of strings of a card's YAML, which is all that is shown."""
    fields: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith(("- ", "  - ")) and name:
            fields[name].append(line.strip()[2:].strip("\"' "))
        elif found := re.match(r"([\w-]+):\s*(.*)", line):
            name = found[1]
            fields[name] = [found[2].strip("\"' ")] if found[2].strip() else []
    return fields
