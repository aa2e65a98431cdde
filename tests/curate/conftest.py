"""The curate stage run without worker processes."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode adds no path
from curate_runs import Curated, CurateFunction, InlineRunner

from tongwen.curate.settings import CurateSettings
from tongwen.curate.stage import run
from tongwen.flow.local import LocalRunner
from tongwen.flow.settings import RunSettings
from tongwen.flow.stage import StageContext
from tongwen.progress import Progress


@pytest.fixture
def curate(tmp_path: Path) -> CurateFunction:
    """`curate(crawl, out, settings, runner)`: run the stage; in this process by default."""

    def curate_folder(
        crawl: Path,
        out: str = "curated",
        settings: CurateSettings | None = None,
        runner: LocalRunner | None = None,
    ) -> Curated:
        runner = runner or InlineRunner()
        context = StageContext(
            settings=settings or CurateSettings(),
            run=RunSettings(name="test"),
            inputs={"crawl": crawl},
            out=tmp_path / out,
            run_dir=tmp_path,
            runner=runner,
            progress=Progress(),
        )
        counts = run(context)
        return Curated(context.out, counts, getattr(runner, "ran", []))

    return curate_folder
