"""One HTML page: its main text, title and language."""

from dataclasses import dataclass

from tongwen.curate.extract.record import curate_record
from tongwen.curate.names import LINE_REASONS
from tongwen.formats.records import RawRecord


@dataclass(frozen=True, kw_only=True)
class Page:
    """The content of a page, without what surrounds it.

    Attributes:
        text: paragraphs separated by one empty line; headings, lists, tables and code as Markdown,
            formulas as TeX. Empty when `problem` is set.
        title: of the page; empty when it has none.
        lang: en, zh-Hans, zh-Hant, code, or another ISO 639 code; empty when there is no text.
        language_confidence: 0 to 1; 0 when there is no text.
        url: as it was given.
        link_share: share of the text's characters that were inside links, 0 to 1.
        boilerplate_lines: lines taken out, such as "Share this page" or 版权所有.
        encoding: Python's name of the page's encoding.
        problem: `no_text` when the page has no main text; None otherwise.
    """

    text: str
    title: str
    lang: str
    language_confidence: float
    url: str
    link_share: float
    boilerplate_lines: int
    encoding: str
    problem: str | None


def extract_page(html: str | bytes, url: str | None = None, *, charset: str = "") -> Page:
    """The main text of an HTML page, as the curate stage extracts and repairs it.

    Never raises, whatever the page holds. Personal data is not replaced and no rule is applied.
    The first call on a machine that has not compiled the kernels yet takes up to a minute of CPU
    time, the first in a process about 1 s; then a page of 6 kB takes about 2 ms (2026-11).

    Args:
        html: the page as text, or as the bytes that were served.
        url: its address; only copied to the result.
        charset: of the HTTP header, for bytes; found in the page or guessed when empty.

    Example:
        >>> page = tongwen.extract_page("<title>Tides</title><p>The tide turns twice a day.")
        >>> page.title
        'Tides'
    """
    if isinstance(html, str):
        html, charset = html.encode("utf-8", "replace"), "utf-8"
    record = RawRecord(
        url=url or "",
        date="",
        content_type="text/html",
        charset=charset,
        body=html,
        is_text=False,
        file="",
        offset=0,
    )
    document, values = curate_record(record, addresses=None, line_reasons=frozenset(LINE_REASONS))
    return Page(
        text=document["text"],
        title=document["title"],
        lang=document["lang"],
        language_confidence=float(values.get("language_confidence") or 0.0),
        url=document["url"],
        link_share=float(values.get("link_share") or 0.0),
        boilerplate_lines=int(values.get("boilerplate_lines") or 0),
        encoding=values.get("encoding") or "",
        problem=values["problem"],
    )
