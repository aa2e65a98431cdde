"""The report in a real browser, opened as a file."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tongwen.report.build import build_report

pytestmark = pytest.mark.browser


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "report"))
    from made_run import make_run

    return build_report(make_run(tmp_path / "run"))


def test_the_report_opens_from_a_file_and_asks_for_nothing(
    page: Page, report: Path, watch: Any
) -> None:
    page.goto(report.as_uri())
    expect(page.get_by_role("heading", level=1)).to_contain_text("7.92 M-parameter model")
    expect(page.locator(".chart svg").first).to_be_visible()
    assert page.title() == "sample · Tongwen 同文"
    assert watch.requested == [report.as_uri()]
    assert watch.complaints == []


def test_the_report_changes_language_and_remembers_it(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    expect(page.get_by_role("heading", name="Training")).to_be_visible()
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("heading", name="训练", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Training")).to_be_hidden()
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_contain_text("792 万")


def test_a_reason_in_the_funnel_leads_to_its_examples(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    page.locator("summary", has_text="Pages, characters and tokens").click()
    page.get_by_role("link", name="maximum_spam_share").click()
    expect(page.get_by_text("澳门娱乐 首页")).to_be_visible()
