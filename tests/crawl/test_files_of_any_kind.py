"""A folder of whatever a person has: each file is read as what it is, or named."""

import gzip
import io
import json
import os
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tongwen.crawl.settings import CrawlSettings, SourceSettings
from tongwen.crawl.stage import run
from tongwen.errors import InputError
from tongwen.files import read_jsonl
from tongwen.flow.local import LocalRunner
from tongwen.flow.settings import RunSettings
from tongwen.flow.stage import StageContext
from tongwen.formats.readers import read_records
from tongwen.progress import Progress

CHINESE = "同文馆的学生每天早上学习英文，下午翻译书籍。老师说，翻译要准确，也要通顺。"
ENGLISH = "The café on the corner serves breakfast. It opens at seven, and closes at noon."


def word(text: str) -> bytes:
    document, data = docx.Document(), io.BytesIO()
    document.add_heading("标题 Title", 1)
    document.add_paragraph(text)
    table = document.add_table(1, 2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "甲", "乙"
    document.save(data)
    return data.getvalue()


def excel(text: str) -> bytes:
    book, data = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["名称", "说明"])
    book.active.append([1.5, text])
    book.save(data)
    return data.getvalue()


def slides(text: str) -> bytes:
    show, data = pptx.Presentation(), io.BytesIO()
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text = "标题"
    slide.placeholders[1].text = text
    show.save(data)
    return data.getvalue()


def zipped(**files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return data.getvalue()


def parquet(text: str) -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.table({"text": [text]}), data)
    return data.getvalue()


def lines(text: str, field: str = "text") -> str:
    return json.dumps({field: text}, ensure_ascii=False) + "\n"


def pdf(text: str) -> bytes:
    """One page by hand, in the encoding of Windows."""
    shown = b"BT /F1 12 Tf 50 700 Td <%b> Tj ET" % text.encode("cp1252").hex().encode()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 900 800] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >> stream\n%b\nendstream" % (len(shown), shown),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    )
    out, places = b"%PDF-1.4\n", b""
    for number, value in enumerate(objects, 1):
        places += b"%010d 00000 n \n" % len(out)
        out += b"%d 0 obj\n%b\nendobj\n" % (number, value)
    end = b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % len(out)
    return out + b"xref\n0 6\n0000000000 65535 f \n" + places + end


def book(text: str) -> bytes:
    container = "urn:oasis:names:tc:opendocument:xmlns:container"
    return zipped(
        mimetype=b"application/epub+zip",
        **{
            "META-INF/container__xml": f'<container xmlns="{container}"><rootfiles>'
            '<rootfile full-path="a.opf"/></rootfiles></container>'.encode(),
            "a__opf": b'<package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="a" '
            b'href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
            b'<spine><itemref idref="a"/></spine></package>',
            "a__xhtml": f'<html xmlns="http://www.w3.org/1999/xhtml"><body><p>{text}</p></body>'
            "</html>".encode(),
        },
    )


PAGE = f"<!DOCTYPE html><html><body><article><h1>t</h1><p>{CHINESE}</p></article></body></html>"
SAVED_PAGE = (
    "MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=x\r\n\r\n--x\r\n"
    "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    f"Content-Location: https://a.example/page\r\n\r\n{PAGE}\r\n--x--\r\n"
)
FILES = {
    "utf8.txt": CHINESE.encode(),
    "gb18030.txt": CHINESE.encode("gb18030"),
    "big5.txt": "同文館的學生每天早上學習英文，下午翻譯書籍。老師說，翻譯要準確。".encode("big5"),
    "utf16.txt": CHINESE.encode("utf-16"),
    "utf32.txt": CHINESE.encode("utf-32"),
    "book.pdf": pdf(ENGLISH),
    "book.epub": book(CHINESE),
    "book.epub.gz": gzip.compress(book(CHINESE)),
    "latin1.txt": ENGLISH.encode("latin-1"),
    "bom.md": b"\xef\xbb\xbf" + f"# 标题\n\n{CHINESE}".encode(),
    "notes.rst": ENGLISH.encode(),
    "page.html": PAGE.encode("gb18030"),
    "page without suffix": PAGE.encode(),
    "saved.mhtml": SAVED_PAGE.encode(),
    "word.docx": word(CHINESE),
    "table.xlsx": excel(CHINESE),
    "slides.pptx": slides(CHINESE),
    "rows.jsonl": (lines(CHINESE) * 2).encode(),
    "rows-gbk.jsonl": lines(CHINESE).encode("gb18030"),
    "rows-utf16.jsonl": (lines(CHINESE) * 2).encode("utf-16"),
    "rows.jsonl.gz": gzip.compress(lines(CHINESE, "content").encode()),
    "array.json": json.dumps([{"正文": CHINESE}, {"正文": ENGLISH}]).encode(),
    "object.json": json.dumps({"title": "x", "content": CHINESE, "tags": ["a", "b"]}).encode(),
    "deep.json": json.dumps({"data": {"n": 2, "items": [{"text": CHINESE}] * 2}}).encode("utf-16"),
    "texts.csv": f"id,content\n1,{CHINESE}\n2,{CHINESE}\n".encode("gb18030"),
    "numbers.tsv": b"city\tpeople\nHalden\t31000\n",
    "rows.parquet": parquet(CHINESE),
    "archive.zip": zipped(a__txt=CHINESE.encode(), b__docx=word(CHINESE), c__png=b"\x89PNG\r\n"),
    "letter.txt.gz": gzip.compress(CHINESE.encode("gb18030")),
    "letter.txt.zst": zstandard.compress(CHINESE.encode()),
}
LEFT_OUT = {
    "photo.jpg": b"\xff\xd8\xff\xe0" + bytes(200),
    "old.doc": b"\xd0\xcf\x11\xe0" + bytes(500),
    "program.bin": b"\x7fELF" + bytes(100),
    "rich.rtf": b"{\\rtf1\\ansi " + ENGLISH.encode("cp1252") + b"}",
    "drawing.svg": f"<svg><text>{CHINESE}</text></svg>".encode(),
    "data.xml": f'<?xml version="1.0"?><a>{CHINESE}</a>'.encode(),
    "cells.xlsb": zipped(**{"[Content_Types]__xml": b"<a/>", "xl/workbook__bin": b"x"}),
    "legal.ofd": zipped(OFD__xml=PAGE.encode()),
    "notes.ipynb": json.dumps({"cells": [{"source": [CHINESE]}]}).encode(),
    "files.tar": b"a.txt" + bytes(252) + b"ustar" + bytes(600),
    "chats.jsonl": b'{"messages": [{"role": "user", "content": "hi"}]}\n',
    "empty.txt": b"",
    "broken.zip": zipped(a__txt=b"x" * 1000)[:60],
    "nothing.zip": zipped(),
    "cut.txt.gz": gzip.compress(CHINESE.encode() * 50)[:-9],
}


BROKEN = {"empty.txt", "broken.zip", "nothing.zip", "cut.txt.gz"}


def crawl(folder: Path, out: Path, **settings: float) -> tuple[dict[str, float], Path]:
    out.mkdir()
    source = SourceSettings(path=str(folder))
    wanted = CrawlSettings(sources=(source,), **settings)  # type: ignore[arg-type]
    run_settings = RunSettings(name="t")
    context = StageContext(
        wanted, run_settings, {}, out, out, LocalRunner(), Progress(io.StringIO())
    )
    return dict(run(context)), out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in {**FILES, **LEFT_OUT}.items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "mine"


def test_every_file_of_a_mixed_folder_is_read_or_named(folder: Path, tmp_path: Path) -> None:
    counts, out = crawl(folder, tmp_path / "out", maximum_bad_files=len(BROKEN))
    texts: dict[str, str] = {}
    for row in read_jsonl(out / "inputs.jsonl"):
        path = Path(row["path"]) if Path(row["path"]).is_absolute() else out / row["path"]
        records = list(read_records(path, row["format"], text_field=row["text_field"]))
        assert all(record.problem is None for record in records), (row["path"], records)
        texts[row["path"]] = "".join(
            record.body.decode(record.charset or "utf-8", "replace")
            if not record.is_text
            else record.body.decode()
            for record in records
        )
    wanted = {name: text for name, text in texts.items() if "numbers" not in name}
    assert len(texts) == len(FILES) + 1  # the archive holds two texts
    for name, text in wanted.items():
        assert "学生" in text or "學生" in text or "café" in text or "page" in name, name
    assert "| Halden | 31000 |" in texts[str(folder / "numbers.tsv")]
    not_taken = {Path(row["path"]).name: row for row in read_jsonl(out / "not_taken.jsonl")}
    assert set(not_taken) == {*LEFT_OUT, "archive.zip!c.png"}
    assert not_taken["old.doc"]["hint"].startswith("save it as .docx")
    assert not_taken["chats.jsonl"]["kind"] == "dialogues"
    assert {name for name, row in not_taken.items() if row["is_bad"]} == BROKEN
    assert counts["files not taken"] == len(not_taken)


def test_tables_and_headings_of_office_files_keep_their_shape(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(word(CHINESE))
    (record,) = read_records(path, "docx")
    assert record.body.decode() == f"# 标题 Title\n\n{CHINESE}\n\n| 甲 | 乙 |"
    path = tmp_path / "a.xlsx"
    path.write_bytes(excel(CHINESE))
    (record,) = read_records(path, "xlsx")
    assert record.body.decode() == f"# Sheet\n\n| 名称 | 说明 |\n| 1.5 | {CHINESE} |"


@pytest.mark.parametrize("name", ["word.docx", "table.xlsx", "slides.pptx"])
def test_a_damaged_office_file_is_a_record_with_a_problem(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for cut in range(10, len(FILES[name]), max(1, len(FILES[name]) // 15)):
        path.write_bytes(FILES[name][:cut])
        (record,) = read_records(path, path.suffix[1:])
        assert record.problem == "malformed"


def test_more_broken_files_than_allowed_end_the_crawl_with_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.txt").write_bytes(b"" if number < 3 else CHINESE.encode())
    with pytest.raises(InputError, match=r"3 of 10 files are empty or damaged: .*0\.txt") as caught:
        crawl(folder, tmp_path / "out")
    assert caught.value.hint is not None
    assert "crawl.maximum_bad_files=3" in caught.value.hint
    counts, _ = crawl(folder, tmp_path / "again", maximum_bad_files=3)
    assert counts["files"] == 7


def test_an_archive_cannot_write_outside_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "evil.zip").write_bytes(zipped(**{"../../evil__txt": CHINESE.encode()}))
    counts, out = crawl(folder, tmp_path / "out")
    assert counts["files"] == 1
    assert not list(tmp_path.glob("*evil*"))
    assert all(path.is_relative_to(out) for path in out.rglob("*evil.txt"))


def test_a_zip_or_a_picture_named_as_text_is_a_record_with_a_problem(tmp_path: Path) -> None:
    for name in ("archive.zip", "photo.jpg"):
        path = tmp_path / f"{name}.txt"
        path.write_bytes({**FILES, **LEFT_OUT}[name])
        (record,) = read_records(path, "text")
        assert record.problem == "content_type"
        assert not record.body


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-8-sig", "utf-32"])
def test_a_text_is_the_same_record_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    rare = f"第一条　㐀𠮷龦鿏、朱镕基，{CHINESE}\n"
    records = []
    for codec in ("utf-8", encoding):
        (tmp_path / "法规 00（公司版）.txt").write_bytes(rare.encode(codec))
        (record,) = read_records(tmp_path / "法规 00（公司版）.txt", "text")
        records.append((record.body.decode(), record.is_text, record.problem))
    assert records[0] == records[1] == (rare, True, None)


def test_what_is_no_file_is_named_and_ends_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "深 层\n目录").mkdir(parents=True)
    (folder / "深 层\n目录" / "-rf 文.txt").write_text(CHINESE)
    (folder / "loop").symlink_to(folder)
    (folder / "gone.txt").symlink_to(folder / "nothing")
    (folder / "again.txt").symlink_to(folder / "深 层\n目录" / "-rf 文.txt")
    os.mkfifo(folder / "pipe")
    counts, out = crawl(folder, tmp_path / "out")
    assert counts["files"] == 2
    rows = read_jsonl(out / "not_taken.jsonl")
    assert {Path(row["path"]).name: row["kind"] for row in rows} == {
        "gone.txt": "broken link",
        "loop": "link to a folder",
        "pipe": "pipe, socket or device",
    }


def test_a_row_with_more_cells_than_the_header_is_a_record_with_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = ["id,text", f'1,"{CHINESE}\n说: ""对"""', "", "2,one, two", "3,three,,", "4"]
    path.write_text("\ufeff" + "\r\n".join(rows), newline="")
    records = list(read_records(path, "csv"))
    assert [record.problem for record in records] == [None, "malformed", None, "no_text"]
    assert records[0].body.decode() == f'{CHINESE}\n说: "对"'
    assert records[2].body == b"three"


def test_rows_of_json_that_hold_no_text_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"text": CHINESE}, ENGLISH, 3, None, {"body": "x"}]))
    records = list(read_records(path, "json"))
    problems = [record.problem for record in records]
    assert problems == [None, None, "no_text", "no_text", "no_text"]


WORDS = """
<w:p><w:r><w:t>注</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r></w:p>
<w:p><w:ins w:id="1" w:author="a"><w:r><w:t>插入</w:t></w:r></w:ins>
<w:del w:id="3" w:author="a"><w:r><w:delText>删除</w:delText></w:r></w:del></w:p>
<w:sdt><w:sdtContent><w:p><w:r><w:t>控件</w:t><w:tab/><w:t>里</w:t></w:r></w:p></w:sdtContent></w:sdt>
<w:p><w:r><w:ruby><w:rt><w:r><w:t>tóng</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>同</w:t></w:r>
</w:rubyBase></w:ruby></w:r><w:r><w:pict><w:txbxContent><w:p><w:r><w:t>文本框</w:t></w:r></w:p>
</w:txbxContent></w:pict></w:r></w:p>
<w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val="2"/></w:tcPr><w:p><w:r><w:t>合并</w:t></w:r></w:p>
<w:tbl><w:tr><w:tc><w:p><w:r><w:t>内表</w:t></w:r></w:p></w:tc></w:tr></w:tbl></w:tc></w:tr></w:tbl>
<w:p><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr><w:r><w:t>第一项</w:t></w:r></w:p>
"""


def test_words_that_word_keeps_apart_are_read(tmp_path: Path) -> None:
    """Footnotes, tracked insertions, content controls, text boxes, tables in tables."""
    plain = zipfile.ZipFile(io.BytesIO(word(CHINESE)))
    parts = {name: plain.read(name) for name in plain.namelist()}
    of_word = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"
    is_about = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"
    changes = {
        "word/document.xml": ("<w:sectPr", WORDS + "<w:sectPr"),
        "[Content_Types].xml": (
            "</Types>",
            f'<Override PartName="/word/footnotes.xml" ContentType="{of_word}"/></Types>',
        ),
        "word/_rels/document.xml.rels": (
            "</Relationships>",
            f'<Relationship Id="n" Type="{is_about}" Target="footnotes.xml"/></Relationships>',
        ),
    }
    for name, (old, new) in changes.items():
        assert old.encode() in parts[name]
        parts[name] = parts[name].replace(old.encode(), new.encode(), 1)
    notes = (
        '<w:footnotes xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
        '<w:footnote w:id="2"><w:p><w:r><w:t>出处</w:t></w:r></w:p></w:footnote></w:footnotes>'
    )
    parts["word/footnotes.xml"] = notes.encode()
    path = tmp_path / "a.docx"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    (record,) = read_records(path, "docx")
    assert record.body.decode().split("\n\n")[3:] == [
        "注[^2]", "插入", "控件\t里", "同", "文本框", "| 合并 | 内表 | |", "- 第一项", "[^2]: 出处",
    ]  # fmt: skip
