"""Report, status page and chat as people see them: wide and narrow, light and dark, both languages.

axe-core (MPL-2.0, from the package axe-playwright-python) looks for barriers.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tongwen.cli.listening import bind
from tongwen.files import write_jsonl
from tongwen.report.build import build_report
from tongwen.report.live import LivePage
from tongwen.serve.access import LOOPBACK_HOSTS, Guard

pytestmark = pytest.mark.browser

LOOKS = (
    (1280, "light", "en-US"),
    (1280, "dark", "zh-CN"),
    (390, "light", "zh-CN"),
    (390, "dark", "en-US"),
)
_SMALLEST_TEXT = """() => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let least = [Infinity, ""];
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const holder = node.parentElement;
    const box = holder.getBoundingClientRect();
    if (!node.textContent.trim() || !box.width || !box.height) continue;
    if (["SCRIPT", "STYLE", "TITLE", "title"].includes(holder.tagName)) continue;
    const scale = holder.closest("svg")?.getScreenCTM().a ?? 1;
    const size = parseFloat(getComputedStyle(holder).fontSize) * scale;
    if (size < least[0]) least = [size, node.textContent.trim().slice(0, 40)];
  }
  return least;
}"""


@pytest.fixture(params=LOOKS, ids=["-".join(map(str, look)) for look in LOOKS])
def look(chromium: Browser, watch: Any, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, scheme, locale = request.param
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, locale=locale
    )
    page = context.new_page()
    watch.over(page)
    yield page
    context.close()


def inspect(page: Page, watch: Any) -> None:
    """No barrier that axe calls serious, no text below 12 px, nothing wider than the screen."""
    found = Axe().run(page).response["violations"]
    serious = [
        (item["id"], item["nodes"][0]["html"][:200])
        for item in found
        if item["impact"] in ("serious", "critical")
    ]
    assert serious == []
    size, text = page.evaluate(_SMALLEST_TEXT)
    assert size >= 11.99, text
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    assert watch.complaints == []


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "report"))
    from made_run import make_run

    made: Path = make_run(tmp_path / "run")
    with (made / "stages/pretrain/metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(
            '{"kind": "sample", "step": 1, "tokens": 512, "prompt": "金田镇", "text": "在"}\n'
        )
    return made


@pytest.fixture
def served(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The status page of the run, behind the fences of the chat page."""
    monkeypatch.setattr("tongwen.report.live._WAIT_SHARE", 0)  # a busy machine is slow, not long
    application = Guard(LivePage([run]), keyring=None, hosts=LOOPBACK_HOSTS)
    with bind("127.0.0.1", 0) as listener:
        config = uvicorn.Config(application, log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        for _ in range(600):
            if server.started:
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(timeout=30)


def test_the_report_has_no_barriers(look: Page, watch: Any, run: Path) -> None:
    look.goto(build_report(run, [run]).as_uri())
    look.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    inspect(look, watch)


def test_a_table_that_goes_on_can_be_scrolled_by_key(page: Page, run: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(build_report(run).as_uri())
    scrolling = page.locator(".wide[tabindex='0']:visible")
    expect(scrolling.first).to_be_visible()
    assert "linear-gradient" in scrolling.first.evaluate("box => getComputedStyle(box).background")


def test_the_report_prints_without_its_bar_and_in_dark_ink(
    chromium: Browser, run: Path, tmp_path: Path
) -> None:
    context = chromium.new_context(color_scheme="dark", locale="en-US")
    page = context.new_page()
    page.goto(build_report(run).as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator(".top nav")).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.pdf(format="A4").startswith(b"%PDF")
    context.close()


def test_the_status_page_follows_the_run(page: Page, served: str, run: Path) -> None:
    page.goto(served)
    status = page.locator(".status")
    expect(status).to_contain_text("All 11 stages are done.")
    page.locator("summary", has_text="As a table").first.click()
    write_jsonl(
        run / "events.jsonl",
        [{"stage": "export", "event": "failed", "time": time.time(), "reason": "no <space> left"}],
    )
    (run / "stages/export/manifest.json").unlink()
    expect(status).to_contain_text("during Export: no <space> left")
    expect(page.locator("details[open] table").first).to_be_visible()  # what was open stays open


def test_the_status_page_has_no_barriers(look: Page, watch: Any, served: str) -> None:
    look.goto(served)
    expect(look.locator("h1")).to_be_visible()
    inspect(look, watch)


def test_pages_of_other_sites_may_not_read_the_status(page: Page, served: str) -> None:
    for header in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        answer = page.request.get(f"{served}status", headers=header)
        assert answer.status == 403


def test_the_chat_page_has_no_barriers(look: Page, watch: Any, server: Any) -> None:
    look.goto(server.url)
    expect(look.get_by_role("textbox").first).to_be_visible()
    inspect(look, watch)
