"""Why a stage runs again, in words."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tongwen.flow.changes import parameter_changes

SOURCES: list[dict[str, Any]] = [
    {"name": name, "path": f"/data/{name}.jsonl", "format": "jsonl"} for name in "abc"
]


def changes(before: Any, after: Any) -> list[str]:
    return parameter_changes({"key": before}, {"key": after})


def test_entries_of_a_list_are_counted_as_added_removed_and_changed() -> None:
    changed = [{**SOURCES[0], "format": "text"}, *SOURCES[1:]]
    more = [{"name": f"new {number}", "path": "x"} for number in range(7)]
    assert changes(SOURCES, changed + more) == ["key: 7 added, 1 changed"]
    assert changes(SOURCES, SOURCES[1:]) == ["key: 1 removed"]
    assert changes(SOURCES, SOURCES[::-1]) == ["key: in another order"]
    assert changes(SOURCES, [*SOURCES, SOURCES[0]]) == ["key: 1 added"]
    assert changes([], SOURCES) == ["key: 3 added"]
    assert changes(None, ["a", "b", "c", "d"]) == ["key: 4 added"]
    assert changes(["a"] * 4, ["b"] * 4) == ["key: 4 added, 4 removed"]


def test_scalars_and_short_lists_are_shown_and_long_texts_shortened() -> None:
    assert changes(0.1, 0.2) == ["key changed 0.1 -> 0.2"]
    assert changes(None, "cosine") == ["key changed None -> 'cosine'"]
    assert changes([0.9, 0.95], [0.9, 0.99]) == ["key changed [0.9, 0.95] -> [0.9, 0.99]"]
    (line,) = changes("/a" * 300, "x")
    assert len(line) < 80
    assert line.startswith("key changed '/a/a")
    assert line.endswith("a' -> 'x'")


def test_every_key_that_differs_is_named_in_order_and_no_other() -> None:
    before = {"b": 1, "a": 1, "same": 1, "gone": 2}
    assert parameter_changes(before, {"b": 2, "a": 2, "same": 1}) == [
        "a changed 1 -> 2",
        "b changed 1 -> 2",
        "gone changed 2 -> None",
    ]


@given(
    st.lists(st.integers(0, 3) | st.text(max_size=1), max_size=8),
    st.lists(st.integers(0, 3) | st.text(max_size=1), max_size=8),
)
def test_counts_of_a_list_add_up(before: list[Any], after: list[Any]) -> None:
    lines = changes([*before, *"wxyz"], [*after, *"wxyz"])
    assert bool(lines) == (before != after)
    counts = {"added": 0, "removed": 0}
    for part in lines[0].removeprefix("key: ").split(", ") if lines else ():
        if part != "in another order":
            count, _, what = part.partition(" ")
            counts[what] = int(count)
    assert counts["added"] - counts["removed"] == len(after) - len(before)
