import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import tongwen.road.run as road
from tongwen.curate.settings import CurateSettings
from tongwen.errors import DiskFullError, InputError, UsageError
from tongwen.files import atomic_writer
from tongwen.flow.manifest import Manifest
from tongwen.flow.settings import RunSettings
from tongwen.flow.stage import Stage, locked
from tongwen.progress import Progress
from tongwen.road.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parent))

STAGES = (
    Stage(name="crawl", entry="road_functions:crawl", sections=("crawl",), outputs=("words.txt",)),
    Stage(
        name="curate",
        entry="road_functions:curate",
        reads={"crawl": ("crawl",)},
        sections=("curate",),
        outputs=("kept.txt", "languages.txt"),
    ),
    Stage(
        name="tokenizer",
        entry="road_functions:tokenizer",
        reads={"documents": ("curate",)},
        uses={"documents": "kept.*"},
        sections=("tokenizer",),
    ),
)
RECIPE = Recipe(run=RunSettings(name="test"))


@pytest.fixture(autouse=True)
def three_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(road, "ROAD", STAGES)
    monkeypatch.setattr(road, "_report", lambda *_, **__: None)


def run(run_dir: Path, recipe: Recipe = RECIPE) -> tuple[road.RoadResult, str]:
    said = io.StringIO()
    return road.run_road(recipe, run_dir, Progress(said)), said.getvalue()


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first, _ = run(tmp_path)
    assert first.changed == ("crawl", "curate", "tokenizer")
    second, said = run(tmp_path)
    assert second.changed == ()
    assert said.splitlines() == ["crawl: up to date", "curate: up to date", "tokenizer: up to date"]


def test_a_changed_parameter_reruns_what_depends_on_it_and_says_why(tmp_path: Path) -> None:
    run(tmp_path)
    recipe = replace(RECIPE, curate=CurateSettings(languages=("en",)))
    result, said = run(tmp_path, recipe)
    assert result.changed == ("curate", "tokenizer")
    assert "curate: runs again, curate.languages: 3 removed" in said
    assert "tokenizer: runs again, its input documents changed" in said
    assert (tmp_path / "stages/tokenizer/pieces.txt").read_text(encoding="utf-8") == "hello"


def test_a_stage_is_not_run_again_when_what_it_uses_was_made_again_with_the_same_bytes(
    tmp_path: Path,
) -> None:
    run(tmp_path)
    recipe = replace(RECIPE, curate=CurateSettings(languages=("zh-Hans",)))
    result, _ = run(tmp_path, recipe)
    assert result.changed == ("curate",)


def test_a_lost_output_is_made_again(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "stages/crawl/words.txt").unlink()
    result, said = run(tmp_path)
    assert result.changed == ("crawl",)
    assert "its outputs are incomplete" in said


def test_a_manifest_lists_only_declared_outputs(tmp_path: Path) -> None:
    run(tmp_path)
    manifest = Manifest.read(tmp_path / "stages/crawl/manifest.json")
    assert manifest is not None
    assert [item.path for item in manifest.outputs] == ["words.txt"]
    assert manifest.counts == {"words": 2}


def test_a_run_directory_in_use_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UsageError, match="in use by process"):
        run(tmp_path)


def test_a_stage_without_its_section_or_its_input_is_left_out() -> None:
    names = [stage.name for stage in road.stages_of(RECIPE)]
    assert names == ["crawl", "curate", "tokenizer"]
    alone = Stage(name="tune", entry="x:y", reads={"model": ("pretrain",)})
    assert alone.name not in names


def test_a_missing_input_stage_is_named(tmp_path: Path) -> None:
    from tongwen.flow.stage import run_stage
    from tongwen.road.stages import stage_call

    inputs = {"crawl": tmp_path / "nowhere"}
    with pytest.raises(InputError, match="nowhere") as caught:
        run_stage(
            stage_call(STAGES[1], RECIPE),
            inputs,
            tmp_path / "out",
            tmp_path,
            Progress(io.StringIO()),
        )
    assert caught.value.hint == "name the folder of the `crawl`, or run its stage first"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_named_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = Path.open

    def open_full(self: Path, mode: str = "r", **options: object) -> object:
        target = Path("/dev/full") if self.name.endswith(".partial") else self
        return real_open(target, mode, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", open_full)
    expected = pytest.raises(DiskFullError, match=r"no space left while writing .*out\.json")
    with expected, atomic_writer(tmp_path / "out.json") as file:
        file.write(b"x" * 100_000)
    assert list(tmp_path.iterdir()) == []
