"""PDF files and EPUB books give their text in reading order, or say why there is none."""

import io
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.formats.readers import read_records
from tongwen.formats.readers.pdf import pages_text
from tongwen.formats.records import RawRecord

ENGLISH = ["The interpreters of the college were", "taught two languages. Some stayed."]
CHINESE = ["同文馆创办于一八六二年，最初只教授英文，", "后来增设法文、俄文。"]


def pdf(pages: list[list[str]], *, encrypt: str = "") -> bytes:
    """A PDF file by hand; ideographs by a predefined encoding, as Chinese writers produce them."""
    objects: list[bytes] = [b""] * 5
    kids = []
    for lines in pages:
        shown = b" 0 -20 Td ".join(
            b"<" + line.encode("utf-16-be").hex().encode() + b"> Tj" for line in lines
        )
        stream = b"BT /F1 12 Tf 50 700 Td " + shown + b" ET"
        objects.append(b"<< /Length %d >> stream\n%b\nendstream" % (len(stream), stream))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 900 800] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[0] = b"<< /Type /Catalog /Pages 2 0 R >>"
    objects[1] = b"<< /Type /Pages /Kids [%b] /Count %d >>" % (b" ".join(kids), len(kids))
    objects[2] = (
        b"<< /Type /Font /Subtype /Type0 /BaseFont /SimSun /Encoding /UniGB-UCS2-H"
        b" /DescendantFonts [4 0 R] >>"
    )
    objects[3] = (
        b"<< /Type /Font /Subtype /CIDFontType0 /BaseFont /SimSun /FontDescriptor 5 0 R /DW 1000"
        b" /W [1 [500] 2 94 500]"
        b" /CIDSystemInfo << /Registry (Adobe) /Ordering (GB1) /Supplement 4 >> >>"
    )
    objects[4] = (
        b"<< /Type /FontDescriptor /FontName /SimSun /Flags 4 /FontBBox [0 -200 1000 900]"
        b" /ItalicAngle 0 /Ascent 800 /Descent -200 /CapHeight 700 /StemV 80 >>"
    )
    out = b"%PDF-1.5\n"
    places = []
    for number, value in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, value)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    return out + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer << /Size %d /Root 1 0 R %b >>\n"
        b"startxref\n%d\n%%%%EOF"
        % (count, table, count, encrypt.encode(), len(out))
    )  # fmt: skip


def one(tmp_path: Path, name: str, data: bytes) -> RawRecord:
    path = tmp_path / name
    path.write_bytes(data)
    (record,) = read_records(path, name.rpartition(".")[2], source="books")
    return record


def test_a_chinese_and_english_pdf_gives_paragraphs(tmp_path: Path) -> None:
    record = one(tmp_path, "书.pdf", pdf([ENGLISH, CHINESE]))
    assert record.problem is None
    assert record.is_text
    assert record.body.decode() == " ".join(ENGLISH) + "\n\n" + "".join(CHINESE)
    assert record.url.startswith("file:///")


def test_pages_without_text_are_scanned(tmp_path: Path) -> None:
    assert one(tmp_path, "x.pdf", pdf([[], []])).problem == "scanned"


def test_a_pdf_with_a_password_is_encrypted(tmp_path: Path) -> None:
    keys = "/O <" + "31" * 32 + "> /U <" + "32" * 32 + ">"
    entry = f"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 {keys} >> /ID [<00><00>]"
    record = one(tmp_path, "x.pdf", pdf([ENGLISH], encrypt=entry))
    assert (record.problem, record.body) == ("encrypted", b"")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1200), st.binary(max_size=60))
def test_a_damaged_pdf_never_raises(place: int, noise: bytes) -> None:
    data = pdf([ENGLISH, CHINESE])
    with tempfile.TemporaryDirectory() as folder:
        record = one(Path(folder), "x.pdf", data[:place] + noise + data[place + len(noise) :])
        assert record.problem in (None, "malformed", "scanned", "encrypted")


def test_running_titles_and_page_numbers_are_left_out() -> None:
    pages = [["第一章 绪论", f"正文第{n}段结束。", str(n)] for n in range(1, 21)]
    text = pages_text(pages)
    assert "绪论" not in text
    assert text.split("\n\n") == [f"正文第{n}段结束。" for n in range(1, 21)]


def test_words_broken_at_the_end_of_a_line_are_mended() -> None:
    assert pages_text([["an inter\ufffe", "preter of words"]]) == "an interpreter of words"


def epub(chapters: dict[str, str | bytes], *, extra: dict[str, bytes] | None = None) -> bytes:
    items = "".join(
        f'<item id="c{n}" href="text/{name.replace(" ", "%20")}"'
        ' media-type="application/xhtml+xml"/>'
        for n, name in enumerate(chapters)
    )
    order = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    files: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": "<container "
        'xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/content.opf"/></rootfiles></container>',
        "OEBPS/content.opf": '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        f'{items}</manifest><spine><itemref idref="nav"/>{order}</spine></package>',
        "OEBPS/nav.xhtml": "<html><body><nav>Contents</nav></body></html>",
        **{f"OEBPS/text/{name}": text for name, text in chapters.items()},
        **(extra or {}),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def page(body: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><html xmlns="http://www.w3.org/1999/xhtml">'
        f"<head><title/><style>p {{}}</style></head><body>{body}</body></html>"
    )


def test_a_book_gives_its_chapters_in_the_order_of_the_spine(tmp_path: Path) -> None:
    data = epub(
        {
            "z 1.xhtml": page(
                "<h1>第一回</h1><p>话说<ruby>天下<rt>tiānxià</rt></ruby>大势，\n 分久必合。</p>"
            ),
            "a2.xhtml": page(
                '<h2>Two</h2><p>One <a id="x"/><i>more</i> line<br/>and the last</p>'
                "<pre>x\n  y</pre>"
            ),
        }
    )
    record = one(tmp_path, "书.epub", data)
    assert record.problem is None
    assert record.body.decode().split("\n\n") == [
        "# 第一回",
        "话说天下大势， 分久必合。",
        "## Two",
        "One more line\nand the last",
        "x\n  y",
    ]


def test_a_book_under_digital_rights_is_encrypted_but_scrambled_fonts_do_not_matter(
    tmp_path: Path,
) -> None:
    def with_method(method: str) -> bytes:
        inner = f'<EncryptionMethod Algorithm="{method}"/>'
        text = f"<encryption><EncryptedData>{inner}</EncryptedData></encryption>"
        return epub(
            {"a.xhtml": page("<p>文</p>")}, extra={"META-INF/encryption.xml": text.encode()}
        )

    font = with_method("http://www.idpf.org/2008/embedding")
    assert one(tmp_path, "a.epub", font).problem is None
    locked = with_method("http://www.w3.org/2001/04/xmlenc#aes128-cbc")
    assert one(tmp_path, "b.epub", locked).problem == "encrypted"


def test_a_book_that_is_a_bomb_stays_small_in_memory(tmp_path: Path) -> None:
    data = epub({"a.xhtml": b"<p>" + b"\0" * (60 << 20)})
    assert len(data) < 1 << 20
    assert one(tmp_path, "a.epub", data).problem == "bomb"


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04 no archive",
        epub({}),
        epub({"a.xhtml": page("<p>x</p>")})[:-40],
        epub({"a.xhtml": "x"}, extra={"META-INF/container.xml": b"<container>"}),
        epub({"a.xhtml": "x"}, extra={"OEBPS/content.opf": b"<!DOCTYPE a><a>&d;</a>"}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_damaged_book_is_malformed(tmp_path: Path, data: bytes) -> None:
    assert one(tmp_path, "x.epub", data).problem == "malformed"


def test_a_deep_chapter_costs_no_stack(tmp_path: Path) -> None:
    body = "<div>" * 3_000 + "<p>底</p>" + "</div>" * 3_000
    assert one(tmp_path, "x.epub", epub({"a.xhtml": page(body)})).body.decode() == "底"
