"""`--set`: what people type, and what they get."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.errors import RecipeError
from tongwen.recipe.override import apply_override, parse_override
from tongwen.road.recipe import load_recipe


def refusal(*overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe("sample", overrides)
    return f"{caught.value.message} / {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("1e6", 1_000_000), ("2.5e6", 2_500_000), ("1_000_000", 1_000_000), ("3.1e12", 31 * 10**11)],
)
def test_a_whole_number_may_be_a_power_of_ten(tmp_path: Path, text: str, tokens: int) -> None:
    recipe = load_recipe("sample", [f"pretrain.max_tokens={text}"])
    assert recipe.pretrain
    assert recipe.pretrain.max_tokens == tokens
    assert type(recipe.pretrain.max_tokens) is int
    path = tmp_path / "r.toml"
    path.write_text(f"base = 'sample'\n[pretrain]\nmax_tokens = {text}\n", encoding="utf-8")
    assert load_recipe(str(path)).pretrain == recipe.pretrain


@settings(deadline=None)
@given(st.integers(1, 2**53))
def test_a_whole_number_written_as_a_float_is_the_same_number(number: int) -> None:
    recipe = load_recipe("yi-6b", [f"pretrain.max_tokens={float(number)!r}"])
    assert recipe.pretrain
    assert recipe.pretrain.max_tokens == number


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("pretrain.max_tokens=1.5", "must be a whole number, got 1.5 (--set pretrain.max_tokens)"),
        ("pretrain.max_tokens=1e300", "must be a whole number written in digits"),
        ("pretrain.max_tokens=10M", "write 10e6"),
        ("pretrain.max_tokens=1,000,000", "write 1_000_000"),
        ("pretrain.weight_decay=nan", "must be a number, got nan"),
        ("pretrain.separate_documents=True", "write true or false"),
        ("run.name=", "--set run.name=: there is no value after the ="),
        ("run.name", "not of the form section.key=value"),
        ("run.name＝x", "write = instead of the full-width ＝"),
        ("run..name=x", "not of the form"),
        ("=x", "not of the form"),
        ("run.nmae=x", "did you mean `name`?"),
        ("tune.dialogues=a.jsonl", "--set 'tune.dialogues=[\"a.jsonl\"]'"),
        ("tune.dialogues=[a.jsonl]", "strings in it have quotes"),
        ("crawl.sample={pages:3}", "set its keys one by one: --set crawl.sample.KEY=VALUE"),
        ("crawl.sources.0.path=x", "set the whole list: --set 'crawl.sources=[...]'"),
        ("evaluate.tasks.7.limit=3", "`evaluate.tasks` has the entries 0 to 3"),
    ],
)
def test_what_cannot_be_meant_says_what_to_write(override: str, expected: str) -> None:
    assert expected in refusal(override)


def test_paths_lists_tables_and_names_of_digits_come_through() -> None:
    recipe = load_recipe(
        "sample",
        [
            'tune.dialogues=["a,b.jsonl", "c d.jsonl"]',
            "pretrain.base=models/a, b",
            "run.name=2026-11-30",
            "evaluate.tasks.1.limit=3",
            "evaluate.tasks.1.path=x,y.jsonl",
            "curate.mix.shares.zh-Hans=0.5",
            'crawl.sources=[{path = "p,q/*.warc.gz",\n format = "warc"}]',
        ],
    )
    assert recipe.tune
    assert recipe.tune.dialogues == ("a,b.jsonl", "c d.jsonl")
    assert recipe.pretrain
    assert recipe.pretrain.base == "models/a, b"
    assert recipe.run.name == "2026-11-30"
    assert recipe.evaluate
    assert [task.limit for task in recipe.evaluate.tasks] == [None, 3, None, None]
    assert recipe.evaluate.tasks[1].path == "x,y.jsonl"
    assert recipe.curate.mix
    assert recipe.curate.mix.shares == {"zh-Hans": 0.5}
    assert recipe.crawl.sources[0].path == "p,q/*.warc.gz"


@settings(deadline=None)
@given(
    st.lists(st.from_regex(r"[a-z][a-z0-9_-]{0,5}", fullmatch=True), min_size=1, max_size=4),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12),
)
def test_any_text_in_quotes_arrives_as_it_is(path: list[str], value: str) -> None:
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    values: dict[str, object] = {}
    apply_override(values, parse_override(f"{'.'.join(path)}={quoted}"))
    found: object = values
    for part in path:
        assert isinstance(found, dict)
        found = found[part]
    assert found == value
