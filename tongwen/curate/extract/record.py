"""One raw record to one document and what is known of the page: every value, no decision."""

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pyarrow as pa
import xxhash

from tongwen.curate.extract.addresses import AddressRules, address_problem
from tongwen.curate.extract.language import identify
from tongwen.curate.extract.lines import remove_boilerplate
from tongwen.curate.extract.repair import repair
from tongwen.curate.html.main_content import extract
from tongwen.curate.names import LINE_REASONS
from tongwen.curate.text.prose import prose
from tongwen.formats.charset.decode import decode
from tongwen.formats.records import RawRecord

_PAGE_TYPES = ("", "text/html", "application/xhtml+xml", "application/xml", "text/xml")
_TEXT_TYPES = ("text/plain", "text/markdown")
_TRACKING = re.compile(r"utm_\w+|spm|from|fbclid|gclid|sessionid|phpsessid", re.IGNORECASE)

PAGE_VALUES = ("page_link_share", "boilerplate_share", "mixed_share")
"""Names of the values, columns that rules look at, that the page or the whole text tells."""

PAGE_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("host", pa.string()),
        ("date", pa.string()),
        ("lang", pa.string()),  # of the text; empty when there is none
        ("source", pa.string()),
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("is_text", pa.bool_()),
        ("trusted", pa.bool_()),  # of a source that meets no rules about quality
        ("problem", pa.string()),  # why there is no text; null when there is
        ("raw_bytes", pa.int64()),
        ("encoding", pa.string()),
        ("encoding_from", pa.string()),  # mark, header, page or guess
        ("replaced_characters", pa.int64()),  # on the whole page
        ("language_confidence", pa.float64()),
        ("code_line_share", pa.float64()),
        ("mended_sequences", pa.int64()),
        ("removed_characters", pa.int64()),
        ("boilerplate_lines", pa.int64()),
        *((name, pa.float64()) for name in PAGE_VALUES),
    ]
)


def document_id(record: RawRecord) -> str:
    """xxh3-128 of where a record came from, 32 hexadecimal digits.

    Of local files the content stands for the path, so that an id survives a move to another folder.
    """
    is_local = record.url.startswith("file:")
    place = xxhash.xxh3_128_hexdigest(record.body) if is_local else record.url
    origin = f"{record.source}\n{record.file}\n{record.offset}\n{place}"
    return xxhash.xxh3_128_hexdigest(origin.encode("utf-8", "surrogatepass"))


def host_of(url: str) -> str:
    """The host of a web address in lower case; empty for files."""
    if not url.lower().startswith(("http://", "https://")):
        return ""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def normal_url(url: str) -> str:
    """The form in which web addresses are compared; empty for what is no web address.

    Scheme, fragment, default port and tracking parameters do not count, nor the case of the host.
    """
    host = host_of(url)
    if not host:
        return ""
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port not in (None, 80, 443) else ""
    except ValueError:
        port = ""
    query = parts.query
    if query:
        pairs = parse_qsl(query, keep_blank_values=True)
        kept = [(key, value) for key, value in pairs if not _TRACKING.fullmatch(key)]
        query = urlencode(kept) if len(kept) < len(pairs) else query
    return f"{host}{port}{parts.path or '/'}" + (f"?{query}" if query else "")


def curate_record(
    record: RawRecord, *, addresses: AddressRules | None, line_reasons: frozenset[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document (columns of `DOCUMENT_SCHEMA`) and the page attributes of one raw record.

    A record without text gives a document with empty text, and its `problem`.

    Args:
        record: what was read.
        addresses: rules that drop a page before it is parsed; None for none.
        line_reasons: of `lines.REASONS`, why lines of pages are taken out; plain texts keep theirs.
    """
    url = record.url.encode("utf-8", "replace").decode("utf-8")  # file names can be any bytes
    document: dict[str, Any] = {
        "doc_id": document_id(record),
        "url": url,
        "host": host_of(url),
        "date": record.date,
        "lang": "",
        "title": "",
        "text": "",
        "source": record.source,
        "warc_file": record.file,
        "warc_offset": record.offset,
        "license": record.license,
    }
    attributes: dict[str, Any] = {
        "file": record.file,
        "offset": record.offset,
        "is_text": record.is_text,
        "raw_bytes": len(record.body),
        "problem": record.problem,
    }
    if record.problem is None and addresses and document["host"]:
        attributes["problem"] = address_problem(url, addresses)
    if attributes["problem"] is None:
        _fill(record, document, attributes, line_reasons)
    for name in ("doc_id", "url", "host", "date", "lang", "source"):
        attributes[name] = document[name]
    return document, attributes


def _fill(
    record: RawRecord,
    document: dict[str, Any],
    attributes: dict[str, Any],
    line_reasons: frozenset[str],
) -> None:
    title, text, problem = _text_of(record, attributes)
    if problem is not None:
        attributes["problem"] = problem
        return
    language = identify(prose(text))
    repaired = repair(text, is_markup_free=language.lang != "code")
    text = repaired.text
    if repaired.mended_sequences:
        language = identify(prose(text))  # what was mojibake may be Chinese now
    attributes["mended_sequences"] = repaired.mended_sequences
    attributes["removed_characters"] = repaired.removed_characters
    attributes["boilerplate_share"] = 0.0
    if line_reasons and not record.is_text:
        before = max(1, len(text))
        cleaned = remove_boilerplate(text, line_reasons)
        text = cleaned.text
        attributes["boilerplate_lines"] = cleaned.lines
        attributes["boilerplate_share"] = cleaned.characters / before
    if not text.strip():
        attributes["problem"] = "no_text"
        return
    document.update(lang=language.lang, title=repair(title).text, text=text)
    attributes["language_confidence"] = language.confidence
    attributes["code_line_share"] = language.code_line_share
    attributes["mixed_share"] = language.mixed_share


def _text_of(record: RawRecord, attributes: dict[str, Any]) -> tuple[str, str, str | None]:
    """Title, text and problem of a record; fills in what decoding and extraction saw."""
    if record.is_text:
        text = record.body.decode("utf-8", "replace")
        attributes["replaced_characters"] = text.count("\ufffd")
        return "", text, None if text.strip() else "no_text"
    if record.content_type not in (*_PAGE_TYPES, *_TEXT_TYPES):
        return "", "", "not_a_page"
    decoded = decode(record.body, record.charset)
    attributes["encoding"] = decoded.encoding
    attributes["encoding_from"] = decoded.how
    attributes["replaced_characters"] = decoded.replaced_characters
    if record.content_type in _TEXT_TYPES:
        return "", decoded.text, None if decoded.text.strip() else "no_text"
    extracted = extract(decoded.text)
    attributes["page_link_share"] = extracted.link_density
    is_empty = not extracted.text.strip(" \n\t\ufffd")
    return extracted.title, extracted.text, "no_text" if is_empty else None


_TRIAL_PAGE = """<!doctype html><html lang="zh"><head><title>Trial 试</title></head><body><main>
<h1>A trial</h1><p>On a fresh machine the kernels are compiled on this page; nothing of it is
kept.</p><p>全新的机器在这一页上编译内核，其内容不会保留。</p><ul><li>one<li>two</ul>
<table><tr><th>a<th>b<tr><td>1<td>2</table><pre>x = 1;</pre></main></body></html>"""


def read_trial_page() -> None:
    """Call every kernel that extraction uses, so that numba compiles it."""
    page = RawRecord(
        source="", file="", offset=0, url="http://trial.invalid/", date="", charset="",
        is_text=False, body=_TRIAL_PAGE.encode("utf-8"), content_type="text/html",
    )  # fmt: skip
    curate_record(page, addresses=None, line_reasons=frozenset(LINE_REASONS))
