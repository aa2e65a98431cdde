"""Generated parts of a page, between `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""

import re
from collections.abc import Mapping


def with_blocks(page: str, blocks: Mapping[str, str]) -> str:
    """The page with its blocks replaced; each must be in it once."""
    for name, text in blocks.items():
        pattern = rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)"
        page, found = re.subn(
            pattern, lambda match, text=text: f"{match[1]}{text}\n{match[2]}", page, flags=re.DOTALL
        )
        assert found == 1, f"{name} is {found} times in the page"
    return page
