"""Hosts and pages of the sample web, and what a server sends for a page."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from tongwen.sample.packaged import packaged
from tongwen.sample.prose import Block
from tongwen.sample.records import gzip_member, http_response

_IN_A_NAME = re.compile("裡(?=·)|(?<=·)裡")

Label = Literal["good", "spam", "duplicate", "foreign", "broken"]
LABELS: tuple[Label, ...] = get_args(Label)
Role = Literal["content", "mirror", "spam", "foreign"]


@dataclass(frozen=True, kw_only=True)
class Site:
    """One invented host."""

    host: str
    name: str
    lang: str
    layout: str
    charset: str
    declared: Literal["header", "meta", "both", "none", "wrong"]
    charset_label: str = ""
    """Declared name of the character set where it is wrong."""
    transfer: Literal["identity", "gzip", "chunked"] = "identity"

    @property
    def label(self) -> str:
        return self.charset_label or self.charset

    @property
    def meta_label(self) -> str | None:
        """The character set that the page names in its head."""
        return self.label if self.declared in ("meta", "both", "wrong") else None

    @property
    def content_type(self) -> str:
        if self.declared == "wrong":
            return "text/html; charset=ISO-8859-1"
        named = self.declared in ("header", "both")
        return f"text/html; charset={self.label}" if named else "text/html"


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page with its labels; `body` holds the bytes before any transfer coding."""

    url: str
    site: Site
    label: Label
    kind: str
    """What sort of page it is among those with its label: "guide", "link_farm", "mojibake"."""
    lang: str
    body: bytes
    title: str = ""
    blocks: tuple[Block, ...] = ()
    """The main text, title apart; empty for pages without one worth keeping."""
    fact_ids: tuple[str, ...] = ()
    personal_data: tuple[str, ...] = ()
    group: str = ""
    """URL of the page that the members of a group of duplicates go back to."""
    status: str = "200 OK"
    truncated: bool = False
    """The crawler stopped reading before the end of the page."""

    @property
    def text(self) -> str:
        """The main text as plain lines, without the title."""
        return "\n".join(block.text for block in self.blocks)


@cache
def sites(role: Role) -> tuple[Site, ...]:
    """All hosts that play a part."""
    return tuple(_site(row) for row in packaged("sites")[role])


def _site(row: dict[str, str]) -> Site:
    values = dict(row)
    if values["lang"] == "zh-Hant":
        values["name"] = traditional(values["name"])
    return Site(**values)  # type: ignore[arg-type]


@cache
def _converter() -> Any:
    import opencc  # here, so that a recipe can be read without it

    return opencc.OpenCC("s2tw")


@cache
def traditional(text: str) -> str:
    """Simplified Chinese in traditional characters as written in Taiwan."""
    # 里 beside the dot of a foreign name is a syllable of it, not the word for "inside" (裡).
    return _IN_A_NAME.sub("里", str(_converter().convert(text)))


def encode(html: str, site: Site) -> bytes:
    """The page in the host's character set; what the set lacks becomes a character reference."""
    return html.encode(site.charset, "xmlcharrefreplace")


def respond(page: Page) -> bytes:
    """The HTTP response as it came over the wire."""
    body, headers = page.body, [("Server", _server(page.site))]
    if page.site.content_type:
        headers.append(("Content-Type", page.site.content_type))
    sent_length = len(body)
    if page.truncated:
        # The server announced the whole page, of which this is the beginning.
        sent_length *= 4
    elif page.site.transfer == "gzip":
        body = gzip_member(body)
        sent_length = len(body)
        headers.append(("Content-Encoding", "gzip"))
    elif page.site.transfer == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
        return http_response(page.status, [*headers, ("Connection", "close")], _chunked(body))
    headers += [("Content-Length", str(sent_length)), ("Connection", "close")]
    return http_response(page.status, headers, body)


def _server(site: Site) -> str:
    old = site.layout in ("tables", "fonts", "soup", "plain")
    return "Microsoft-IIS/6.0" if old else "nginx"


def _chunked(body: bytes, chunk_bytes: int = 1500) -> bytes:
    parts = [body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
