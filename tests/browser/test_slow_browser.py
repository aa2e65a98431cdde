"""What is done on the chat page while its database is slow or an answer is being stopped."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

ANSWER = "article.assistant .content"
# The database opens, and documents are read from it, when the test calls `release()`.
HOLD = """
  const held = [];
  window.holds = held;
  window.release = () => held.splice(0).forEach((go) => go());
  const later = (real) => {
    const shown = {};
    real.onupgradeneeded = (event) => {
      shown.result = real.result;
      shown.onupgradeneeded(event);
    };
    real.onsuccess = () => held.push(() => {
      shown.result = real.result;
      shown.onsuccess();
    });
    return shown;
  };
  const { open } = IDBFactory.prototype;
  IDBFactory.prototype.open = function (...given) { return later(open.apply(this, given)); };
  const { get } = IDBObjectStore.prototype;
  IDBObjectStore.prototype.get = function (...given) {
    const request = get.apply(this, given);
    return this.name === "documents" ? later(request) : request;
  };
"""


def ask(page: Page, question: str) -> None:
    page.locator("#question").fill(question)
    page.locator("#question").press("Enter")


def finished(page: Page) -> None:
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")


def ask_root(page: Page, server: Any) -> None:
    """A conversation that is stored: a question with its answer."""
    server.may_continue.set()
    page.goto(server.url)
    ask(page, "Root")
    finished(page)


@pytest.fixture
def release(until: Any) -> Callable[[Page], None]:
    """Let what is held go on, once there is something."""

    def let_go(page: Page) -> None:
        until(page, "holds.length > 0")
        page.evaluate("release()")

    return let_go


def test_a_question_asked_before_the_database_is_open_goes_where_it_was_asked(
    page: Page, server: Any, release: Any
) -> None:
    ask_root(page, server)
    page.add_init_script(HOLD)
    page.reload()
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#welcome")).to_be_hidden()
    page.get_by_role("button", name="New chat").click()
    ask(page, "Elsewhere")
    assert len(server.requests) == 1
    release(page)
    finished(page)
    expect(page.locator("article.user .content")).to_have_text(["Elsewhere"])
    assert server.requests[1]["messages"] == [{"role": "user", "content": "Elsewhere"}]
    expect(page.locator("#history li")).to_have_count(2)


def test_a_page_left_before_its_database_was_open_still_returns_to_its_place(
    page: Page, server: Any, release: Any
) -> None:
    ask_root(page, server)
    page.locator("#question").fill("half a question")
    page.add_init_script(HOLD)
    page.reload()
    page.reload()
    page.locator("#question").press_sequentially("typed meanwhile")
    release(page)
    expect(page.locator("article.user .content")).to_have_text(["Root"])
    expect(page.locator("#question")).to_have_value("typed meanwhile")


def test_a_question_asked_before_its_document_is_read_is_sent_with_it(
    page: Page, server: Any, release: Any
) -> None:
    page.goto(server.url)
    document: Any = {
        "name": "a.txt",
        "mimeType": "text/plain",
        "buffer": b"The ferry leaves at nine.",
    }
    page.locator("#files").set_input_files(document)
    expect(page.locator("#attached button").first).to_be_visible()
    server.may_continue.set()
    ask(page, "First")
    finished(page)
    page.get_by_role("button", name="New chat").click()
    page.add_init_script(HOLD)
    page.reload()
    release(page)
    server.may_continue.clear()
    page.get_by_role("button", name="First", exact=True).click()
    ask(page, "Second")
    assert len(server.requests) == 1
    release(page)
    expect(page.locator(ANSWER)).to_have_text(["你好，world。", "你好，"])
    server.may_continue.set()
    expect(page.locator(ANSWER)).to_have_text(["你好，world。", "你好，world。"])
    first, second = server.requests
    assert "The ferry leaves at nine." in first["messages"][0]["content"]
    assert second["messages"][0] == first["messages"][0]


def test_a_question_asked_while_the_last_one_is_being_stopped_takes_its_place(
    page: Page, server: Any
) -> None:
    server.answers = [["", "never seen"]]
    page.goto(server.url)
    ask(page, "One")
    expect(page.locator(ANSWER)).to_have_count(1)
    page.evaluate(
        """() => {
          const question = document.getElementById("question");
          const press = (key) =>
            question.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
          press("Escape");
          question.value = "Two";
          press("Enter");
        }"""
    )
    server.may_continue.set()
    expect(page.locator(ANSWER)).to_have_text(["你好，world。"])
    expect(page.locator("article.user .content")).to_have_text(["Two"])
    finished(page)
    assert server.requests[-1]["messages"] == [{"role": "user", "content": "Two"}]
    expect(page.locator("#question")).to_have_value("")
