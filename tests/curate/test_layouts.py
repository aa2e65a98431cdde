"""What must come out of small pages of many kinds does, and what must not does not."""

import pytest
from layouts import Layout, layouts

from tongwen.curate.html.main_content import extract


@pytest.mark.parametrize("layout", list(layouts()), ids=lambda layout: layout.name)
def test_a_layout_gives_its_text_and_nothing_else(layout: Layout) -> None:
    text = extract(layout.html).text + "\n"
    assert [wanted for wanted in layout.wanted if wanted not in text] == [], text
    assert [unwanted for unwanted in layout.unwanted if unwanted in text] == [], text
