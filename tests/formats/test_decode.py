"""Bytes become the text their author wrote, whatever the server and the page say about them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.formats.charset.decode import decode, prescan
from tongwen.formats.charset.encodings import codec_of

SIMPLIFIED = (
    "我们的城市在春天很美，河边的柳树发了新芽。学校的老师和学生一起去山上植树，"
    "他们说这是一年中最好的时候。朱镕基、陶喆的名字也要写对。"
)
TRADITIONAL = (
    "我們的城市在春天很美，河邊的柳樹發了新芽。學校的老師和學生一起去山上種樹，"
    "他們說這是一年中最好的時候。這個問題應該怎麼回答呢？"
)
ENGLISH = "The café on Müller Street sells “naïve” jam – £3 a jar."
JAPANESE = "春になると、川のそばの柳が芽を出します。学校の先生と生徒が山に木を植えました。"
KOREAN = "우리 도시는 봄에 아름답습니다. 학교의 선생님과 학생들이 함께 산에 나무를 심었습니다."
RUSSIAN = "Наш город весной очень красив, и на деревьях у реки появились новые листья."


def page(text: str, charset: str | None = None) -> str:
    meta = f'<meta charset="{charset}">' if charset else ""
    return f"<html><head>{meta}<title>t</title></head><body><p>{text}</p></body></html>"


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (SIMPLIFIED, "gb18030"),
        (SIMPLIFIED, "utf-8"),
        (TRADITIONAL, "big5hkscs"),
        (TRADITIONAL, "gb18030"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "iso2022_jp"),
        (KOREAN, "cp949"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (ENGLISH, "cp1252"),
        (SIMPLIFIED, "utf-16-le"),
        (SIMPLIFIED, "utf-16-be"),
    ],
)
def test_undeclared_text_is_read_by_what_its_bytes_look_like(text: str, codec: str) -> None:
    decoded = decode(page(text).encode(codec), "")
    assert decoded.text == page(text)
    assert (decoded.encoding, decoded.how, decoded.replaced_characters) == (codec, "detected", 0)


@pytest.mark.parametrize("text", [SIMPLIFIED, "😀 emoji，标点。", ENGLISH])
@pytest.mark.parametrize(
    ("http", "meta", "how"),
    [("utf-8", "gbk", "http"), ("", "UTF-8", "meta"), ("nonsense", "utf-8", "meta")],
)
def test_the_header_counts_before_the_page(text: str, http: str, meta: str, how: str) -> None:
    body = page(text, meta).encode()
    assert (decode(body, http).text, decode(body, http).how) == (page(text, meta), how)


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_a_mark_at_the_beginning_counts_most(codec: str) -> None:
    decoded = decode(page(SIMPLIFIED, "gb2312").encode(codec), "big5")
    assert (decoded.text, decoded.how) == (page(SIMPLIFIED, "gb2312"), "bom")


@pytest.mark.parametrize(
    ("text", "codec", "declared"),
    [
        (SIMPLIFIED, "gb18030", "iso-8859-1"),
        (SIMPLIFIED, "gb18030", "utf-8"),
        (SIMPLIFIED, "gb18030", "big5"),
        (TRADITIONAL, "big5hkscs", "gb2312"),
        (TRADITIONAL, "big5hkscs", "utf-8"),
        (TRADITIONAL, "big5hkscs", "windows-1252"),
        (SIMPLIFIED, "utf-8", "gbk"),
        (TRADITIONAL, "utf-8", "big5"),
        (SIMPLIFIED, "utf-8", "iso-8859-1"),
        (ENGLISH, "utf-8", "iso-8859-1"),
        (ENGLISH, "cp1252", "utf-8"),
    ],
)
def test_a_wrong_declaration_is_not_believed(text: str, codec: str, declared: str) -> None:
    for body, http in (
        (page(text).encode(codec), declared),
        (page(text, declared).encode(codec), ""),
    ):
        decoded = decode(body, http)
        assert text in decoded.text
        assert (decoded.encoding, decoded.how) == (codec, "detected")


def test_gb2312_means_gb18030_so_that_rare_names_are_right() -> None:
    decoded = decode(page("朱镕基和陶喆", "gb2312").encode("gb18030"), "GB2312")
    assert "朱镕基和陶喆" in decoded.text
    assert decoded.encoding == "gb18030"


def test_a_few_damaged_bytes_do_not_change_the_encoding() -> None:
    body = page(SIMPLIFIED * 3).encode("gb18030") + b"\xff\xff<p>"
    decoded = decode(body, "gbk")
    assert decoded.encoding == "gb18030"
    assert decoded.how == "http"
    assert decoded.text.startswith(page(SIMPLIFIED * 3))
    assert decoded.replaced_characters == decoded.text.count("\ufffd") > 0


@pytest.mark.parametrize(
    ("head", "codec"),
    [
        (b"<meta charset=gbk>", "gb18030"),
        (b"<META content='text/html; charset = big5 ' http-equiv=Content-Type>", "big5hkscs"),
        (b'<meta http-equiv="content-type" content="text/html;charset=&quot">', None),
        (b'<meta name="description" content="charset=gbk">', None),
        (b'<!-- <meta charset="gbk"> --><meta charset="euc-kr">', "cp949"),
        (b'<div title="<meta charset=gbk>"><meta charset="koi8-r">', "koi8_r"),
        (b'<meta charset="x"><meta charset="utf-16">', "utf-8"),
        (b'<?xml version="1.0" encoding="GB2312"?>', "gb18030"),
        (b'<body><meta charset="gbk">', None),
        (b'<meta data-charset="gbk" / charset  =  "Shift_JIS"', "cp932"),
        (b"<meta", None),
        (b"", None),
    ],
)
def test_the_declaration_in_a_page_is_found_where_browsers_find_it(
    head: bytes, codec: str | None
) -> None:
    assert prescan(head) == codec


def test_labels_mean_what_the_standard_says() -> None:
    expected = {
        " Latin1 ": "cp1252",
        "GB_2312-80": "gb18030",
        "x-x-big5": "big5hkscs",
        "ISO-8859-9": "cp1254",
        "tis-620": "cp874",
        "ks_c_5601-1987": "cp949",
        "unicode": "utf-16-le",
        "iso-2022-kr": None,
        "": None,
    }
    assert {label: codec_of(label) for label in expected} == expected
    for label in ("utf8", "gbk", "big5", "sjis", "iso-8859-16", "x-mac-ukrainian", "866"):
        codec = codec_of(label)
        assert codec is not None
        b"a".decode(codec)


@given(st.binary(max_size=400), st.sampled_from(["", "utf-8", "gbk", "big5", "sjis", "junk", "\0"]))
def test_no_bytes_raise(body: bytes, charset: str) -> None:
    decoded = decode(body, charset)
    assert decoded.replaced_characters <= len(decoded.text)


@given(st.text(max_size=200), st.sampled_from(["utf-8", "gb18030"]))
def test_what_is_declared_rightly_comes_back_unchanged(text: str, codec: str) -> None:
    whole = page(SIMPLIFIED + text, codec)
    body = whole.encode(codec, "ignore")
    assert decode(body, codec).text == body.decode(codec)
