"""The quantize stage: what it writes, what it measures, and the texts it takes."""

import json
import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from tongwen.cli.quantize import command
from tongwen.errors import InputError, TongwenError
from tongwen.flow.manifest import Manifest
from tongwen.formats.shards import shard_writer
from tongwen.model.quantized.folder import load_any_model
from tongwen.model.quantized.linear import QuantizedLinear
from tongwen.quantize.gptq import round_with_errors
from tongwen.quantize.quality import score
from tongwen.quantize.stage import _validation_texts
from tongwen.tokenizer.text import Tokenizer


def test_the_loss_counts_every_token_once_also_across_windows(small_model_folder: Path) -> None:
    model, _ = load_any_model(small_model_folder)
    generator = torch.Generator().manual_seed(0)
    documents = [
        (torch.randint(14, 400, (tokens,), generator=generator).tolist(), 3 * tokens)
        for tokens in (5, 127, 128, 129, 300)
    ]
    found = score(model, documents)
    assert (found.tokens, found.utf8_bytes) == (689, 3 * 689)
    assert len(found.choices) == 689
    assert found.bits_per_byte == pytest.approx(found.nats / math.log(2) / 2067)
    # By hand for the short one: the model sees <|endoftext|> and all but the last token.
    ids = documents[0][0]
    with torch.no_grad():
        log_probabilities = model.logits(model(torch.tensor([[2, *ids[:-1]]]))[0]).log_softmax(-1)
    by_hand = -sum(float(log_probabilities[place, token]) for place, token in enumerate(ids))
    assert score(model, documents[:1]).nats == pytest.approx(by_hand, rel=1e-5)


def write_shards(folder: Path, tokenizer_folder: Path) -> None:
    tokenizer = Tokenizer.load(tokenizer_folder)
    folder.mkdir()
    for language, lang, text in (("en", "en", "The road is long. "), ("zh", "zh-Hans", "路很长。")):
        with shard_writer(
            folder / f"valid-{language}-00000.shard",
            vocabulary_size=tokenizer.vocabulary_size,
            tokenizer_digest=tokenizer.digest,
        ) as writer:
            for number in range(1, 6):
                ids = [*tokenizer.encode(text * number), 2]
                size = len((text * number).encode())
                writer.append(ids, language=lang, utf8_bytes=size)


def test_the_command_writes_the_model_and_what_it_cost_in_both_languages(
    small_model_folder: Path, small_tokenizer_folder: Path, tmp_path: Path
) -> None:
    write_shards(tmp_path / "shards", small_tokenizer_folder)
    arguments = [str(small_model_folder), "--shards", str(tmp_path / "shards")]
    options = ["--recipe", "sample", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(command, [*arguments, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    quality = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert set(quality["languages"]) == {"en", "zh"}
    assert quality["bytes_after"] < 0.5 * quality["bytes_before"]
    for numbers in quality["languages"].values():
        assert numbers["bits_per_byte_after"] == pytest.approx(
            numbers["bits_per_byte_before"], rel=0.05
        )
        assert 0.5 < numbers["same_greedy_choice_share"] <= 1
    manifest = Manifest.read(tmp_path / "out" / "manifest.json")
    assert manifest is not None
    assert manifest.counts["bytes_after"] == quality["bytes_after"]
    load_any_model(tmp_path / "out" / "model")


def test_validation_text_of_another_tokenizer_is_refused(
    small_model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no validation text"):
        _validation_texts(tmp_path / "empty", 10, "00" * 16)
    write_shards(tmp_path / "shards", small_model_folder)
    with pytest.raises(InputError, match="another tokenizer"):
        _validation_texts(tmp_path / "shards", 10, "00" * 16)


def test_gptq_changes_outputs_less_than_rounding_to_the_nearest_step() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(96, 96, generator=generator) * torch.logspace(0, -2, 96)
    x = torch.randn(2_000, 96, generator=generator) @ mixing  # inputs that go together
    linear = torch.nn.Linear(96, 40).requires_grad_(False)
    rounded = round_with_errors(linear, x.t() @ x, 4)
    nearest = QuantizedLinear.of(linear, 4)
    expected = x @ linear.weight.t()

    def error(weight: torch.Tensor) -> float:
        return float((x @ weight.t() - expected).norm() / expected.norm())

    assert error(rounded.dequantize()) < 0.7 * error(nearest.dequantize())


def test_int4_needs_neither_recipe_nor_text_and_says_what_it_left_out(
    small_model_folder: Path, tmp_path: Path
) -> None:
    arguments = [str(small_model_folder), "--bits", "4", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "nearest" in result.stderr
    assert "not measured" in result.stderr
    model, _ = load_any_model(tmp_path / "out" / "model")
    assert {item.bits for item in model.modules() if isinstance(item, QuantizedLinear)} == {4, 8}


def test_int4_calibrates_and_measures_on_the_users_texts(
    small_model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "english.txt").write_text("The road is long, said the man.\n" * 400)
    (tmp_path / "chinese.txt").write_text("第一条路很长，老人说。\n" * 800)
    texts = [f"--text={tmp_path / name}.txt" for name in ("english", "chinese")]
    arguments = [str(small_model_folder), "--bits", "4", "--out", str(tmp_path / "out"), *texts]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    quality = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert set(quality["languages"]) == {"english", "chinese"}
    assert quality["method"] == "gptq"
    assert quality["bits_per_weight"] < 11  # of a model this small the embedding is a third


def test_quantizing_twice_is_refused(small_model_folder: Path, tmp_path: Path) -> None:
    arguments = [str(small_model_folder), "--out", str(tmp_path / "out")]
    CliRunner().invoke(command, arguments, catch_exceptions=False)
    again = [str(tmp_path / "out"), "--out", str(tmp_path / "again")]
    with pytest.raises(InputError, match="quantized already"):
        CliRunner().invoke(command, again, catch_exceptions=False)


def test_texts_that_cannot_be_used_are_refused(small_model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    for name, message in (("empty.txt", "holds no text"), ("none.txt", "none.txt")):
        arguments = [str(small_model_folder), f"--text={tmp_path / name}", "--bits=4"]
        with pytest.raises(TongwenError, match=message):
            CliRunner().invoke(
                command, [*arguments, "--out", str(tmp_path / "out")], catch_exceptions=False
            )
