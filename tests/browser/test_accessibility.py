"""Axe (Deque's rules for WCAG) finds nothing serious on the chat page."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser

WIDTHS = [1280, 390]
CALL = {
    "id": "call_1", "name": "notes__add", "arguments": '{"text": "路"}', "status": "completed",
    "result": "done",
}  # fmt: skip
ANSWER = [
    "# 标题\n\nA [link](https://example.org), `code` and $E = mc^2$.\n\n",
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\ndef f(x):\n    return 'a'  # 注\n```\n\n",
    "- [x] done\n- [ ] open\n\n“The ferry leaves at nine.” “Nobody said this anywhere.”\n",
]


# Transitions change colours. Those that never end only pulse.
SETTLED = """document.getAnimations().every(
  (one) => one.playState === "finished" || one.effect.getComputedTiming().endTime === Infinity)"""


def serious(page: Page, where: str) -> list[str]:
    """Violations that axe calls serious or critical, with the elements."""
    found = Axe().run(page).response["violations"]
    return [
        f"{where}: {one['id']} {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("language", "theme"), [("en-US", "light"), ("zh-CN", "dark")])
def test_axe_finds_nothing_serious(
    chromium: Browser, server: Any, until: Any, width: int, language: str, theme: Any
) -> None:
    server.may_continue.set()
    server.pieces = ANSWER
    server.calls = [CALL]
    server.servers = [{"server_label": "notes", "tools": []}]
    context = chromium.new_context(
        locale=language, color_scheme=theme, viewport={"width": width, "height": 800}
    )
    page = context.new_page()
    found = []
    with page.expect_response("**/mcp-servers"):
        page.goto(server.url)
    until(page, SETTLED)
    found += serious(page, "empty")

    document = b"The ferry leaves at nine.\n\n" * 40
    files: Any = {"name": "ferry.txt", "mimeType": "text/plain", "buffer": document}
    page.locator("#files").set_input_files(files)
    expect(page.locator("#attached button").first).to_be_visible()
    page.locator("#question").fill("When does it leave? 几点？")
    until(page, SETTLED)
    found += serious(page, "draft")
    page.keyboard.press("Enter")
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")
    expect(page.locator("article.assistant math")).to_have_count(1)
    page.locator(".calls summary").click()
    until(page, SETTLED)
    found += serious(page, "answer")

    page.locator("article.user .chips button").first.click()
    expect(page.locator("#reader")).to_be_visible()
    until(page, SETTLED)
    found += serious(page, "document")
    page.locator("#close-reader").click()
    if width < 700:
        page.locator("#toggle-sidebar").click()
    until(page, SETTLED)
    found += serious(page, "conversations")
    page.locator("#open-settings").click()
    page.locator("#compares").check()
    until(page, SETTLED)
    found += serious(page, "settings")
    page.keyboard.press("Escape")
    page.locator("#model").click()
    until(page, SETTLED)
    found += serious(page, "about")
    context.close()
    assert found == []
