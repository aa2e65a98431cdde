"""Repair: what was broken is mended, what was meant is left alone."""

import unicodedata

import pytest
from curate_texts import CHINESE, ENGLISH, redacted
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.curate.extract.lines import (
    REASONS,
    boilerplate_reason,
    is_boilerplate,
    line_cuts,
    remove_boilerplate,
)
from tongwen.curate.extract.repair import lost_characters, mojibake_characters, repair
from tongwen.curate.rules.personal import is_resident_id

FULL_WIDTH = "，。！？；：“”‘’（）《》【】「」『』、…—～・％＃＆＊＠ＡＢＣａｂｃ０１２３"


@settings(deadline=None)  # the first call compiles
@given(st.text(alphabet=FULL_WIDTH + "汉字ab1 \n", max_size=80))
def test_full_width_characters_are_never_changed(text: str) -> None:
    repaired = repair(text).text
    assert [c for c in repaired if c in FULL_WIDTH] == [c for c in text if c in FULL_WIDTH]


@settings(deadline=None)  # the first call compiles
@given(st.text(max_size=200))
def test_repair_gives_nfc_and_repairing_again_changes_nothing(text: str) -> None:
    once = repair(text.replace("&", "")).text
    assert unicodedata.is_normalized("NFC", once)
    assert repair(once).text == once


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, "👩‍👩‍👧 ❤️ emoji stay whole", "x = a &lt; b"])
def test_a_sound_text_stays_as_it_is(text: str) -> None:
    assert repair(text).text == text


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_utf_8_read_as_another_encoding_is_read_again(encoding: str) -> None:
    whole = "“naïve café” — 中文也能读回来"
    broken = whole.encode().decode(encoding, "replace" if encoding == "latin-1" else "ignore")
    if encoding == "cp1252":  # five bytes have no character there: take a text without them
        whole = "naïve café — déjà vu"
        broken = whole.encode().decode("cp1252")
    result = repair(broken)
    assert result.text == whole
    assert result.mended_sequences >= 1


def test_one_accented_pair_alone_may_be_meant() -> None:
    assert repair("The bytes Ã© are UTF-8 for é.").text == "The bytes Ã© are UTF-8 for é."


def test_invisible_characters_line_ends_and_blank_lines_are_tidied() -> None:
    result = repair("\ufeffone\u200b\u00ad\r\ntwo\x00  \r\r\n\r\n\r\nthree&nbsp;&#8212;&hellip;")
    assert result.text == "one\ntwo\n\nthree\u00a0—…"
    assert result.removed_characters == 4


def test_code_keeps_its_entities_and_blank_lines() -> None:
    text = "a = '&nbsp;'\n\n\n\nb = 1\n"
    assert repair(text, is_markup_free=False).text == text


def test_lost_characters_are_counted() -> None:
    assert lost_characters("a\ufffdb□c") == 2
    assert lost_characters("锟斤拷锟斤拷") == 6
    assert lost_characters(CHINESE) == 0


def test_bytes_of_another_encoding_are_recognized() -> None:
    wrong = "灯塔在北边，渔民在中间的村子里。这是他们的故事。".encode().decode("gbk", "ignore")
    assert mojibake_characters(wrong) > 0.2 * len(wrong)
    assert mojibake_characters("中文网页的编码很重要".encode("gbk").decode("latin-1")) == 20
    for sound in (ENGLISH, CHINESE, "对不起····", "瀛洲酒店", "Ångström, Żółć, naïve café"):
        assert mojibake_characters(sound) == 0


@pytest.mark.parametrize(
    "line",
    ["Share this on Twitter", "Log in", "© 2019 Harbour News. All rights reserved.", "3 comments",
     "Home | About us | News | Contact", "- Read more", "We use cookies to improve your visit.",
     "版权所有 © 海角日报", "京ICP备12345678号", "上一篇：灯塔", "分享到：", "登录 | 注册",
     "关注微信公众号", "首页 新闻 活动 关于我们 联系我们", "轉載請註明出處", "阅读(1234)"],
)  # fmt: skip
def test_lines_of_the_frame_are_recognized(line: str) -> None:
    assert is_boilerplate(line)


@pytest.mark.parametrize(
    "line",
    ["He shared the bread with everyone on the ship.",
     "登录这座岛的第一个人是渔民，他没有留下名字。", "The home of the keeper is a museum.",
     "我们在首页上读到了新闻。", "# 关于灯塔的故事", "", "| 首页 | 新闻 |"],
)  # fmt: skip
def test_lines_of_the_text_are_left_alone(line: str) -> None:
    assert not is_boilerplate(line)


def test_a_signature_under_every_comment_stays_once() -> None:
    text = "\n".join(f"Comment {n} has its own words.\nLife is a journey!" for n in range(4))
    cleaned = remove_boilerplate(text)
    assert cleaned.text.count("Life is a journey!") == 1
    assert cleaned.lines == 3
    assert cleaned.characters == 3 * len("Life is a journey!")
    assert all(f"Comment {n} " in cleaned.text for n in range(4))


def test_code_blocks_keep_lines_that_look_like_buttons() -> None:
    text = "Run this:\n```\nlogin\nlogin\nlogin\n```"
    assert remove_boilerplate(text).text == text


def test_personal_data_is_replaced_and_counted() -> None:
    text = (
        "写信给 li.lei+news@mail.example.cn，或打 138-1234-5678、+86 13912345678，"
        "证件 11010519491231002X。"
    )
    found, counts = redacted(text)
    assert found == "写信给 [email]，或打 [phone]、[phone]，证件 [resident-id]。"
    assert counts == {"email": 1, "phone": 2, "resident_id": 1}


def test_numbers_that_are_nobody_s_stay() -> None:
    text = "圆周率是3.14159265358979，编号 110105194912310021，订单 2013812345678，@keeper 说。"
    assert redacted(text)[0] == text


def test_the_check_digit_decides_whether_a_number_is_a_resident_s() -> None:
    assert is_resident_id("11010519491231002X")  # the example in the standard, GB 11643-1999
    assert not is_resident_id("110105194912310021")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("3 items in your cart", "counter"), ("1,204 likes", "counter"), ("2.4k views", "counter"),
        ("阅读 1234", "counter"), ("1.2万次播放", "counter"), ("12 条评论", "counter"),
        ("Please log in to comment", "button"), ("Please enable JavaScript", "notice"),
        ("请先登录后再评论", "button"), ("您的浏览器不支持播放视频", "notice"),
        ("京ICP备12345678号", "notice"), ("责任编辑：海角", "notice"), ("展开全文", "button"),
        ("Home News Contact About us", "menu"), ("首页 新闻 活动 关于我们", "menu"),
        ("LATEST NEWS FROM THE HARBOUR", "uppercase"), ("12:30 - 2019-05-03", "numbers"),
    ],
)  # fmt: skip
def test_each_line_is_cut_with_its_reason(line: str, reason: str) -> None:
    text = f"The keeper wrote it down.\n{line}\n渔民扛着木板上山。"
    cuts = line_cuts(text)
    assert [text[cut["start"] : cut["end"]] for cut in cuts] == [line + "\n"]
    assert REASONS[cuts[0]["reason"]] == reason
    cleaned = remove_boilerplate(text)
    assert cleaned.text == "The keeper wrote it down.\n渔民扛着木板上山。"
    assert (cleaned.lines, cleaned.characters, cleaned.reasons) == (1, len(line), {reason: 1})
    assert remove_boilerplate(text, frozenset(REASONS) - {reason}).text == text


@pytest.mark.parametrize(
    "line",
    ["# NEWS FROM THE HARBOUR", "NASA", "| 12 | 13 |", "## 2019", "1 + 1 = 2", "他有3个赞。",
     "They liked 3 comments about the sea.", "浏览器是一种软件，不支持离线的时候也能看书。"],
)  # fmt: skip
def test_lines_that_only_look_like_it_stay(line: str) -> None:
    assert len(line_cuts(f"The keeper wrote it down.\n{line}\n渔民上山。")) == 0


WORDS = (
    "home", "news", "about us", "contact", "3", "likes", "share", "this", "log in", "©", "2019",
    "policy", "read more", "cookies", "javascript", "tags:", "no", "comments", "the", "sea",
    "首页", "新闻", "登录", "阅读", "12", "版权所有", "更多", "灯塔", "：", "|", " ", "- ",
)  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=6), max_size=5), st.sampled_from(["", " "])
)
def test_the_first_pass_misses_no_line_that_the_patterns_know(
    rows: list[list[str]], space: str
) -> None:
    lines = [space.join(row) for row in rows]
    found = {cut["start"]: REASONS[cut["reason"]] for cut in line_cuts("\n".join(lines))}
    position = 0
    for line in lines:
        reason = boilerplate_reason(line)
        if reason is not None:
            assert found.get(position) == reason
        position += len(line) + 1


FORMULAS = (
    "当 $x_{1} < y & z$ 时，\n\n$$\\sum_{i=1}^{n} a_i \\\\ b$$\n\n"
    "```\nif (a && b) { c = '１';  }\n```"
)


def test_code_blocks_and_formulas_are_left_whole() -> None:
    assert repair(FORMULAS).text == FORMULAS
    assert remove_boilerplate(FORMULAS).text == FORMULAS
