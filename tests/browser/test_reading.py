"""What the chat page does with documents, formulas, branches, two tabs and two models."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser

ANSWER = "article.assistant .content"
BOOK = (
    "第一章\n\n"
    + "".join(f"The {n}th mile of the road ran along the river. 路很长。\n\n" for n in range(400))
    + "The ferryman asked for two coins\nand would not take one.\n\n"
    + "渡口的船夫只收两枚铜钱，不肯少收。\n\n"
    + "".join(f"After the ferry came village {n}.\n\n" for n in range(400))
)
SIZES = [{"width": 1280, "height": 800}, {"width": 390, "height": 844}]


def ask(page: Page, question: str) -> None:
    page.locator("#question").fill(question)
    page.locator("#question").press("Enter")


def finished(page: Page) -> None:
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")


def attach(page: Page, name: str = "book.md", text: str = BOOK) -> None:
    file: Any = {"name": name, "mimeType": "text/plain", "buffer": text.encode()}
    page.locator("#files").set_input_files(file)


def attached(page: Page) -> Locator:
    """The first document that has been read: while it is, its chip holds no button."""
    return page.locator("#attached .chip button").first


@pytest.mark.parametrize("size", SIZES, ids=["wide", "narrow"])
def test_a_quotation_jumps_to_its_place_in_the_document(
    page: Page, server: Any, watch: Any, until: Any, size: Any
) -> None:
    server.context_tokens = 100_000
    server.may_continue.set()
    server.answers = [
        [
            "He wanted “two **coins** and would not take one”, the book says.\n\n",
            "> 渡口的船夫只收两枚铜钱，不肯少收。\n\n",
            "It does not say “the ferryman was a king in disguise”.",
        ]
    ]
    page.set_viewport_size(size)
    page.goto(server.url)
    attach(page)
    expect(attached(page)).to_contain_text("book.md")
    expect(page.locator("#gauge-text")).to_contain_text(f"{len(BOOK):,} /")
    ask(page, "What did the ferryman ask for?")
    finished(page)

    sent = server.requests[0]["messages"][0]["content"]
    assert BOOK in sent
    assert sent.endswith("What did the ferryman ask for?")
    expect(page.locator(".quote.missing")).to_have_text("“the ferryman was a king in disguise”")
    signs = page.get_by_role("button", name="Show in book.md")
    expect(signs).to_have_count(2)
    for place, passage in enumerate(
        ["two coins\nand would not take one", "渡口的船夫只收两枚铜钱，不肯少收。"]
    ):
        signs.nth(place).click()
        expect(page.locator("#reader-place")).to_contain_text("at ")
        found = page.evaluate("[...CSS.highlights.get('passage')][0].toString()")
        assert found.rstrip("。") == passage.rstrip("。")
        until(
            page,
            """() => {
              const box = [...CSS.highlights.get("passage")][0].getBoundingClientRect();
              const frame = document.getElementById("reader-text").getBoundingClientRect();
              return box.top >= frame.top && box.bottom <= frame.bottom;
            }""",
        )
        page.keyboard.press("Escape")
        expect(page.locator("#reader")).to_be_hidden()
    assert {url[: len(server.url)] for url in watch.requested} == {server.url}
    assert watch.complaints == []


def test_what_comes_before_and_with_a_document_never_changes(page: Page, server: Any) -> None:
    server.context_tokens = 100_000
    server.may_continue.set()
    page.goto(server.url)
    attach(page)
    expect(attached(page)).to_be_visible()
    ask(page, "First?")
    finished(page)
    ask(page, "再问？")
    finished(page)
    page.get_by_role("button", name="中文").click()
    page.reload()
    ask(page, "Third?")
    finished(page)
    first, second, third = (body["messages"] for body in server.requests)
    assert second[: len(first)] == first
    assert third[: len(second)] == second


def test_the_page_says_in_its_language_why_a_document_cannot_be_read(
    page: Page, server: Any, watch: Any
) -> None:
    page.goto(server.url)
    attach(page, "a.pdf", "%PDF-locked")
    expect(page.get_by_role("alert")).to_contain_text("It is protected by a password.")
    page.get_by_role("button", name="中文").click()
    attach(page, "a.pdf", "%PDF-locked")
    expect(page.get_by_role("alert")).to_contain_text("文档有密码保护。")
    expect(page.locator("#attached")).to_be_hidden()


def test_formulas_code_and_tasks_are_drawn_without_any_request(
    page: Page, server: Any, watch: Any
) -> None:
    server.may_continue.set()
    server.pieces = [
        r"质能方程$E = mc^2$是，it costs $5 or $10, \(a_1\) and `$x$`.",
        "\n\n$$\n\\int_0^1 x\\,dx = \\frac{1}{2}\n$$\n\n- [x] done **it**\n- [ ] open\n\n",
        "$$\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}$$\n\n",
        "$\\href{javascript:alert(1)}{x}$\n\n",
        "```python\ndef f(x):\n    return 'a'\n```\n",
    ]
    page.goto(server.url)
    ask(page, "Maths")
    finished(page)
    answer = page.locator(ANSWER)
    expect(answer.locator("math")).to_have_count(5)
    expect(answer.locator("math[display=block]")).to_have_count(2)
    expect(answer.locator("mfrac")).to_have_count(1)
    expect(answer.locator("p").first).to_contain_text("it costs $5 or $10,")
    expect(answer.locator("code").first).to_have_text("$x$")
    expect(answer.locator("li.task.done")).to_have_text("☑ done it")
    expect(answer.locator(".hljs-keyword").first).to_have_text("def")
    assert answer.locator("[href^=javascript]").count() == 0
    assert answer.evaluate("e => e.querySelectorAll('[style]').length") == 0
    assert {url[: len(server.url)] for url in watch.requested} == {server.url}
    assert watch.complaints == []


def test_a_cut_answer_is_continued_where_it_ended(page: Page, server: Any) -> None:
    server.may_continue.set()
    server.finish = "length"
    server.answers = [["The road is "], ["long."]]
    page.goto(server.url)
    ask(page, "How is the road?")
    finished(page)
    server.finish = "stop"
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(ANSWER)).to_have_text("The road is long.")
    finished(page)
    body = server.requests[1]
    assert body["messages"][-1] == {"role": "assistant", "content": "The road is "}
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False
    expect(page.get_by_role("button", name="Continue")).to_have_count(0)


def test_two_tabs_never_lose_what_the_other_wrote(page: Page, server: Any) -> None:
    server.may_continue.set()
    page.goto(server.url)
    ask(page, "Root")
    finished(page)
    other = page.context.new_page()
    other.goto(server.url)
    other.get_by_role("button", name="Root", exact=True).click()
    expect(other.locator(ANSWER)).to_have_text("你好，world。")
    server.answers = [["to the first tab"], ["to the second tab"]]
    ask(page, "From the first tab")
    finished(page)
    ask(other, "From the second tab")
    finished(other)
    expect(page.get_by_role("alert")).to_contain_text("Another tab went on")

    third = page.context.new_page()
    third.goto(server.url)
    third.get_by_role("button", name="Root", exact=True).click()
    expect(third.locator(ANSWER)).to_have_text(["你好，world。", "to the second tab"])
    third.locator("article.user").nth(1).hover()
    third.get_by_role("button", name="Earlier version").click()
    expect(third.locator(ANSWER)).to_have_text(["你好，world。", "to the first tab"])
    third.on("dialog", lambda dialog: dialog.accept())
    third.locator("#history li").hover()
    third.get_by_role("button", name="Delete “Root”").click()
    expect(page.locator("#history li")).to_have_count(0)
    expect(page.get_by_role("alert")).to_contain_text("was deleted in another tab")


def test_reloading_keeps_the_place_the_draft_and_a_broken_answer(page: Page, server: Any) -> None:
    server.may_continue.set()
    server.pieces = ["\n\n".join(f"Line {n}" for n in range(200))]
    page.goto(server.url)
    ask(page, "Long")
    finished(page)
    page.locator("#scroller").evaluate("e => (e.scrollTop = 1500)")
    page.locator("#question").fill("half a question")
    attach(page, "a.txt", "some text")
    expect(attached(page)).to_contain_text("a.txt")
    page.reload()
    expect(page.locator("#question")).to_have_value("half a question")
    expect(attached(page)).to_contain_text("a.txt")
    expect(page.locator(ANSWER)).to_contain_text("Line 199")
    assert abs(page.locator("#scroller").evaluate("e => e.scrollTop") - 1500) < 3
    server.may_continue.clear()
    server.pieces = ["begun ", "never seen"]
    ask(page, "Broken by the reload")
    expect(page.locator(ANSWER).nth(1)).to_have_text("begun")
    page.reload()
    expect(page.locator(ANSWER).nth(1)).to_have_text("begun")
    expect(page.get_by_text("The answer broke off.")).to_be_visible()
    expect(page.get_by_role("button", name="Continue")).to_be_visible()


def test_two_answers_are_written_side_by_side_and_one_is_chosen(page: Page, server: Any) -> None:
    server.may_continue.set()
    page.goto(server.url)
    page.get_by_role("button", name="Settings").click()
    page.locator("#preset").select_option("exact")
    expect(page.locator("#temperature")).to_have_value("0")
    page.get_by_label("Two answers side by side").check()
    page.locator("#second-preset").select_option("free")
    page.get_by_label("Server of the second answer").fill(server.url.rstrip("/"))
    page.get_by_role("button", name="Done").click()
    ask(page, "Twice")
    finished(page)
    expect(page.locator(".pair article")).to_have_count(2)
    sampled = [(body["temperature"], body.get("top_p")) for body in server.requests]
    assert sorted(sampled, key=str) == [(0, None), (1, 0.95)]
    first, second = (page.locator(".pair article").nth(n).bounding_box() for n in (0, 1))
    assert first is not None
    assert second is not None
    assert first["x"] + first["width"] <= second["x"]
    page.get_by_role("button", name="Go on with this").click()
    expect(page.locator(".pair article").nth(0)).to_contain_text("Go on with this")
    expect(page.locator(".pair article").nth(1)).not_to_contain_text("Go on with this")


def test_conversations_are_found_renamed_and_brought_back(
    page: Page, server: Any, tmp_path: Path
) -> None:
    server.may_continue.set()
    page.goto(server.url)
    for question in ("Rivers", "Mountains"):
        page.get_by_role("button", name="New chat").click()
        ask(page, question)
        finished(page)
    page.keyboard.press("Control+k")
    page.keyboard.type("rivers")
    expect(page.locator("#history li")).to_have_count(1)
    page.locator("#history li").hover()
    page.get_by_role("button", name="Rename “Rivers”").click()
    page.get_by_label("Title of the conversation").fill("水 Water")
    page.keyboard.press("Enter")
    page.locator("#search").fill("水")
    page.get_by_role("button", name="水 Water", exact=True).click()
    page.get_by_text("Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    file = tmp_path / "water.json"
    download.value.save_as(file)
    page.locator("#search").fill("")
    page.locator("#import-files").set_input_files(file)
    expect(page.get_by_role("button", name="水 Water", exact=True)).to_have_count(2)
    expect(page.locator(ANSWER)).to_have_text("你好，world。")
    wrong: Any = {"name": "x.json", "mimeType": "application/json", "buffer": b'{"a": 1}'}
    page.locator("#import-files").set_input_files(wrong)
    expect(page.get_by_role("alert")).to_contain_text("x.json is not a conversation")


def test_conversations_of_the_first_version_are_taken_over(page: Page, server: Any) -> None:
    old = {
        "id": "old1",
        "changed": 1,
        "tokens": 9,
        "messages": [
            {"role": "user", "content": "An old question"},
            {"role": "assistant", "versions": [{"content": "one"}, {"content": "two"}], "shown": 1},
        ],
    }
    page.goto(server.url)
    page.evaluate("value => localStorage.setItem('tongwen.chat.old1', value)", json.dumps(old))
    page.reload()
    page.get_by_role("button", name="An old question", exact=True).click()
    expect(page.locator(ANSWER)).to_have_text("two")
    page.get_by_role("button", name="Earlier version").click()
    expect(page.locator(ANSWER)).to_have_text("one")
    assert page.evaluate("localStorage.getItem('tongwen.chat.old1')") is None


def test_reading_a_long_prompt_shows_how_far_it_is(page: Page, server: Any) -> None:
    server.progress = (0, 15_000)
    page.goto(server.url)
    server.answers = [["", "later"]]
    ask(page, "Read")
    expect(page.locator(".progress")).to_contain_text("Reading 15,000 of 45,000 tokens, about")
    server.may_continue.set()
    expect(page.locator(ANSWER)).to_have_text("later")
    expect(page.locator(".progress")).to_have_count(0)
    assert server.requests[0]["return_progress"] is True


def test_the_time_left_counts_that_later_tokens_cost_more(page: Page, server: Any) -> None:
    page.goto(server.url)
    for square in (0, 1e-8):
        left = page.evaluate(
            """async (square) => {
              const { secondsLeft } = await import("./exchange.js");
              const seconds = (tokens) => 3 + 1e-4 * tokens + square * tokens ** 2;
              const readings = [1_000, 4_000, 8_000, 12_000, 20_000].map((tokens) => (
                { tokens, seconds: seconds(tokens) }
              ));
              return [secondsLeft(readings.slice(0, 1), 90_000), secondsLeft(readings, 90_000)];
            }""",
            square,
        )
        expected = 1e-4 * 70_000 + square * (90_000**2 - 20_000**2)
        assert left == [None, pytest.approx(expected)]


def test_the_model_is_introduced_and_asked_one_of_three_questions(page: Page, server: Any) -> None:
    server.may_continue.set()
    page.goto(server.url)
    expect(page.locator("#welcome-model")).to_contain_text("21M parameters")
    page.get_by_role("button", name="About tongwen-sample").click()
    expect(page.locator("#about-card td").first).to_have_text("layers 层数")
    page.keyboard.press("Escape")
    expect(page.locator("#questions button")).to_have_count(3)
    page.locator("#questions button").first.click()
    finished(page)
    assert "sky" in server.requests[0]["messages"][0]["content"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_is_chosen_whatever_the_system_prefers(
    page: Page, server: Any, theme: str
) -> None:
    page.emulate_media(color_scheme="dark" if theme == "light" else "light")
    page.goto(server.url)
    page.get_by_role("button", name="Settings").click()
    page.locator("#theme").select_option(theme)
    page.get_by_role("button", name="Done").click()
    page.reload()
    colour = page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
    assert colour == ("rgb(250, 248, 243)" if theme == "light" else "rgb(25, 23, 20)")
