"""The name under which the extraction was published."""

import tongwen.curate.extract
from tongwen.curate.html import main_content


def test_extraction_is_imported_from_its_package_as_well_as_from_the_reader_of_pages() -> None:
    assert tongwen.curate.extract.extract is main_content.extract
