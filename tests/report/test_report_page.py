"""The report of a made-up run, read as a file."""

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from tongwen.errors import InputError
from tongwen.files import read_json, write_json, write_jsonl
from tongwen.report import saving
from tongwen.report.build import build_report
from tongwen.report.funnel import GROUPS, build_funnel
from tongwen.report.problems import build_problems, problems_text
from tongwen.report.run_files import RunFiles


@pytest.fixture
def made_run(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import made_run

    return made_run


class Page(HTMLParser):
    """Tags with their attributes, and the visible text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_texts_from_outside_stay_texts(made_run: Any, tmp_path: Path) -> None:
    page = Page(build_report(made_run.make_run(tmp_path / "run")))
    assert page.text.count(made_run.HOSTILE) > 5
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 1
    assert "img" not in names
    assert "{{ 7 * 7 }}" in page.text


def test_the_page_asks_for_nothing_and_allows_only_its_own_script(
    made_run: Any, tmp_path: Path
) -> None:
    page = Page(build_report(made_run.make_run(tmp_path / "run")))
    for _, attributes in page.tags:
        assert "src" not in attributes
        assert "style" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    policy = next(
        attributes["content"]
        for _, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-\S+'; script-src 'sha256-\S+'; "
        r"base-uri 'none'; form-action 'none'",
        policy,
    )


def test_every_link_leads_somewhere(made_run: Any, tmp_path: Path) -> None:
    page = Page(build_report(made_run.make_run(tmp_path / "run")))
    anchors = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(anchors) == len(set(anchors))
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert links <= {f"#{anchor}" for anchor in anchors}


def test_the_figures_of_the_run_are_on_the_page(made_run: Any, tmp_path: Path) -> None:
    text = Page(build_report(made_run.make_run(tmp_path / "run"))).text
    for figure in (
        "7.92 M", "792 万", "6 min 18 s", "2,000", "1,304", "65.2 %", "98.4 %", "93.5 %", "88.2 %",
        "0.21 > 0.04", "12 < 50", "15.1 MiB", "+8 %", "-6 %", "2026-11-18",
    ):  # fmt: skip
        assert figure in text, figure
    assert "tongwen serve" in text


@pytest.mark.parametrize(
    "without",
    [("export",), ("evaluate",), ("curate",), ("pretrain", "extend", "tune"), ("quantize",),
     ("plan",), ("encode",)],
)  # fmt: skip
def test_a_stage_that_is_missing_is_named_and_costs_nothing_else(
    made_run: Any, tmp_path: Path, without: tuple[str, ...]
) -> None:
    page = Page(build_report(made_run.make_run(tmp_path / "run", without=without)))
    shown = {*without} - {"export", "encode"}  # these have no section of their own
    for stage in shown:
        assert f"The stage {stage.capitalize()} has not been run" in page.text
    assert page.text.count("has not been run") == len(shown)


def test_an_empty_run_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    assert "has just begun" in Page(build_report(tmp_path)).text


def test_a_damaged_file_is_named_and_the_rest_is_shown(made_run: Any, tmp_path: Path) -> None:
    run = made_run.make_run(tmp_path / "run")
    (run / "stages" / "curate" / "score.json").write_text('{"good":', encoding="utf-8")
    with (run / "stages" / "tune" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 245, "lo')  # a run that was killed while it wrote
    text = Page(build_report(run)).text
    assert "stages/curate/score.json" in text
    assert "stages/tune" not in text
    assert "1,304" in text


def test_a_step_that_ran_again_after_a_kill_counts_once(made_run: Any, tmp_path: Path) -> None:
    run = made_run.make_run(tmp_path / "run")
    metrics = run / "stages" / "pretrain" / "metrics.jsonl"
    before = Page(build_report(run)).source
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join([*lines[:200], *lines[150:]]))
    assert Page(build_report(run)).source == before


def test_the_funnel_balances_in_every_language_and_stage(made_run: Any, tmp_path: Path) -> None:
    stages = made_run.make_run(tmp_path / "run") / "stages"
    funnel = build_funnel(
        read_json(stages / "curate" / "funnel.json"), read_json(stages / "encode" / "shards.json")
    )
    assert (funnel.unaccounted_pages, funnel.unaccounted_characters) == (0, 0)
    for group in (*GROUPS, "all"):
        left = funnel.read[group].pages
        for step in funnel.steps:
            left -= step.dropped[group].pages
            assert step.remaining[group].pages == left
            assert sum(reason.amounts[group].pages for reason in step.reasons) == (
                step.dropped[group].pages
            )
        assert left == funnel.kept[group].pages
    assert funnel.kept["all"].tokens == pytest.approx(861_000)


def test_a_funnel_that_does_not_balance_says_so(made_run: Any, tmp_path: Path) -> None:
    run = made_run.make_run(tmp_path / "run")
    path = run / "stages" / "curate" / "funnel.json"
    data = read_json(path)
    data["read"]["pages"] += 7
    write_json(path, data)
    text = Page(build_report(run)).text
    assert "The sums do not balance: 7 pages" in text
    assert "The sums balance" not in text


def test_the_same_files_give_the_same_page(made_run: Any, tmp_path: Path) -> None:
    run = made_run.make_run(tmp_path / "run")
    assert build_report(run).read_bytes() == build_report(run).read_bytes()


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run directory"):
        build_report(tmp_path)


def test_the_command_prints_the_path(made_run: Any, tmp_path: Path) -> None:
    from tongwen.cli.report import command

    run = made_run.make_run(tmp_path / "run")
    result = CliRunner().invoke(command, [str(run)])
    assert result.output == f"{run / 'report.html'}\n"


def test_each_rule_shows_what_lies_outside_its_threshold(made_run: Any, tmp_path: Path) -> None:
    page = build_report(made_run.make_run(tmp_path / "run")).read_text(encoding="utf-8")
    histogram = page.partition("<code>minimum_words</code></td><td>50</td>")[2].partition("</svg>")[
        0
    ]
    # Outside, dropped by this rule alone, their characters, good pages outside, all.
    assert "<td>35</td><td>21</td><td>" in histogram
    assert "<td>2</td><td>900</td>" in histogram
    assert histogram.count('<rect class="ink"') + histogram.count('<rect class="taken"') == 5
    assert "<code>extract</code> 83.3 %" in page


def test_files_with_problems_are_named_with_their_reasons(made_run: Any, tmp_path: Path) -> None:
    run = made_run.make_run(tmp_path / "run")
    assert "None: every file was read to its end." in Page(build_report(run)).text
    images = [{"path": f"{n}.png", "kind": "image", "hint": "", "is_bad": False} for n in range(22)]
    write_jsonl(
        run / "stages" / "crawl" / "not_taken.jsonl",
        [*images, {"path": "c/empty.txt", "kind": "empty file", "hint": "whole?", "is_bad": True}],
    )
    write_jsonl(
        run / "stages" / "curate" / "bad_files.jsonl",
        [{"path": f"{made_run.HOSTILE}{n}.warc.gz", "hint": "download it again",
          "kind": f"/data/{made_run.HOSTILE}{n}.warc.gz is damaged"} for n in range(2)],
    )  # fmt: skip
    problems = build_problems(RunFiles(run))
    found = [(one.stage, one.reason, len(one.names), one.not_shown) for one in problems]
    assert found == [
        ("curate", "is damaged", 2, 0), ("crawl", "empty file", 1, 0), ("crawl", "image", 22, 2),
    ]  # fmt: skip
    assert problems_text(problems) == (
        f"3 files could not be read whole: {made_run.HOSTILE}0.warc.gz, "
        f"{made_run.HOSTILE}1.warc.gz, c/empty.txt"
    )
    text = Page(build_report(run)).text
    for shown in ("c/empty.txt", "19.png", "and 2 more", "另有 2 个", "download it again",
                  "有问题的文件", "Files with problems"):  # fmt: skip
        assert shown in text, shown
    assert ", 20.png" not in text


def test_a_terabyte_is_projected_only_from_enough_pages(made_run: Any, tmp_path: Path) -> None:
    run = made_run.make_run(tmp_path / "run")
    page = build_report(run).read_text(encoding="utf-8")
    assert "about 1,000 hours of one worker" in page  # 36 s for 10 MB
    path = run / "stages" / "curate" / "funnel.json"
    funnel = read_json(path)
    for row in (*funnel["kept"], *funnel["dropped"]):
        row["pages"] = 1
    write_json(path, funnel)
    assert "hours of one worker" not in build_report(run).read_text(encoding="utf-8")


def test_proofs_of_the_documents_are_shown_and_linked_and_a_damaged_one_is_named(
    made_run: Any, tmp_path: Path
) -> None:
    run = made_run.make_run(tmp_path / "run")
    found = {"difference": {"value": -0.05, "reach": 0.01}, "agreement": {"spearman": 0.9}}
    proof = {"title": made_run.HOSTILE, "languages": {"en": found, "zh": found}}
    write_json(run / "proofs" / "score quality" / "proof.json", proof)
    write_json(run / "proofs" / "broken" / "proof.json", {"languages": 3})
    page = Page(build_report(run))
    links = [attributes.get("href") for tag, attributes in page.tags if tag == "a"]
    assert links.count("proofs/score%20quality/proof.md") == 2
    assert "-0.0500 ± 0.0100" in page.text
    assert "proofs/broken/proof.json" in page.text
    assert "<script>document" not in page.source


@pytest.mark.parametrize(
    ("optimizer", "parameters", "is_said"),
    [("muon", 500_000, True), ("adamw", 500_000, False), ("muon", 50_000_000, False)],
)
def test_what_the_baseline_would_have_cost_is_said_only_of_sizes_that_were_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, optimizer: str, parameters: int, is_said: bool
) -> None:
    measured = [{"parameters": size, "ratio": ratio, "counts": True}
                for size, ratio in ((4e5, 1.9), (4e6, 1.6))]  # fmt: skip
    baseline = [{"parameters": 4e5, "flops": 2.5, "cpu_seconds": 3.0},
                {"parameters": 4e6, "flops": 1.7, "cpu_seconds": 2.0}]  # fmt: skip
    ledger = {"muon": measured, "baseline": baseline}
    monkeypatch.setattr(saving.json, "loads", lambda text: ledger)
    monkeypatch.setattr(saving, "model_parameters", lambda folder: parameters)
    monkeypatch.setattr(RunFiles, "manifests", {"pretrain": SimpleNamespace(seconds=100.0)})
    (tmp_path / "stages").mkdir()
    (tmp_path / "recipe.toml").write_text(f'[pretrain]\noptimizer = "{optimizer}"\n')
    said = saving.build_saving(RunFiles.open(tmp_path))
    assert (said is not None) == is_said
    if said is not None:
        assert "1.60–1.90 times the FLOPs" in said.english
        assert "3 min 20 s to 5 min 00 s in place of the 1 min 40 s" in said.english
        assert "400,000" in said.english or "400 K" in said.english
