import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.errors import RecipeError
from tongwen.model.config import ModelConfig
from tongwen.recipe.lines import key_lines
from tongwen.road.recipe import load_recipe, preset_names, recipe_text


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, text), overrides)
    return f"{caught.value.message} / {caught.value.hint}"


def test_an_unknown_key_names_the_key_the_line_and_the_nearest_name(tmp_path: Path) -> None:
    text = '# 注释\n[run]\nname = "a"\n[pretrain]\nmax_tokens = 1\npeak_learning_rte = 1e-3\n'
    message = refusal(tmp_path, text)
    assert "`pretrain.peak_learning_rte`" in message
    assert "recipe.toml, line 6" in message
    assert "did you mean `peak_learning_rate`?" in message


def test_a_missing_table_or_key_says_what_to_add(tmp_path: Path) -> None:
    assert "`run` is missing (" in refusal(tmp_path, "")
    assert "add the table [run]" in refusal(tmp_path, "")
    assert "add `name = ...`" in refusal(tmp_path, "[run]\n")


def test_an_unknown_section_is_refused(tmp_path: Path) -> None:
    assert "did you mean `pretrain`?" in refusal(tmp_path, "[run]\nname='a'\n[pretrian]\nx=1\n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("max_tokens = 1.5", "must be a whole number, got 1.5"),
        ("max_tokens = true", "must be a whole number, got True"),
        ("max_tokens = '1'", "must be a whole number, got '1'"),
        ("max_tokens = 1\npeak_learning_rate = 'x'", "must be a number, got 'x'"),
        ("max_tokens = 1\nadam_betas = [0.9]", "must be a list of 2"),
        ("max_tokens = 1\ndecay = 'cosin'", "did you mean 'cosine'?"),
        ("peak_learning_rate = 1", "`pretrain.max_tokens` is missing"),
    ],
)
def test_a_wrong_type_or_value_says_what_was_expected(
    tmp_path: Path, line: str, expected: str
) -> None:
    message = refusal(tmp_path, f"[run]\nname = 'a'\n[pretrain]\n{line}\n")
    assert expected in message
    assert "recipe.toml" in message


def test_an_impossible_value_names_its_section_and_line(tmp_path: Path) -> None:
    message = refusal(tmp_path, "[run]\nname = 'a b'\n")
    assert "run.name is 'a b'" in message
    assert "line 2" in message


def test_the_line_of_an_entry_in_an_array_of_tables_is_found(tmp_path: Path) -> None:
    source = "[[crawl.sources]]\npath='x'\nformat={}\n"
    text = "[run]\nname='a'\n" + source.format("'warc'") + source.format("'wacr'")
    message = refusal(tmp_path, text)
    assert "crawl.sources.1.format" in message
    assert "line 8" in message


def test_an_override_replaces_a_value_and_is_named_in_errors(tmp_path: Path) -> None:
    text = "[run]\nname = 'a'\n[pretrain]\nmax_tokens = 1\n"
    recipe = load_recipe(write(tmp_path, text), ["pretrain.peak_learning_rate=1e-3", "run.name=b"])
    assert recipe.pretrain is not None
    assert recipe.pretrain.peak_learning_rate == 1e-3
    assert recipe.run.name == "b"
    assert "--set pretrain.max_tokns" in refusal(tmp_path, text, "pretrain.max_tokns=2")
    assert "section.key=value" in refusal(tmp_path, text, "pretrain")


def test_an_optional_stage_is_left_out_with_false(tmp_path: Path) -> None:
    recipe = load_recipe("sample", ["tune=false"])
    assert recipe.tune is None
    assert recipe.pretrain is not None


def test_a_base_is_overlaid_key_by_key_and_paths_follow_the_recipe_file(tmp_path: Path) -> None:
    text = "base = 'yi-6b'\n[run]\nname = 'mine'\n[[crawl.sources]]\npath='x'\nformat='warc'\n"
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.model.num_hidden_layers == 32
    assert recipe.run.name == "mine"
    assert recipe.crawl.sources[0].path == str(tmp_path / "x")


def test_a_missing_recipe_suggests_a_preset() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("smaple")
    assert caught.value.hint == "did you mean `sample`?"


def test_bad_toml_is_an_error_with_its_place(tmp_path: Path) -> None:
    assert "not valid TOML" in refusal(tmp_path, "[run\n")


@pytest.mark.parametrize("name", preset_names())
def test_a_resolved_recipe_reads_back_as_itself(tmp_path: Path, name: str) -> None:
    recipe = load_recipe(name)
    assert load_recipe(write(tmp_path, recipe_text(recipe))) == recipe


@pytest.mark.parametrize(
    ("name", "shape"),
    [  # 01.AI's config.json files: hidden, layers, heads, KV heads, intermediate, theta, epsilon
        ("yi-6b", (4096, 32, 32, 4, 11008, 5e6, 1e-5)),
        ("yi-9b", (4096, 48, 32, 4, 11008, 1e4, 1e-6)),
        ("yi-34b", (7168, 60, 56, 8, 20480, 5e6, 1e-5)),
        ("yi-6b-200k", (4096, 32, 32, 4, 11008, 5e6, 1e-5)),
        ("yi-34b-200k", (7168, 60, 56, 8, 20480, 5e6, 1e-5)),
        ("yi-coder-1.5b", (2048, 24, 16, 16, 5504, 1e7, 1e-5)),
        ("yi-coder-9b", (4096, 48, 32, 4, 11008, 1e7, 1e-5)),
    ],
)
def test_the_yi_presets_have_the_published_shapes(name: str, shape: tuple[float, ...]) -> None:
    model = load_recipe(name).model
    assert (
        model.hidden_size,
        model.num_hidden_layers,
        model.num_attention_heads,
        model.num_key_value_heads,
        model.intermediate_size,
        model.rope_theta,
        model.rms_norm_eps,
    ) == shape
    assert model.head_dim == 128
    assert load_recipe(name).tokenizer.vocabulary_size == 64_000


@pytest.mark.parametrize(
    ("name", "millions"),
    [("tongwen-25m", 25), ("tongwen-110m", 109), ("tongwen-1b", 1_074), ("tongwen-100b", 99_124),
     ("tongwen-400b", 403_748), ("yi-coder-1.5b", 1_476)],
)  # fmt: skip
def test_the_presets_have_the_sizes_their_names_tell(name: str, millions: int) -> None:
    recipe = load_recipe(name)
    config = ModelConfig.from_settings(recipe.model, recipe.tokenizer.vocabulary_size)
    assert round(config.parameters / 1e6) == millions


def test_an_extended_preset_ends_with_its_published_window() -> None:
    for name, window in (("yi-6b-200k", 200_000), ("yi-9b-200k", 262_144)):
        recipe = load_recipe(name)
        assert recipe.extend is not None
        assert recipe.model.max_position_embeddings == 4_096 < recipe.extend.sequence_tokens
        assert recipe.extend.sequence_tokens == window


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True),
        st.dictionaries(
            st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True),
            st.one_of(st.integers(0, 9), st.sampled_from(["文", "a=b", "[x]", "# no"])),
            max_size=3,
        ),
        max_size=4,
    )
)
def test_every_key_of_a_toml_text_is_found_on_its_line(
    tables: dict[str, dict[str, object]],
) -> None:
    lines = []
    for table, keys in tables.items():
        lines.append(f"[{table}]  # 表")
        lines += [f"{key} = {value!r}" for key, value in keys.items()]
    text = "\n".join(lines)
    assert tomllib.loads(text) == tables
    found = key_lines(text)
    for table, keys in tables.items():
        for key in keys:
            number = found[f"{table}.{key}"]
            assert lines[number - 1].startswith(f"{key} = ")


def test_a_commands_options_go_over_the_recipe_and_set_goes_over_them() -> None:
    options = {"crawl.sources": [{"path": 'a "b" 文/*.warc', "format": "warc"}], "run.name": "a"}
    recipe = load_recipe("sample", ["run.name=b"], options)
    assert recipe.run.name == "b"
    assert [source.path for source in recipe.crawl.sources] == ['a "b" 文/*.warc']
    with pytest.raises(RecipeError, match=r"unknown key `crawl\.sources\.0\.fromat` \(--set crawl"):
        load_recipe("sample", options={"crawl.sources": [{"path": "a", "fromat": "warc"}]})
