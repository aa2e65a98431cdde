"""What changed between two sets of parameters, in a few words."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_LONGEST = 40
"""Characters of a value that are shown."""
_SHORT_LIST = 3
"""Entries of a list of numbers or words that is shown whole, such as `adam_betas`."""
_NAMES = ("name", "path", "url", "task")
"""What an entry of a list is known by, so that it can be said to have changed."""


def parameter_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One line for each key whose value differs, in the order of the keys.

    Lists are counted: `crawl.sources: 7 added, 1 changed`.
    """
    return [
        _change(key, before.get(key), after.get(key))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def _change(key: str, before: Any, after: Any) -> str:
    is_list = isinstance(before, list) or isinstance(after, list)
    if not is_list or (_is_short(before) and _is_short(after)):
        return f"{key} changed {_shown(before)} -> {_shown(after)}"
    return f"{key}: {_counted(before or [], after or [])}"


def _is_short(value: Any) -> bool:
    if not isinstance(value, list):
        return True
    return len(value) <= _SHORT_LIST and not any(isinstance(item, list | dict) for item in value)


def _shown(value: Any) -> str:
    """A value as Python writes it; of a long one beginning and end."""
    text = repr(value)
    if len(text) <= _LONGEST:
        return text
    half = (_LONGEST - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def _counted(before: Sequence[Any], after: Sequence[Any]) -> str:
    """How many entries came, went and changed."""
    old, new = Counter(map(_text, before)), Counter(map(_text, after))
    gone = [json.loads(text) for text in (old - new).elements()]
    come = [json.loads(text) for text in (new - old).elements()]
    if not gone and not come:
        return "in another order"
    known_gone, known_come = Counter(map(_name, gone)), Counter(map(_name, come))
    changed = sum((known_gone & known_come).values()) - min(known_gone[None], known_come[None])
    counts = {
        "added": len(come) - changed,
        "removed": len(gone) - changed,
        "changed": changed,
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _text(entry: Any) -> str:
    return json.dumps(entry, sort_keys=True)


def _name(entry: Any) -> tuple[str, str] | None:
    """What a table is known by, whatever else is in it."""
    if isinstance(entry, dict):
        for key in _NAMES:
            if entry.get(key):
                return key, str(entry[key])
    return None
