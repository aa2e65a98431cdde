"""A corpus that hurts: damaged, endless, nested and lying pages, made from our own fixtures.

Also task functions for the tests; worker processes import them by name.
"""

import gzip
import os
import random
import signal
from collections.abc import Iterator, Mapping

import brotli
from curate_texts import CHINESE, ENGLISH, story

from tongwen.curate.extract import pages
from tongwen.flow.task import TaskContext, step

POISON = b"this page kills whoever reads it"
_MEBIBYTE = 1 << 20


def html(text: str) -> bytes:
    paragraphs = "".join(f"<p>{part}</p>" for part in text.split("\n\n"))
    return (
        "<!doctype html><html><head><meta charset=utf-8><title>灯塔 lamp</title></head><body>"
        '<nav><a href="/">Home</a></nav><main><h1>Lamp</h1>'
        f"{paragraphs}<table><tr><td>1<td>2</table></main></body></html>"
    ).encode()


def warc_record(url: bytes, payload: bytes, *, length: int | None = None) -> bytes:
    """One response as a gzip member; `length` is a false Content-Length."""
    head = (
        b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: " + url + b"\r\n"
        b"WARC-Date: 2024-05-01T00:00:00Z\r\nContent-Type: application/http; msgtype=response\r\n"
        b"Content-Length: %d\r\n\r\n" % (len(payload) if length is None else length)
    )
    return gzip.compress(head + payload + b"\r\n\r\n", 1, mtime=0)


def response(body: bytes, kind: bytes = b"text/html", *headers: bytes) -> bytes:
    lines = (b"HTTP/1.1 200 OK", b"Content-Type: " + kind, *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def mutated(body: bytes, generator: random.Random) -> bytes:
    """The page after one to eight random cuts, copies, swaps and changed bytes."""
    data = bytearray(body)
    for _ in range(generator.randint(1, 8)):
        start = generator.randrange(len(data))
        end = min(len(data), start + generator.choice((1, 7, 60, 900)))
        kind = generator.randrange(5)
        if kind == 0 and end - start < len(data):
            del data[start:end]
        elif kind == 1:
            data[start:start] = data[start:end] * generator.choice((1, 3, 40))
        elif kind == 2:
            data[start:end] = generator.randbytes(end - start)
        elif kind == 3:
            tag = generator.choice(
                (b"<", b">", b"</", b"<!--", b"<![CDATA[", b"&#", b"\0", b"<table>")
            )
            data[start:start] = tag
        else:
            data[start:end] = bytes(reversed(data[start:end]))
    return bytes(data)


def endless_pages() -> Iterator[tuple[str, bytes]]:
    """Pages that are small to write and large to read."""
    yield "deep", b"<div>" * 60_000 + ENGLISH.encode()
    yield "deep-tables", b"<table><tr><td>" * 20_000 + ENGLISH.encode()
    yield "deep-lists", b"<ul><li>" * 20_000 + CHINESE.encode()
    yield "deep-inline", b"<b><i><a href=x>" * 20_000 + ENGLISH.encode()
    yield "rows", b"<table>" + b"<tr><td>1" * 1_000_000 + b"</table>" + html(ENGLISH)
    yield "spans", b"<table><tr><td colspan=9007199254740992 rowspan=99999999999>a<td>b</table>"
    yield "spans-2", b"<table>" + b"<tr><td colspan=1000 rowspan=65534>x" * 5_000 + b"</table>"
    yield "attribute", b"<div class='" + b"x" * (3 * _MEBIBYTE) + b"'>" + html(ENGLISH)
    yield "attributes", b"<p " + b" ".join(b"a%d=1" % n for n in range(100_000)) + b">x"
    yield "entities", b"<p>" + b"&amp;&nbsp;&#20013;&lt" * 200_000
    yield "bad-entities", b"<p>&#xD800;&#x110000;&#99999999999999;&nosuch;&#;&" * 5_000
    yield "open-tags", b"<" * _MEBIBYTE
    yield "half-tags", b"<a " * 300_000
    yield "comments", b"<!--" * 200_000 + html(ENGLISH)
    yield "script", b"<script>" + b"if (a<b) '</scrip'" * 50_000
    yield "textarea", b"<textarea><title><style>" * 30_000
    yield "one-word", b"<p>" + b"a" * (2 * _MEBIBYTE)
    yield "one-sign", b"<p>" + "中".encode() * 500_000
    yield "one-phrase", b"<p>" + b"the old lamp and " * 80_000
    yield "combining", b"<p>a" + "\u0301".encode() * 300_000
    yield "empty-lines", b"<pre>" + b"\n \t" * 300_000


def lying_responses() -> Iterator[tuple[str, bytes]]:
    """Responses whose headers do not say what the body is."""
    english, chinese = html(ENGLISH), html(CHINESE)
    for charset in ("utf-16", "big5", "shift_jis", "x-nothing", "utf-7", "\xff", "u" * 9_000):
        kind = b"text/html; charset=" + charset.encode("latin-1")
        yield f"charset-{charset[:9]}".encode("ascii", "replace").decode(), response(chinese, kind)
    yield "utf-16-half", response(chinese.decode().encode("utf-16")[:-1])
    yield "surrogates", response(b"<p>" + b"\xed\xa0\x80\xed\xb0\x80" * 2_000)
    yield "nul", response(english.replace(b" ", b"\0"))
    yield (
        "bomb-gzip",
        response(gzip.compress(bytes(40 * _MEBIBYTE), 9), b"text/html", b"Content-Encoding: gzip"),
    )
    yield (
        "bomb-br",
        response(
            brotli.compress(bytes(40 * _MEBIBYTE), quality=1), b"text/html", b"Content-Encoding: br"
        ),
    )
    yield "many-encodings", response(english, b"text/html", b"Content-Encoding: " + b"gzip," * 9)
    yield (
        "half-gzip",
        response(gzip.compress(english)[:200], b"text/html", b"Content-Encoding: gzip"),
    )
    yield "not-gzip", response(b"\x1f\x8b" + english, b"text/html", b"Content-Encoding: gzip")
    yield "chunks", response(b"ffffffffffffffff\r\nx", b"text/html", b"Transfer-Encoding: chunked")
    yield "chunks-2", response(b"-5\r\n" + english, b"text/html", b"Transfer-Encoding: chunked")
    yield "no-head", english
    yield "status", b"HTTP/1.1 99999999999999999999 ?\r\n\r\n" + english
    yield "picture", response(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40, b"image/png")


def files(seed: int) -> Mapping[str, bytes]:
    """Name -> content of the WARC files of the corpus; `good` holds two pages that must stay."""
    generator, sizes = random.Random(seed), (0, 1, 20_000)
    bases = [html(ENGLISH), html(CHINESE), html(story(3, "zh", 20)), html(story(4, "en", 20))]
    records = {
        "mutated": [
            (b"http://m.example/%d" % n, response(mutated(generator.choice(bases), generator)))
            for n in range(150)
        ],
        "random": [
            (b"http://r.example/%d" % n, response(generator.randbytes(generator.choice(sizes))))
            for n in range(20)
        ],
        "endless": [
            (f"http://endless.example/{name}".encode(), response(body))
            for name, body in endless_pages()
        ],
        "lying": [
            (f"http://lying.example/{name}".encode(), body) for name, body in lying_responses()
        ],
        "addresses": [
            (url, response(html(story(30 + n, "en", 12))))
            for n, url in enumerate((
                b"", b"http://[::1", b"http://a:99999999999/", b"http://\xed\xa0\x80.example/",
                b"http://x.example/" + b"y" * 60_000, b"http://x.example/?" + b"a=1&" * 20_000,
                b"no address", b"http://\0.example", "http://例子.测试/灯塔".encode(),
            ))
        ],
        "good": [
            (b"http://good.example/lamp", response(html(ENGLISH))),
            (b"http://good.example/deng", response(html(CHINESE))),
        ],
    }  # fmt: skip
    made = {
        name: b"".join(warc_record(url, payload) for url, payload in rows)
        for name, rows in records.items()
    }
    whole = made["good"]
    for place in range(6):
        made[f"cut-{place}"] = whole[: generator.randrange(80, len(whole))]
    damaged = bytearray(made["mutated"][:60_000])
    for _ in range(12):
        damaged[generator.randrange(2_000, len(damaged))] ^= 0xFF
    made["damaged"] = whole + bytes(damaged)
    made["long"] = whole + warc_record(b"http://long.example/", response(b"x"), length=1 << 60)
    bomb = warc_record(b"http://bomb.example/", response(bytes(40 * _MEBIBYTE)))
    made["bomb"] = whole + bomb + whole
    return made


@step("extract", inputs=("crawl", "blocked", "allowed", "readers"))
def extract_or_die(context: TaskContext) -> Mapping[str, int]:
    """The extraction task of a program with a page that kills it."""
    whole = pages.curate_record

    def curate_record(record, **options):  # type: ignore[no-untyped-def]
        if POISON in record.body:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(record, **options)

    pages.curate_record = curate_record
    try:
        return pages.extract_records(context)
    finally:
        pages.curate_record = whole
