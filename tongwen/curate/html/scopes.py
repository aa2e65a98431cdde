"""What is open around a tag, compiled: the scopes of the HTML standard, section 13.2.4.2."""

from typing import Any

from tongwen.curate.html import names as name_of
from tongwen.curate.html.blocks import DEPTH
from tongwen.kernels import inner

# Columns of the stack of open elements.
STACK_ELEMENT, STACK_TAG, STACK_KIND, WAS_LINK, STACK_COLUMNS = range(5)


@inner
def top(page: Any) -> Any:
    """Tag of the innermost open element."""
    return page.stack[page.state[DEPTH] - 1, STACK_TAG]


@inner
def in_scope(page: Any, names: Any, tag: int) -> Any:
    """Whether an element is open and no cell or object stands between."""
    if page.open_counts[tag] == 0:
        return False
    for depth in range(page.state[DEPTH] - 1, 0, -1):
        found = page.stack[depth, STACK_TAG]
        if found == tag:
            return True
        if names.traits[found] & name_of.BOUNDARY:
            return False
    return False


@inner
def item_in_scope(page: Any, names: Any) -> Any:
    """The same for a list item, of the innermost list only."""
    if page.open_counts[name_of.ITEM] == 0:
        return False
    for depth in range(page.state[DEPTH] - 1, 0, -1):
        found = page.stack[depth, STACK_TAG]
        if found == name_of.ITEM:
            return True
        if found == name_of.BULLETED or found == name_of.NUMBERED:
            return False
        if names.traits[found] & name_of.BOUNDARY:
            return False
    return False


@inner
def paragraph_in_scope(page: Any, names: Any) -> Any:
    """The same for a paragraph, which a button hides too."""
    if page.open_counts[name_of.PARAGRAPH] == 0:
        return False
    for depth in range(page.state[DEPTH] - 1, 0, -1):
        found = page.stack[depth, STACK_TAG]
        if found == name_of.PARAGRAPH:
            return True
        if found == name_of.BUTTON or names.traits[found] & name_of.BOUNDARY:
            return False
    return False


@inner
def heading_in_scope(page: Any, names: Any) -> Any:
    """The same for a heading of any level."""
    for depth in range(page.state[DEPTH] - 1, 0, -1):
        traits = names.traits[page.stack[depth, STACK_TAG]]
        if traits & name_of.HEADING:
            return True
        if traits & name_of.BOUNDARY:
            return False
    return False


@inner
def in_table_scope(page: Any, tag: int) -> Any:
    """Whether an element is open in the innermost table, or is it."""
    if page.open_counts[tag] == 0:
        return False
    for depth in range(page.state[DEPTH] - 1, 0, -1):
        found = page.stack[depth, STACK_TAG]
        if found == tag:
            return True
        if found == name_of.TABLE or found == name_of.TEMPLATE:
            return False
    return False


@inner
def is_in_table(page: Any) -> Any:
    """Whether the place is in a table and in none of its cells."""
    if page.open_counts[name_of.TABLE] == 0:
        return False
    for depth in range(page.state[DEPTH] - 1, 0, -1):
        found = page.stack[depth, STACK_TAG]
        if found == name_of.TABLE:
            return True
        if found in (name_of.CELL, name_of.HEAD_CELL, name_of.CAPTION, name_of.TEMPLATE):
            return False
    return False
