"""Results know their code: the table of versions, and what runs again when code changes."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tongwen
from tongwen.files import file_digest, read_json, write_json, write_jsonl
from tongwen.flow import versions
from tongwen.flow.versions import code_changes, code_of, recorded, source_of, stage_code

_ROOT = Path(tongwen.__file__).parents[1]
_TEXTS = (
    "The old keeper of the lighthouse wrote that the sea was calm and that seven boats had passed.",
    "守灯塔的老人在本子上写道，海面平静，上午有七条船驶过，下午没有一条船。",
)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """`tools/step_versions.py`."""
    spec = importlib.util.spec_from_file_location(
        "step_versions", _ROOT / "tools" / "step_versions.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_code_of_every_step_and_stage_is_the_recorded_one(tool: ModuleType) -> None:
    assert tool.report() == ""


def test_every_step_belongs_to_a_stage_which_runs_again_with_it() -> None:
    steps = {name for row in recorded().values() for name in row.steps}
    assert {"extract", "measure", "cluster-map", "mix-write", "encode-documents"} <= steps
    stages = set(recorded()) - steps
    assert stages >= {"crawl", "curate", "tokenizer", "encode", "pretrain", "export"}
    code = stage_code("curate", "tongwen.curate.stage")
    assert code["extract"] == str(recorded()["extract"].version)
    assert "encode-documents" not in code


def test_the_sources_of_a_step_are_its_own_code_and_its_data_but_not_the_runners() -> None:
    assert source_of("tongwen.curate.extract.pages") != source_of("tongwen.curate.rules.decide")
    found = versions.closure(["tongwen.curate.extract.pages"], versions.CANNOT_CHANGE_BYTES)
    assert "tongwen.curate.extract.record" in found
    assert not [name for name in found if name.startswith("tongwen.flow")]
    assert "tongwen.curate.settings" not in found
    lexicon = "tongwen.curate.scorers.lexicon"
    data = versions._data_digests([lexicon])
    assert file_digest(_ROOT / "tongwen/curate/scorers/lexicon.tsv") in data


def test_code_that_is_not_the_recorded_one_is_named_by_its_sources(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = "tongwen.curate.rules.decide"
    assert code_of("decide", module) == str(recorded()["decide"].version)
    edited = code_of("decide", "tongwen.curate.rules.attributes")
    version, _, source = edited.partition("+")
    assert version == str(recorded()["decide"].version)
    assert len(source) == 12
    assert code_of("a step of the user's own", module) == "+" + source_of(module)[:12]


def test_a_change_of_code_is_told_by_name_and_version() -> None:
    assert code_changes({"a": "1", "b": "3"}, {"a": "1", "b": "4"}) == [
        "the code of b has changed (version 3 -> 4)"
    ]
    assert code_changes({"a": "1"}, {"a": "1+0123"}) == ["the code of a was edited"]
    assert code_changes({}, {"a": "1"}) == ["it does not say which code made it"]


def test_raising_a_step_raises_no_other_and_leaves_what_is_not_named_to_be_settled(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "versions.json"
    rows = read_json(versions.TABLE)
    before = {name: row["version"] for name, row in rows.items()}
    for name in ("extract", "measure", "curate"):
        rows[name]["source"] = "other"
    write_json(table, rows)
    monkeypatch.setattr(versions, "TABLE", table)
    monkeypatch.setattr(tool, "TABLE", table)
    recorded.cache_clear()
    try:
        assert set(tool.changed()) == {"extract", "measure", "curate"}
        tool.write({"extract"}, set())
        assert set(tool.changed()) == {"measure"}
        tool.write(set(), {"measure"})
        assert tool.report() == ""
        after = {name: row["version"] for name, row in read_json(table).items()}
    finally:
        monkeypatch.undo()
        recorded.cache_clear()
    assert after == {**before, "extract": before["extract"] + 1}


class Copy:
    """The package in a folder of its own, where its code can be changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.copytree(
            _ROOT / "tongwen", folder / "tongwen", ignore=shutil.ignore_patterns("__pycache__")
        )
        crawl = folder / "crawl"
        path = crawl / "texts.jsonl"
        write_jsonl(path, [{"text": 3 * text} for text in _TEXTS])
        row = {"path": path.name, "format": "jsonl", "bytes": path.stat().st_size,
               "digest": file_digest(path), "source": "texts", "license": "",
               "text_field": "text"}  # fmt: skip
        write_jsonl(crawl / "inputs.jsonl", [row])

    def replace(self, path: str, before: str, after: str) -> None:
        source = self._folder / "tongwen" / path
        text = source.read_text(encoding="utf-8")
        assert text.count(before) == 1
        source.write_text(text.replace(before, after), encoding="utf-8")

    def raise_version(self, name: str, module: str) -> None:
        """As `tools/step_versions.py --raise` does, for a step of curation."""
        script = (
            "import json, sys; from tongwen.flow.versions import *; "
            "table = json.loads(TABLE.read_text()); "
            f"table[{name!r}]['version'] += 1; table[{name!r}]['source'] = source_of({module!r}); "
            "table['curate']['source'] = source_of('tongwen.curate.stage'); "
            "TABLE.write_text(json.dumps(table))"
        )
        self._python("-c", script)

    def curate(self) -> str:
        """What `tongwen curate` says."""
        return self._python(
            "-m", "tongwen", "curate", "crawl", "--out", "curated", "--set", "run.workers=1"
        )

    def texts(self) -> list[str]:
        import pyarrow.parquet as pq

        paths = sorted((self._folder / "curated" / "documents").glob("*.parquet"))
        return [text for path in paths for text in pq.read_table(path)["text"].to_pylist()]

    def _python(self, *arguments: str) -> str:
        # Interpreted kernels: three times over in a few seconds, where compiling takes a minute.
        environment = {
            **os.environ,
            "PYTHONPATH": str(self._folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "ignore",
            "NUMBA_DISABLE_JIT": "1",
        }
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self._folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr


def test_changed_code_runs_again_with_its_new_bytes_and_a_comment_does_not(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    assert "curate: starts" in copy.curate()
    before = copy.texts()
    assert len(before) == 2
    copy.replace("curate/extract/record.py", '"""One raw', '"""One very raw')
    copy.replace("curate/extract/record.py", "    text = repaired.text\n",
                 "    text = repaired.text  # without control characters\n")  # fmt: skip
    assert copy.curate().splitlines()[0] == "curate: up to date"

    copy.replace("curate/extract/record.py", "    text = repaired.text  #",
                 "    text = repaired.text.upper()  #")  # fmt: skip
    said = copy.curate()
    assert "curate: runs again, the code of curate was edited" in said
    assert "  extract: runs again, the code of extract was edited" in said
    assert copy.texts() == [text.upper() for text in before]
    assert copy.curate().splitlines()[0] == "curate: up to date"

    version = read_json(versions.TABLE)["extract"]["version"]
    copy.raise_version("extract", "tongwen.curate.extract.pages")
    said = copy.curate()
    assert f"; the code of extract has changed (version {version}" in said
    assert f"  extract: runs again, the code of extract has changed (version {version}+" in said
    manifest = json.loads((tmp_path / "curated/manifest.json").read_text(encoding="utf-8"))
    assert manifest["code"]["extract"] == str(version + 1)
