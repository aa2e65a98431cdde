"""Whether a run is going, as its report and its status page say it."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tongwen.cli.report import command
from tongwen.errors import InputError
from tongwen.files import write_json, write_jsonl
from tongwen.report.build import build_report, report_content
from tongwen.report.live import LivePage
from tongwen.report.run_files import RunFiles
from tongwen.report.state import read_state


@pytest.fixture
def made_run(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import made_run

    return made_run


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A run that this process is at work in."""
    (tmp_path / "stages").mkdir()
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(os.getpid()))
        lock.flush()
        yield tmp_path


def begin(run: Path, *events: dict[str, Any], recipe: str = "") -> None:
    (run / "stages").mkdir(parents=True, exist_ok=True)
    (run / "recipe.toml").write_text(f'tune = false\nextend = false\n{recipe}[run]\nname = "x"\n')
    write_jsonl(run / "events.jsonl", list(events))


def event(stage: str, kind: str, seconds: float, **more: Any) -> dict[str, Any]:
    return {"stage": stage, "event": kind, "time": seconds, **more}


def test_a_running_stage_says_how_far_it_is_and_since_when(held: Path) -> None:
    begin(
        held,
        event("crawl", "start", 100.0),
        event("crawl", "end", 103.0),
        event("curate", "start", 104.0),
    )
    write_json(
        held / "progress.json",
        {"stage": "curate", "label": "rules", "done": 30, "total": 120, "detail": "",
         "seconds_left": 9, "time": 160.0},
    )  # fmt: skip
    state = read_state(RunFiles.open(held), now=164.0)
    assert (state.status, state.stage, state.since, state.share) == (
        "running",
        "curate",
        104.0,
        0.25,
    )
    assert (state.label, state.seconds_left, state.seen) == ("rules", 9, 160.0)
    stages = {stage.name: stage for stage in state.stages}
    assert stages["curate"].seconds == 60.0
    assert "tune" not in stages


@pytest.mark.parametrize(
    ("last", "age", "status"),
    [
        (event("curate", "stopped", 50.0), 0, "stopped"),
        (event("curate", "failed", 50.0, reason="no space left"), 0, "failed"),
        (event("curate", "start", 50.0), 900, "lost"),
        (event("curate", "start", 50.0), 5, "running"),  # on another machine, and alive
    ],
)
def test_a_run_that_ended_says_how(
    tmp_path: Path, last: dict[str, Any], age: float, status: str
) -> None:
    begin(tmp_path, last)
    write_json(tmp_path / "progress.json", {"stage": "curate", "time": 1000.0 - age})
    state = read_state(RunFiles.open(tmp_path), now=1000.0)
    assert (state.status, state.reason) == (status, last.get("reason", ""))


def test_a_lock_whose_process_number_was_given_anew_holds_nothing(held: Path) -> None:
    begin(held, event("curate", "start", 50.0))
    os.utime(held / ".lock", (1.0, 1.0))
    assert read_state(RunFiles.open(held)).status == "lost"


def test_finished_and_paused_runs_are_told_apart(made_run: Any, tmp_path: Path) -> None:
    run = made_run.make_run(tmp_path / "run")
    assert read_state(RunFiles.open(run)).status == "finished"
    paused = made_run.make_run(tmp_path / "paused", without=("export",))
    assert read_state(RunFiles.open(paused)).status == "paused"


def test_the_folder_of_one_stage_alone_has_a_report(made_run: Any, tmp_path: Path) -> None:
    stage = made_run.make_run(tmp_path / "run") / "stages" / "pretrain"
    write_jsonl(
        stage / "events.jsonl", [event("pretrain", "start", 5.0), event("pretrain", "end", 9.0)]
    )
    content = report_content(stage)
    assert content["state"].status == "finished"
    assert [phase["training"].stage for phase in content["phases"]] == ["pretrain"]
    page = build_report(stage).read_text()
    assert "has not been run" not in page


def test_runs_are_drawn_over_one_another_and_numbered(made_run: Any, tmp_path: Path) -> None:
    runs = [made_run.make_run(tmp_path / name) for name in ("one", "two", "three")]
    metrics = runs[1] / "stages/pretrain/metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    write_jsonl(
        metrics, [{**row, "loss": row["loss"] + 1} if row.get("loss") else row for row in rows]
    )
    content = report_content(runs[0], runs[1:])
    (phase, *_) = (item["training"] for item in content["phases"])
    assert [course.name for course in phase.courses] == ["one", "two", "three"]
    assert phase.courses[1].last["loss"] == pytest.approx(phase.courses[0].last["loss"] + 1)
    loss = next(chart.drawing for chart in phase.charts if chart.key == "chart_loss")
    assert all(f'class="line run-{number}"' in loss for number in (1, 2, 3))
    keys = [chart.key for chart in phase.charts]
    assert keys[:3] == [
        "chart_loss",
        "chart_valid_en_bits_per_byte",
        "chart_valid_zh_bits_per_byte",
    ]


def test_the_same_report_in_markdown_escapes_what_is_data(made_run: Any, tmp_path: Path) -> None:
    run = made_run.make_run(tmp_path / "run")
    write_jsonl(
        run / "stages/pretrain/metrics.jsonl",
        [
            {"kind": "train", "step": 1, "tokens": 512, "loss": 2.5},
            {"kind": "sample", "step": 1, "tokens": 512, "prompt": "a|b", "text": made_run.HOSTILE},
        ],
    )
    build_report(run)
    english, chinese = ((run / name).read_text() for name in ("report.md", "report.zh.md"))
    assert english.startswith("# A 7.92 M-parameter model")
    assert "792 万" in chinese.splitlines()[0]
    assert "<script>" not in english.replace("\\<", "")
    assert "**a\\|b**" in english
    assert "| Quality rules: maximum\\_spam\\_share | 230 |" in english
    for text in (english, chinese):
        widths = {}
        for number, line in enumerate(text.splitlines()):
            if line.startswith("|"):
                widths[number] = line.replace("\\|", "").count("|")
        assert all(widths[n] == widths[n - 1] for n in widths if n - 1 in widths)


def test_the_figures_are_printed_as_json(made_run: Any, tmp_path: Path) -> None:
    run = made_run.make_run(tmp_path / "run")
    found = json.loads(CliRunner().invoke(command, [str(run), "--json"]).output)
    assert found["state"]["status"] == "finished"
    assert (found["pages"], found["documents"]) == (2000, 1304)
    assert found["training"]["pretrain"]["last"]["loss"] > 0
    assert found["seconds"]["curate"] == 21.0
    assert not (run / "report.html").exists()


async def ask(page: LivePage, path: str, query: str = "", method: str = "GET") -> tuple[int, bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "path": path, "method": method, "query_string": query.encode()}
    await page(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


def test_the_live_page_is_written_anew_only_when_the_run_has_changed(
    made_run: Any, tmp_path: Path, run_async: Any
) -> None:
    run = made_run.make_run(tmp_path / "run")
    page = LivePage([run])
    frame = run_async(ask(page, "/"))[1].decode()
    assert "sample" not in frame  # a figure of the run needs a key, where one is asked for
    first = json.loads(run_async(ask(page, "/status"))[1])
    assert "7.92 M" in first["html"]
    again = json.loads(run_async(ask(page, "/status", f"digest={first['digest']}"))[1])
    assert again["html"] is None
    write_jsonl(run / "events.jsonl", [event("export", "failed", time.time(), reason="why not")])
    changed = json.loads(run_async(ask(page, "/status", f"digest={first['digest']}"))[1])
    assert "why not" in changed["html"]
    assert run_async(ask(page, "/report.css"))[0] == 200
    assert run_async(ask(page, "/../pyproject.toml"))[0] == 404
    assert run_async(ask(page, "/status", method="POST"))[0] == 405
    with pytest.raises(InputError, match="not a run directory"):
        LivePage([tmp_path])
