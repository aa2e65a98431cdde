"""Take the pictures of README: a run's report and a conversation with its model.

    tongwen run recipes/own-documents.toml
    python tools/pictures.py runs/own-documents --ask 介绍一下微调。

Writes docs/images/report.png and docs/images/chat.png with Debian's chromium, without a window and
without the network. Without --ask the picture of the chat is left as it is.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from playwright.sync_api import Browser, expect, sync_playwright

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
_PATIENCE_SECONDS = 900.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--ask", action="append", default=[], help="a question for the picture")
    parser.add_argument("--only-chat", action="store_true", help="leave the report's picture")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("error: chromium is not installed")
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        if not arguments.only_chat:
            picture_of_report(browser, arguments.run / "report.html")
        if arguments.ask:
            picture_of_chat(browser, arguments.run, arguments.ask)
        browser.close()


def picture_of_report(browser: Browser, report: Path) -> None:
    """The top of the report, in English: headline, tiles and funnel."""
    page = browser.new_page(viewport={"width": 1_100, "height": 900}, locale="en-GB")
    page.goto(report.resolve().as_uri())
    page.screenshot(path=IMAGES / "report.png")
    page.close()


def picture_of_chat(browser: Browser, run: Path, questions: Sequence[str]) -> None:
    """The chat page after the questions, as the model of the run answers them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    command = [sys.executable, "-m", "tongwen", "serve", str(run), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/health")
        page = browser.new_page(viewport={"width": 1_100, "height": 480}, locale="en-GB")
        page.goto(address)
        for question in questions:
            page.get_by_label("Your question").fill(question)
            page.keyboard.press("Enter")
            expect(page.get_by_role("button", name="Stop")).to_be_hidden(timeout=120_000)
            expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false", timeout=120_000)
        page.screenshot(path=IMAGES / "chat.png")
        page.close()
    finally:
        server.terminate()
        server.wait()


def wait_for(address: str) -> None:
    """Until the server answers."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            if httpx.get(address).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise SystemExit(f"error: {address} does not answer")


if __name__ == "__main__":
    main()
