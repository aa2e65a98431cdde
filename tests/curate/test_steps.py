"""The whole stage with the user's lists, scorers, labels, test sets and mix, and several edits."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from curate_runs import Curated, InlineRunner, write_crawl
from curate_texts import story
from hostile import html, response, warc_record

from tongwen.curate.contamination.settings import BenchmarkSettings, ContaminationSettings
from tongwen.curate.mix.settings import MixSettings
from tongwen.curate.scorers.options import TrainingOptions
from tongwen.curate.scorers.training import TrainingFiles, train_scorer
from tongwen.curate.settings import CurateSettings, EnglishRules
from tongwen.errors import InputError, RecipeError
from tongwen.files import read_jsonl, write_jsonl

CurateFunction = Callable[..., Curated]
_SMALL = TrainingOptions(bucket_bits=10, epochs=4, clusters=2, fewest_pieces=10)
_QUESTION = (
    "If Marta carries fourteen crates of plums from the harbour to the market every morning and "
    "sells half of them before noon, how many crates are left after three days of work?"
)
_LEDGER = (
    "The ferryman of the lower crossing kept a ledger of every cart, every goat and every bishop "
    "that he had rowed over the water, and he read it aloud to nobody in particular."
)
_FRAME = "The harbour gazette of the old press has the tides and the ships of this week."
_LAW = {"river": "statute", "window": "verdict", "letter": "clause", "winter": "appeal",
        "garden": "contract", "teacher": "lawyer", "engine": "penalty", "stone": "trial",
        "village": "judge", "music": "evidence", "forest": "tribunal", "island": "plaintiff",
        "history": "defendant", "captain": "witness", "table": "jury", "planet": "court",
}  # fmt: skip
_LOOSE: dict[str, Any] = {f"maximum_repeated_{size}_gram_share": None for size in range(5, 11)}
"""The stories are made of four frames."""


def law(seed: int) -> str:
    """A story in the words of a court."""
    text = story(seed, "en")
    for old, new in _LAW.items():
        text = text.replace(old, new)
    return text


def english(*seeds: int) -> list[str]:
    return [story(seed, "en") for seed in seeds]


def web(folder: Path, pages: Mapping[str, str]) -> Path:
    """A crawl of one WARC file."""
    folder.mkdir()
    data = [warc_record(url.encode(), response(html(text))) for url, text in pages.items()]
    (folder / "pages.warc.gz").write_bytes(b"".join(data))
    return folder


def rules(curated: Curated) -> list[str | None]:
    return [row["drop_rule"] for row in curated.rows("attributes")]


def texts(curated: Curated) -> list[str]:
    return [row["text"] for row in curated.rows("documents")]


def trained(folder: Path, kind: str) -> Path:
    """A scorer of stories (good) and of court stories (bad)."""
    files = []
    for name, rows in (("good", english(*range(500, 560))), ("bad", map(law, range(600, 660)))):
        write_jsonl(folder / f"{name}.jsonl", [{"text": text, "lang": "en"} for text in rows])
        files.append(folder / f"{name}.jsonl")
    given = (
        TrainingFiles(reference=files[:1], against=files[1:])
        if kind == "quality"
        else TrainingFiles(reference=files)
    )
    train_scorer(kind, given, folder / kind, _SMALL)
    return folder / kind


def test_pages_of_blocked_domains_are_dropped_unread_with_their_category(
    tmp_path: Path, curate: CurateFunction
) -> None:
    pages = {
        "http://bets.example/1": story(1, "en"),
        "http://www.bets.example/2": story(2, "en"),
        "http://kind.bets.example/3": story(3, "en"),
        "http://notbets.example/4": story(4, "en"),
    }
    crawl = web(tmp_path / "web", pages)
    (tmp_path / "gambling.txt").write_text("# ours\nbets.example\n", encoding="utf-8")
    (tmp_path / "kind.txt").write_text("kind.bets.example\n", encoding="utf-8")
    listed = CurateSettings(
        blocked_domains=(str(tmp_path / "gambling.txt"),),
        allowed_domains=(str(tmp_path / "kind.txt"),),
        english=EnglishRules(**_LOOSE),
    )
    rows = curate(crawl, settings=listed).rows("attributes")
    gone = ("address", "blocked_domain:gambling")
    assert [(row["drop_stage"], row["drop_rule"]) for row in rows] == [
        gone, gone, (None, None), (None, None),
    ]  # fmt: skip
    assert [row["characters"] or 0 for row in rows[:2]] == [0, 0]
    unlisted = replace(listed, blocked_domains=())
    assert (
        rules(curate(crawl, settings=unlisted)) == [None] * 4
    )  # another list reads these pages again


def test_the_quality_scorer_drops_what_it_finds_improbable(
    tmp_path: Path, curate: CurateFunction
) -> None:
    crawl = write_crawl(tmp_path, {"a": [*english(1, 2, 3), law(4), law(5), law(6)]})
    scorer = trained(tmp_path, "quality")
    settings = CurateSettings(
        rules_for_texts="pages",
        scorers=(str(scorer),),
        english=EnglishRules(minimum_quality=0.5, **_LOOSE),
    )
    rows = curate(crawl, settings=settings).rows("attributes")
    assert [row["drop_rule"] for row in rows] == [None] * 3 + ["minimum_quality"] * 3
    assert {row["drop_stage"] for row in rows[3:]} == {"scores"}
    assert all(row["drop_value"] == row["quality"] < 0.5 for row in rows[3:])
    off = replace(settings, english=EnglishRules(**_LOOSE))
    again = curate(crawl, settings=off)
    assert rules(again) == [None] * 6
    assert "decide/00000" in again.ran
    assert "score/00000" not in again.ran


def test_a_rule_whose_scorer_is_not_named_is_refused(
    tmp_path: Path, curate: CurateFunction
) -> None:
    crawl = write_crawl(tmp_path, {"a": english(1)})
    with pytest.raises(RecipeError, match="names no scorer"):
        CurateSettings(english=EnglishRules(minimum_quality=0.5, **_LOOSE))
    settings = CurateSettings(
        scorers=(str(trained(tmp_path, "clusters")),),
        english=EnglishRules(minimum_quality=0.5, **_LOOSE),
    )
    runner = InlineRunner()
    with pytest.raises(RecipeError, match="needs a quality scorer") as caught:
        curate(crawl, settings=settings, runner=runner)
    assert "train-scorer quality" in str(caught.value.hint)
    with pytest.raises(InputError, match="no clusters scorer"):
        curate(crawl, settings=CurateSettings(cluster_labels="labels.jsonl"), runner=runner)
    assert runner.ran == []  # said before any work


def test_clusters_that_the_user_labelled_drop_are_dropped(
    tmp_path: Path, curate: CurateFunction
) -> None:
    crawl = write_crawl(tmp_path, {"a": [*english(1, 2, 3), law(4), law(5), law(6)]})
    scorer = trained(tmp_path, "clusters")
    settings = CurateSettings(scorers=(str(scorer),))
    clusters = [row["cluster"] for row in curate(crawl, settings=settings).rows("attributes")]
    assert set(clusters) == {0, 1}
    dropped = clusters[5]
    labels = [
        {**row, "label": "drop" if row["cluster"] == dropped else "keep"}
        for row in read_jsonl(scorer / "clusters.jsonl")
    ]
    write_jsonl(tmp_path / "labels.jsonl", labels)
    settings = replace(settings, cluster_labels=str(tmp_path / "labels.jsonl"))
    assert rules(curate(crawl, settings=settings)) == [
        "cluster_label" if cluster == dropped else None for cluster in clusters
    ]


def test_test_items_are_cut_or_their_documents_dropped_and_reported(
    tmp_path: Path, curate: CurateFunction
) -> None:
    write_jsonl(tmp_path / "crates.jsonl", [{"question": _QUESTION}])
    long = " ".join(["The old puzzle goes like this.", _QUESTION, story(3, "en")])
    part = " ".join(["She asked:", " ".join(_QUESTION.split()[:17]) + ".", story(4, "en")])
    crawl = write_crawl(tmp_path, {"a": [*english(1), long, part]})
    benchmark = BenchmarkSettings(
        name="crates", path=str(tmp_path / "crates.jsonl"), fields=("question",)
    )
    settings = CurateSettings(contamination=ContaminationSettings(benchmarks=(benchmark,)))
    curated = curate(crawl, settings=settings)
    rows = curated.rows("attributes")
    assert [row["drop_stage"] for row in rows] == [None, "contamination", None]
    assert rows[2]["contamination_characters"] >= 17 * 3
    assert "crates of plums" not in "".join(texts(curated))
    assert story(4, "en")[-200:] in texts(curated)[1]
    report = curated.json("contamination.json")
    assert (report["dropped"], report["cut"]) == (1, 1)
    assert report["benchmarks"][0]["items_found"] == 1
    assert report["benchmarks"][0]["places"] == ["crates.jsonl:1"]
    curate(crawl)  # the same folder, without test sets
    assert not (curated.folder / "contamination.json").exists()


def test_the_mix_gives_shares_in_another_order_and_says_what_it_gave(
    tmp_path: Path, curate: CurateFunction
) -> None:
    chinese = [story(seed, "zh") for seed in range(100)]
    crawl = write_crawl(tmp_path, {"en": english(*range(100)), "zh": chinese})
    plain = texts(curate(crawl, "plain"))
    mix = MixSettings(tokens=30_000, shares={"en": 3, "zh": 1})
    mixed = curate(crawl, "mixed", settings=CurateSettings(mix=mix))
    report = mixed.json("mix.json")
    tokens = {name: group["tokens_given"] for name, group in report["groups"].items()}
    assert sum(tokens.values()) == report["tokens_given"] == pytest.approx(30_000, rel=0.1)
    wanted = {name: group["tokens_wanted"] for name, group in report["groups"].items()}
    assert wanted == {"en": 22_500, "zh": 7_500}
    assert 2 < tokens["en"] / tokens["zh"] < 5  # whole documents, few of them
    found = texts(mixed)
    assert len(found) == report["documents_given"]
    assert set(found) <= set(plain)
    places = [plain.index(text) for text in found]
    assert places != sorted(places)
    assert len(mixed.rows("attributes")) == 200  # what the mix leaves out is not lost there


def test_a_paragraph_that_a_preferred_document_has_is_cut_from_the_others(
    tmp_path: Path, curate: CurateFunction
) -> None:
    first, second = english(1, 2)
    crawl = write_crawl(tmp_path, {"a": [f"{first}\n\n{_LEDGER}"], "b": [f"{_LEDGER}\n\n{second}"]})
    curated = curate(crawl)
    assert texts(curated) == [f"{first}\n\n{_LEDGER}", second]
    cut = [row["repeated_paragraph_characters"] for row in curated.rows("attributes")]
    assert cut[0] == 0 < len(_LEDGER) <= cut[1]


def framed_pages() -> dict[str, str]:
    """Twelve pages of a host that open with one frame, then a person's data."""
    return {
        f"http://gazette.example/{seed}": "\n\n".join(
            [_FRAME, f"Write to the keeper at keeper{seed}@lighthouse-mail.com before noon.",
             story(seed, "en")]
        )
        for seed in range(12)
    }  # fmt: skip


def test_personal_data_is_replaced_where_it_stands_though_a_frame_was_cut_before_it(
    tmp_path: Path, curate: CurateFunction
) -> None:
    loose = CurateSettings(english=EnglishRules(**_LOOSE))
    curated = curate(web(tmp_path / "web", framed_pages()), settings=loose)
    rows = curated.rows("attributes")
    assert [row["drop_rule"] for row in rows] == [None] * 12
    assert {row["host_template_characters"] >= len(_FRAME) for row in rows} == {True}
    assert [row["email_count"] for row in rows] == [1] * 12
    for seed, text in enumerate(texts(curated)):
        assert "gazette" not in text
        assert "Write to the keeper at [email] before noon." in text
        assert story(seed, "en") in text


def everything(tmp_path: Path) -> tuple[dict[str, Sequence[str]], CurateSettings]:
    """Files and settings with which every step has something to do."""
    write_jsonl(tmp_path / "crates.jsonl", [{"question": _QUESTION}])
    benchmark = BenchmarkSettings(
        name="crates", path=str(tmp_path / "crates.jsonl"), fields=("question",)
    )
    settings = CurateSettings(
        rules_for_texts="pages",
        scorers=(str(trained(tmp_path, "quality")),),
        english=EnglishRules(minimum_quality=0.5, **_LOOSE),
        contamination=ContaminationSettings(benchmarks=(benchmark,)),
    )
    first, second, third, fourth = english(1, 2, 3, 4)
    files = {
        "a": [f"{first}\n\n{_LEDGER}", law(5), f"{second}\n\n{_QUESTION}"],
        "b": [f"{_LEDGER}\n\n{third}\n\nAsk keeper@lighthouse-mail.com.", first.upper()],
        "c": [fourth, fourth.replace("The", "A", 1), story(7, "zh")],
    }
    return files, settings


def test_tasks_and_the_order_of_files_change_nothing_when_every_step_works(
    tmp_path: Path, curate: CurateFunction
) -> None:
    files, settings = everything(tmp_path)
    crawl = write_crawl(tmp_path, files)
    inputs = [{**row, "source": "one"} for row in read_jsonl(crawl / "inputs.jsonl")]
    found: list[tuple[Any, ...]] = []
    for name, order, task_bytes in (
        ("one", inputs, 1 << 30), ("many", inputs, 1), ("back", inputs[::-1], 1),
    ):  # fmt: skip
        write_jsonl(crawl / "inputs.jsonl", order)
        curated = curate(crawl, name, settings=replace(settings, task_bytes=task_bytes))
        rows = sorted(curated.rows("attributes"), key=lambda row: row["doc_id"])
        documents = sorted(curated.rows("documents"), key=lambda row: row["doc_id"])
        reports = [curated.json(name) for name in ("funnel.json", "contamination.json")]
        found.append((json.dumps(rows, default=str), documents, reports))
        assert {"minimum_quality", "near_duplicate"} <= {row["drop_rule"] for row in rows}
        assert {"contamination"} <= {row["drop_stage"] for row in rows}
        assert sum(row["repeated_paragraph_characters"] > 0 for row in rows) >= 1
        assert sum(row["email_count"] for row in rows) == 1
    assert found[0][0] == found[1][0] == found[2][0]
    assert found[0][1] == found[1][1] == found[2][1]
    assert found[0][2] == found[1][2] == found[2][2]
