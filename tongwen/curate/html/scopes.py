"""What is open around a tag, compiled: the scopes of the HTML standard, section 13.2.4.2."""

from typing import Any

from tongwen.curate.html import tags
from tongwen.kernels import inner

# Columns of the stack of open elements.
STACK_ELEMENT, STACK_TAG, STACK_KIND, WAS_LINK, STACK_COLUMNS = range(5)


@inner
def top(page: Any) -> Any:
    """Tag of the innermost open element."""
    return page.stack[page.state[0].depth - 1, STACK_TAG]


@inner
def in_scope(page: Any, names: Any, tag: int) -> Any:
    """Whether an element is open and no cell or object stands between."""
    if page.open_counts[tag] == 0:
        return False
    for depth in range(page.state[0].depth - 1, 0, -1):
        found = page.stack[depth, STACK_TAG]
        if found == tag:
            return True
        if names.traits[found] & tags.BOUNDARY:
            return False
    return False


@inner
def item_in_scope(page: Any, names: Any) -> Any:
    """The same for a list item, of the innermost list only."""
    if page.open_counts[tags.ITEM] == 0:
        return False
    for depth in range(page.state[0].depth - 1, 0, -1):
        found = page.stack[depth, STACK_TAG]
        if found == tags.ITEM:
            return True
        if found == tags.BULLETED or found == tags.NUMBERED:
            return False
        if names.traits[found] & tags.BOUNDARY:
            return False
    return False


@inner
def paragraph_in_scope(page: Any, names: Any) -> Any:
    """The same for a paragraph, which a button hides too."""
    if page.open_counts[tags.PARAGRAPH] == 0:
        return False
    for depth in range(page.state[0].depth - 1, 0, -1):
        found = page.stack[depth, STACK_TAG]
        if found == tags.PARAGRAPH:
            return True
        if found == tags.BUTTON or names.traits[found] & tags.BOUNDARY:
            return False
    return False


@inner
def heading_in_scope(page: Any, names: Any) -> Any:
    """The same for a heading of any level."""
    for depth in range(page.state[0].depth - 1, 0, -1):
        traits = names.traits[page.stack[depth, STACK_TAG]]
        if traits & tags.HEADING:
            return True
        if traits & tags.BOUNDARY:
            return False
    return False


@inner
def in_table_scope(page: Any, tag: int) -> Any:
    """Whether an element is open in the innermost table, or is it."""
    if page.open_counts[tag] == 0:
        return False
    for depth in range(page.state[0].depth - 1, 0, -1):
        found = page.stack[depth, STACK_TAG]
        if found == tag:
            return True
        if found == tags.TABLE or found == tags.TEMPLATE:
            return False
    return False


@inner
def is_in_table(page: Any) -> Any:
    """Whether the place is in a table and in none of its cells."""
    if page.open_counts[tags.TABLE] == 0:
        return False
    for depth in range(page.state[0].depth - 1, 0, -1):
        found = page.stack[depth, STACK_TAG]
        if found == tags.TABLE:
            return True
        if found in (tags.CELL, tags.HEAD_CELL, tags.CAPTION, tags.TEMPLATE):
            return False
    return False
