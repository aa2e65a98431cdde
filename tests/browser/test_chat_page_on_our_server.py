"""The chat page served by our own server, with a small model of random weights."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(small_model_folder: Path) -> Iterator[str]:
    import uvicorn

    from tongwen.serve.app import Server
    from tongwen.serve.engine import Engine
    from tongwen.serve.settings import ServeSettings
    from tongwen.serve.source import load_served_model

    settings = ServeSettings(max_tokens=40)
    served = load_served_model(small_model_folder, quantized=False, settings=settings)
    engine = Engine(served.model, served.tokenizer, served.stop_ids)
    application = Server(engine, "small", settings, has_chat=True).application(
        api_key=None, hosts=None
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(application, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(timeout=60)
    engine.close()


def test_an_answer_of_the_model_arrives_and_is_counted(
    page: Page, address: str, watch: Any
) -> None:
    page.goto(address)
    expect(page.locator("#model")).to_have_text("small")
    page.get_by_label("Your question").fill("The road is long. 路很长。")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    expect(page.locator("#gauge-text")).to_contain_text("/ 128 tokens")
    assert not page.locator("#gauge-text").inner_text().startswith("0 /")
    assert {url[: len(address)] for url in watch.requested} == {address}
    assert watch.complaints == []


def test_a_question_beyond_the_window_is_refused_with_both_numbers(
    page: Page, address: str
) -> None:
    page.goto(address)
    expect(page.locator("#model")).to_have_text("small")
    page.get_by_label("Your question").fill("路很长。" * 200)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("tokens; this model reads 128.")
    expect(page.locator("#question")).to_have_value("路很长。" * 200)
