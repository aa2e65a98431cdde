"""What an answer that says nothing scores on a task: the floor under its free answers."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from tongwen.evaluate.free import judge
from tongwen.evaluate.items import Item, plain_prompt
from tongwen.evaluate.spec import TaskSpec

_MOST_ITEMS = 200
"""Judged for each silent answer, evenly spread: a floor needs no more."""

SILENT: Mapping[str, Callable[[TaskSpec, Item], str]] = MappingProxyType(
    {
        "empty": lambda spec, item: "",
        "full stop": lambda spec, item: ".",
        "the": lambda spec, item: "the",
        "的": lambda spec, item: "的",
        "question": lambda spec, item: item.contexts[0],
        "prompt": lambda spec, item: plain_prompt(spec, item, item.contexts[0]),
    }
)


def silent_scores(spec: TaskSpec, items: Sequence[Item]) -> dict[str, float]:
    """Mean score of each silent answer; empty for choices, for code, and for metrics of the user's
    own.
    """
    if spec.kind != "generate" or spec.code is not None:
        return {}
    step = max(1, -(-len(items) // _MOST_ITEMS))
    asked = items[::step]
    return {
        name: sum(judge(spec, item, answer(spec, item))[0][spec.metric] for item in asked)
        / len(asked)
        for name, answer in SILENT.items()
    }
