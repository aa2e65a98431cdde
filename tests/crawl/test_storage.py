"""Object stores: what is listed is copied once, and no key is ever seen."""

import json
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from loopback import Site, crawl_site, serve, warc_record

from tongwen.crawl.settings import CrawlSettings, DownloadSettings, SourceSettings
from tongwen.crawl.stage import run
from tongwen.errors import InputError, RecipeError, TongwenError
from tongwen.files import read_jsonl
from tongwen.flow.local import LocalRunner
from tongwen.flow.settings import RunSettings
from tongwen.flow.stage import StageContext
from tongwen.formats.readers import read_records
from tongwen.progress import Progress
from tongwen.road.recipe import load_recipe, recipe_text

SECRET = "AKIA-very/secret+value"


def crawl(out: Path, url: str, format: str, **more: Any) -> list[dict[str, Any]]:
    source = SourceSettings(url=url, format=format, **more)  # type: ignore[arg-type]
    download = DownloadSettings(wait_seconds=0.01, attempts=2)
    settings = CrawlSettings(sources=(source,), download=download)
    out.mkdir(exist_ok=True)
    run(StageContext(settings, RunSettings(name="t"), {}, out, out, LocalRunner(), Progress()))
    return list(read_jsonl(out / "inputs.jsonl"))


@pytest.fixture
def store() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    for number in range(3):
        system.pipe(f"/bucket/语料/{number}.jsonl", b'{"text": "%d"}\n' % number)
    system.pipe("/bucket/语料/notes.txt", b"x")
    system.pipe("/bucket/a.warc.gz", warc_record(1))
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def test_folders_patterns_and_files_of_a_store_are_listed(tmp_path: Path, store: Any) -> None:
    rows = crawl(tmp_path / "a", "memory://bucket/语料", "jsonl")
    assert [row["path"].rpartition("/")[2] for row in rows] == ["0.jsonl", "1.jsonl", "2.jsonl"]
    assert {row["source"] for row in rows} == {"语料"}
    assert len(crawl(tmp_path / "b", "memory://bucket/语料/[12].jsonl", "jsonl")) == 2
    (row,) = crawl(tmp_path / "c", "memory://bucket/a.warc.gz", "warc")
    (record,) = read_records(tmp_path / "c" / row["path"], "warc")
    assert record.url == "http://a.example/1"


def test_what_has_not_changed_is_not_copied_again(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = crawl(tmp_path / "a", "memory://bucket/语料", "jsonl")
    opened: list[str] = []
    original = type(store).open
    monkeypatch.setattr(
        type(store),
        "open",
        lambda self, path, *a, **k: opened.append(path) or original(self, path, *a, **k),
    )
    assert crawl(tmp_path / "a", "memory://bucket/语料", "jsonl") == first
    assert opened == []
    store.pipe("/bucket/语料/1.jsonl", b'{"text": "changed"}\n')
    opened.clear()
    changed = crawl(tmp_path / "a", "memory://bucket/语料", "jsonl")
    assert [path for path in opened if "1.jsonl" not in path] == []
    assert [a["digest"] == b["digest"] for a, b in zip(first, changed, strict=True)] == [
        True,
        False,
        True,
    ]


def test_a_store_that_fails_is_tried_again_from_where_it_was(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = type(store).open
    failures = [OSError("connection lost")]

    def failing(self: Any, path: str, *args: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return original(self, path, *args, **options)

    monkeypatch.setattr(type(store), "open", failing)
    assert len(crawl(tmp_path / "a", "memory://bucket/a.warc.gz", "warc")) == 1


def test_nothing_there_is_an_error(tmp_path: Path, store: Any) -> None:
    with pytest.raises(InputError, match="memory://bucket/nowhere"):
        crawl(tmp_path / "a", "memory://bucket/nowhere", "jsonl")


def test_a_store_whose_package_is_missing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError) as caught:
        crawl(tmp_path / "a", "s3://bucket/x.jsonl", "jsonl")
    assert caught.value.hint == "pip install s3fs"


def test_an_unknown_scheme_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nonsense://"):
        crawl(tmp_path / "a", "nonsense://bucket/x.jsonl", "jsonl")


def everything_written(folder: Path) -> bytes:
    parts = [
        str(path.relative_to(folder)).encode() + path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    ]
    return b"\n".join(parts)


def forms(secret: str) -> list[str]:
    return [
        secret,
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        "very/secret",
        "very%2Fsecret",
    ]


def test_a_key_in_an_address_is_used_but_never_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TONGWEN_TEST_KEY", urllib.parse.quote(SECRET, safe=""))
    site = Site({"a.warc.gz": warc_record(1)})
    with serve(site):
        url = f"{site.base_url}a.warc.gz?token=${{TONGWEN_TEST_KEY}}"
        crawl(tmp_path / "out", url, "warc")
        site.faults["a.warc.gz"] = ["404"]
        with pytest.raises(TongwenError) as caught:
            crawl(tmp_path / "other", url, "warc")
    shown = capfd.readouterr()
    seen = everything_written(tmp_path).decode("utf-8", "replace") + shown.out + shown.err
    seen += caught.value.message + str(caught.value.hint)
    assert not [form for form in forms(SECRET) if form in seen]


def test_a_key_of_a_store_is_filled_in_but_never_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TONGWEN_TEST_KEY", SECRET)
    given: dict[str, Any] = {}

    def failing(url: str, **options: Any) -> None:
        given.update(options)
        raise PermissionError(f"no access with {options['secret']} at https://x/y?sig={SECRET}")

    monkeypatch.setattr("fsspec.core.url_to_fs", failing)
    storage = {"secret": "${TONGWEN_TEST_KEY}", "anon": "false"}
    with pytest.raises(InputError, match="PermissionError") as caught:
        crawl(tmp_path / "a", "memory://bucket/x", "jsonl", storage=storage)
    assert given == {"secret": SECRET, "anon": False}
    assert caught.value.__cause__ is None
    assert not [form for form in forms(SECRET) if form in caught.value.message]


@pytest.mark.parametrize(
    "lines",
    [
        f'url = "https://a.example/x?X-Amz-Signature={SECRET}"',
        f'url = "https://user:{SECRET.replace("/", "")}@a.example/x"',
        f'url = "s3://b/x"\nstorage = {{ secret = "{SECRET}" }}',
    ],
)
def test_a_recipe_with_a_key_in_it_is_refused_without_repeating_it(
    tmp_path: Path, lines: str
) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f"[run]\nname = 'x'\n[[crawl.sources]]\nformat = 'warc'\n{lines}\n", encoding="utf-8"
    )
    with pytest.raises(RecipeError, match="secret") as caught:
        load_recipe(str(recipe))
    assert "very" not in caught.value.message


def test_the_saved_recipe_names_the_variable_and_reads_back_as_it_was(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        "[run]\nname = 'x'\n[[crawl.sources]]\nformat = 'common-crawl'\n"
        "url = 'https://a.example/warc.paths.gz?token=${KEY}'\nselect = { first = 3 }\n",
        encoding="utf-8",
    )
    loaded = load_recipe(str(recipe))
    saved = tmp_path / "saved.toml"
    saved.write_text(recipe_text(loaded), encoding="utf-8")
    assert "token=${KEY}" in saved.read_text(encoding="utf-8")
    assert load_recipe(str(saved)).crawl == loaded.crawl


def test_a_variable_that_is_not_set_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TONGWEN_TEST_KEY", raising=False)
    with pytest.raises(InputError, match="TONGWEN_TEST_KEY, which is not set"):
        crawl(tmp_path / "a", "https://a.example/x?key=${TONGWEN_TEST_KEY}", "warc")


def test_files_of_a_web_server_and_of_a_disk_give_the_same_rows(tmp_path: Path) -> None:
    site = crawl_site(files=1)
    name = next(name for name in site.files if "/warc/" in name)
    with serve(site):
        (row,) = crawl(tmp_path / "out", site.base_url + name, "warc")
    assert json.loads(json.dumps(row))["bytes"] == len(site.files[name])
    assert row["path"].startswith("downloads/127.0.0.1")
