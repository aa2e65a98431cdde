"""The chat page in a real browser, against a server that the test paces."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

ANSWER = "article.assistant .content"


def ask(page: Page, question: str) -> None:
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")


def press_enter(page: Page, **event: Any) -> None:
    """Send the box a key event as the browser does while an input method is open."""
    page.locator("#question").evaluate(
        """(box, event) => {
          const init = { key: "Enter", bubbles: true, cancelable: true, ...event };
          box.dispatchEvent(new KeyboardEvent("keydown", init));
        }""",
        event,
    )


def test_text_is_on_the_page_before_the_answer_ends(page: Page, server: Any, watch: Any) -> None:
    page.goto(server.url)
    ask(page, "你好吗？")

    expect(page.locator(ANSWER)).to_have_text("你好，")
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "true")
    assert not server.may_continue.is_set()

    server.may_continue.set()
    expect(page.locator(ANSWER)).to_have_text("你好，world。")
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#gauge-text")).to_have_text("1,234 / 2,048 tokens")
    assert server.requests[0]["stream_options"] == {"include_usage": True}
    assert watch.complaints == []


@pytest.mark.parametrize("by", ["button", "escape"])
def test_stop_ends_the_request_and_keeps_what_came(page: Page, server: Any, by: str) -> None:
    server.endless = True
    page.goto(server.url)
    ask(page, "Count for ever")
    expect(page.locator(ANSWER)).to_contain_text("字字")
    if by == "button":
        page.get_by_role("button", name="Stop").click()
    else:
        page.keyboard.press("Escape")

    assert server.reader_has_gone.wait(timeout=60)
    expect(page.get_by_text("Stopped.")).to_be_visible()
    expect(page.locator(ANSWER)).to_contain_text("字字")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_enter_belongs_to_the_input_method_until_it_has_ended(page: Page, server: Any) -> None:
    server.may_continue.set()
    page.goto(server.url)
    box = page.locator("#question")
    box.fill("你好")
    box.dispatch_event("compositionstart")
    press_enter(page, isComposing=True, keyCode=229)  # chooses a candidate
    press_enter(page, isComposing=True, keyCode=13)
    box.dispatch_event("compositionend")
    press_enter(page, isComposing=False, keyCode=229)  # Safari: after the composition
    page.keyboard.press("Shift+Enter")
    expect(box).to_have_value("你好\n")
    assert server.requests == []

    page.keyboard.press("Enter")
    expect(page.locator(ANSWER)).to_have_text("你好，world。")
    assert [body["messages"] for body in server.requests] == [[{"role": "user", "content": "你好"}]]


def test_escape_of_the_input_method_does_not_stop_an_answer(page: Page, server: Any) -> None:
    server.endless = True
    page.goto(server.url)
    ask(page, "Count")
    expect(page.locator(ANSWER)).to_contain_text("字字")
    press_enter(page, key="Escape", isComposing=True, keyCode=229)
    assert not server.reader_has_gone.wait(timeout=0.3)
    page.keyboard.press("Escape")
    assert server.reader_has_gone.wait(timeout=60)


def test_the_interface_changes_language_and_remembers_it(page: Page, server: Any) -> None:
    page.goto(server.url)
    expect(page.get_by_role("button", name="New chat")).to_be_visible()
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("button", name="新对话")).to_be_visible()
    expect(page.locator("#question")).to_have_attribute("placeholder", "输入问题")
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    page.reload()
    expect(page.get_by_role("button", name="新对话")).to_be_visible()


def test_the_language_can_change_while_an_answer_is_written(page: Page, server: Any) -> None:
    page.goto(server.url)
    ask(page, "Hello")
    expect(page.locator(ANSWER)).to_have_text("你好，")
    page.get_by_role("button", name="中文").click()
    expect(page.locator("article.user")).to_have_attribute("aria-label", "您")
    server.may_continue.set()
    expect(page.locator(ANSWER)).to_have_text("你好，world。")
    expect(page.get_by_role("button", name="重新生成")).to_be_visible()


def test_the_interface_follows_the_browsers_language(chromium: Any, server: Any) -> None:
    context = chromium.new_context(locale="zh-CN")
    page = context.new_page()
    page.goto(server.url)
    expect(page.get_by_role("button", name="新对话")).to_be_visible()
    context.close()


def test_a_question_beyond_the_context_is_refused_with_numbers_and_kept(
    page: Page, server: Any
) -> None:
    page.goto(server.url)
    ask(page, "x" * 3000)
    expect(page.get_by_role("alert")).to_contain_text("need 3,000 tokens; this model reads 2,048")
    expect(page.locator("#question")).to_have_value("x" * 3000)
    expect(page.locator("article")).to_have_count(0)


def test_markdown_is_right_in_chinese_and_nothing_in_it_can_act(
    page: Page, server: Any, watch: Any
) -> None:
    server.pieces = [
        "**真，**她说。\n\n",
        "<img src=http://elsewhere.invalid/a.png onerror=alert(1)><script>alert(2)</script>\n\n",
        "![picture](http://elsewhere.invalid/b.png) [link](javascript:alert(3))\n\n",
        "| a | b |\n|--:|---|\n| 1 | 2 |\n\n```\n代码\n```\n",
    ]
    server.may_continue.set()
    page.goto(server.url)
    ask(page, "Markdown")
    answer = page.locator(ANSWER)
    expect(answer.locator("pre")).to_have_text("代码\n")
    expect(answer.locator("strong")).to_have_text("真，")
    expect(answer.locator("th").first).to_have_attribute("align", "right")
    expect(answer).to_contain_text("<script>alert(2)</script>")
    assert answer.locator("img, script, a[href^=javascript]").count() == 0
    assert {url[: len(server.url)] for url in watch.requested} == {server.url}
    assert watch.complaints == []


def test_a_growing_answer_ends_as_the_same_page_as_a_whole_one(page: Page, server: Any) -> None:
    source = "# 标题\n\n1. 一\n\n2. **二，**two\n   - x\n\n> 引\n\n```py\na\n\nb\n```\n\n尾 *end*\n"
    server.pieces = list(source)
    server.may_continue.set()
    page.goto(server.url)
    ask(page, "Piece by piece")
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    grown = page.locator(ANSWER).inner_html()
    page.reload()
    page.get_by_role("button", name="Piece by piece", exact=True).click()
    assert page.locator(ANSWER).inner_html().replace("\n", "") == grown.replace("\n", "")


def test_regenerating_keeps_both_versions(page: Page, server: Any) -> None:
    server.may_continue.set()
    page.goto(server.url)
    ask(page, "Again")
    expect(page.locator(ANSWER)).to_have_text("你好，world。")
    server.pieces = ["another"]
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator(ANSWER)).to_have_text("another")
    page.get_by_role("button", name="Earlier version").click()
    expect(page.locator(ANSWER)).to_have_text("你好，world。")
    assert len(server.requests) == 2
    assert server.requests[0]["messages"] == server.requests[1]["messages"]


def test_an_edited_question_is_another_branch_and_both_stay(page: Page, server: Any) -> None:
    server.may_continue.set()
    page.goto(server.url)
    ask(page, "First")
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    server.answers = [["to the follow-up"], ["to the second"]]
    ask(page, "Follow-up")
    expect(page.locator(ANSWER).nth(1)).to_have_text("to the follow-up")
    page.locator("article.user").first.hover()
    page.locator("article.user").first.get_by_role("button", name="Edit").click()
    expect(page.locator("#question")).to_have_value("First")
    ask(page, "Second")
    expect(page.locator("article.user .content")).to_have_text(["Second"])
    expect(page.locator(ANSWER)).to_have_text(["to the second"])
    assert server.requests[2]["messages"] == [{"role": "user", "content": "Second"}]
    page.locator("article.user").hover()
    page.get_by_role("button", name="Earlier version").click()
    expect(page.locator("article.user .content")).to_have_text(["First", "Follow-up"])
    page.reload()
    expect(page.locator("article.user .content")).to_have_text(["First", "Follow-up"])


def test_settings_are_sent_and_survive_a_reload(page: Page, server: Any) -> None:
    server.may_continue.set()
    page.goto(server.url)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("请简短回答。")
    page.get_by_label("Temperature").fill("0.7")
    page.get_by_label("Longest answer").fill("64")
    page.get_by_role("button", name="Done").click()
    page.reload()
    ask(page, "Hi")
    expect(page.locator(ANSWER)).to_have_text("你好，world。")
    body = server.requests[0]
    assert body["messages"][0] == {"role": "system", "content": "请简短回答。"}
    assert (body["temperature"], body["max_tokens"]) == (0.7, 64)


def test_conversations_are_kept_and_exported(page: Page, server: Any) -> None:
    server.may_continue.set()
    page.goto(server.url)
    ask(page, "林川在哪里？")
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    page.reload()
    page.get_by_role("button", name="林川在哪里？", exact=True).click()
    expect(page.locator(ANSWER)).to_have_text("你好，world。")

    exported = {}
    for kind in ("Markdown", "JSON"):
        if not page.get_by_role("button", name=kind).is_visible():
            page.get_by_text("Export").click()
        with page.expect_download() as download:
            page.get_by_role("button", name=kind).click()
        exported[kind] = Path(download.value.path()).read_text(encoding="utf-8")
    assert "你好，world。" in exported["Markdown"]
    assert json.loads(exported["JSON"])["messages"] == [
        {"role": "user", "content": "林川在哪里？"},
        {"role": "assistant", "content": "你好，world。"},
    ]


def test_a_server_that_has_gone_is_named_and_the_question_kept(page: Page, server: Any) -> None:
    page.goto(server.url)
    expect(page.locator("#model")).to_have_text("tongwen-sample")
    page.route("**/v1/chat/completions", lambda route: route.abort("connectionrefused"))
    ask(page, "Still there?")
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    expect(page.locator("#question")).to_have_value("Still there?")


def test_text_is_copied_where_the_browser_offers_no_clipboard(page: Page, server: Any) -> None:
    """As on plain http in a local network; the loopback address counts as secure."""
    server.may_continue.set()
    page.add_init_script(
        """Object.defineProperty(window, "isSecureContext", { value: false });
        document.addEventListener("copy", () => (window.copied = getSelection().toString()));"""
    )
    page.goto(server.url)
    ask(page, "Copy me")
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    page.locator("article.assistant").get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("window.copied") == "你好，world。"
