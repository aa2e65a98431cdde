"""Adapters: what they start as, what is trained and kept, and what is written in the end."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tongwen.errors import InputError, RecipeError
from tongwen.flow.manifest import Manifest
from tongwen.model.config import ModelConfig
from tongwen.model.device import Arithmetic
from tongwen.model.folder import load_model_folder, read_config, save_model_folder
from tongwen.model.llama import Llama
from tongwen.model.quantized.folder import quantize_model, save_quantized_folder
from tongwen.model.quantized.linear import QuantizedLinear
from tongwen.road.alone import run_alone
from tongwen.train import loop
from tongwen.train.adapters.build import Adapters
from tongwen.train.adapters.lora import LoraLinear, adapters_of, adapters_off, add_adapters
from tongwen.train.adapters.settings import PROJECTIONS, LoraSettings
from tongwen.train.metrics import read_metrics
from tongwen.train.optim.build import build_optimizer
from tongwen.train.parallel.settings import ParallelSettings
from tongwen.tune.check import check_files
from tongwen.tune.settings import TuneSettings

ROWS = [
    {"question": f"How long is road {number}?", "answer": f"Road {number} is long."}
    for number in range(12)
]
RECIPE = """
[run]
name = "tiny"
[tune]
max_tokens = 3_072
sequence_tokens = 64
batch_tokens = 256
micro_batch_tokens = 128
checkpoint_every_steps = 4
held_out_share = 0.2
[tune.lora]
rank = 4
alpha = 8.0
dropout = 0.1
"""
IDS = torch.arange(40).view(2, 20)


@pytest.fixture
def dialogues(tmp_path: Path) -> Path:
    path = tmp_path / "dialogues.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def tune(model: Path, out: Path, recipe: Path, dialogues: Path, *overrides: str) -> Manifest:
    manifest = run_alone(
        "tune",
        inputs={"model": model, "tokenizer": model},
        out=out,
        recipe=str(recipe),
        overrides=(f"tune.dialogues={json.dumps([str(dialogues)])}", *overrides),
    )
    assert manifest is not None
    return manifest


def test_fresh_adapters_change_nothing_and_only_they_have_gradients(
    small_model_folder: Path,
) -> None:
    model, _ = load_model_folder(small_model_folder)
    before = model.logits(model(IDS)).detach()
    add_adapters(model, LoraSettings(rank=2, targets=("q_proj", "down_proj")), seed=0)
    logits = model.logits(model(IDS))
    assert torch.equal(logits, before)
    logits.sum().backward()
    trained = {name for name, item in model.named_parameters() if item.grad is not None}
    layers = range(model.config.num_hidden_layers)
    assert trained == {
        f"model.layers.{layer}.{name}.{matrix}"
        for layer in layers
        for name in ("self_attn.q_proj", "mlp.down_proj")
        for matrix in ("lora_A", "lora_B")
    }


def test_an_adapter_adds_alpha_over_rank_times_its_product_and_can_be_switched_off() -> None:
    base = torch.nn.Linear(6, 5, bias=True)
    model = torch.nn.Sequential(
        LoraLinear(base, LoraSettings(rank=2, alpha=6.0), 0, dropout_seed=None)  # type: ignore[arg-type]
    )
    adapter = adapters_of(model)["0"]
    with torch.no_grad():
        adapter.lora_A.normal_()
        adapter.lora_B.normal_()
    x = torch.randn(3, 6)
    expected = base(x) + x @ adapter.lora_A.T @ adapter.lora_B.T * 3
    assert torch.allclose(model(x), expected, atol=1e-6)
    merged = torch.nn.functional.linear(x, base.weight + adapter.change(), base.bias)
    assert torch.allclose(model(x), merged, atol=1e-5)
    with adapters_off(model):
        assert torch.equal(model(x), base(x))


def test_dropout_follows_from_its_seed_and_is_off_without_one(small_model_folder: Path) -> None:
    model, _ = load_model_folder(small_model_folder)
    seed = add_adapters(model, LoraSettings(dropout=0.5), seed=0)
    for adapter in adapters_of(model).values():
        torch.nn.init.normal_(adapter.lora_B)
    plain = model(IDS)
    seed.set(3)
    once, again = model(IDS), model(IDS)
    seed.set(4)
    other = model(IDS)
    seed.set(None)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert not torch.equal(once, plain)
    assert torch.equal(model(IDS), plain)


def test_the_merged_model_is_the_base_plus_the_adapters_that_peft_reads(
    small_model_folder: Path, tmp_path: Path, recipe: Path, dialogues: Path
) -> None:
    counts = tune(small_model_folder, tmp_path / "chat", recipe, dialogues).counts
    base = load_model_folder(small_model_folder)[0].state_dict()
    merged = load_model_folder(tmp_path / "chat/model")[0].state_dict()
    config = json.loads((tmp_path / "chat/adapter/adapter_config.json").read_text())
    adapter = load_file(tmp_path / "chat/adapter/adapter_model.safetensors")
    assert config["target_modules"] == list(PROJECTIONS)
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 8.0)
    assert config["base_model_name_or_path"] == str(small_model_folder)
    changed = 0
    for name, weight in base.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if name.rpartition(".")[0].rpartition(".")[2] not in PROJECTIONS:
            assert torch.equal(merged[name], weight)
            continue
        low, high = (adapter.pop(f"{stem}.lora_{matrix}.weight") for matrix in "AB")
        assert low.shape == (4, weight.shape[1])
        assert high.shape == (weight.shape[0], 4)
        assert torch.equal(merged[name], weight + high @ low * 2)
        changed += not torch.equal(merged[name], weight)
    assert not adapter
    assert changed == 14
    assert counts["trained_parameters"] == sum(
        4 * sum(weight.shape)
        for name, weight in base.items()
        if name.rpartition(".")[0].rpartition(".")[2] in PROJECTIONS
    )
    assert "held_out_loss" in counts


def test_a_run_that_was_cut_off_ends_with_the_same_bytes_and_keeps_adapters_alone(
    small_model_folder: Path,
    tmp_path: Path,
    recipe: Path,
    dialogues: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = (recipe, dialogues, "tune.keep_every_steps=6")
    tune(small_model_folder, tmp_path / "whole", *words)
    rate = loop.learning_rate

    def cut_off(settings: TuneSettings, tokens: int) -> float:
        if tokens > 7 * 256:
            raise RuntimeError("the power is gone")
        return rate(settings, tokens)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", cut_off)
        with pytest.raises(RuntimeError, match="the power is gone"):
            tune(small_model_folder, tmp_path / "cut", *words)
    tune(small_model_folder, tmp_path / "cut", *words)
    for name in ("model/model.safetensors", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    newest = max((tmp_path / "whole/checkpoints").glob("*/step-*"))
    numbers = sum(file.stat().st_size for file in newest.iterdir()) / 4
    base = sum(item.numel() for item in load_model_folder(small_model_folder)[0].parameters())
    trained = Manifest.read(tmp_path / "whole/manifest.json")
    assert trained is not None
    assert numbers < 3 * trained.counts["trained_parameters"] + 0.5 * base


def test_a_run_with_patience_ends_early_and_writes_the_weights_of_its_best_step(
    small_model_folder: Path, tmp_path: Path, recipe: Path, dialogues: Path
) -> None:
    settings = (
        "tune.early_stop=2",
        "tune.evaluate_every_steps=1",
        "tune.peak_learning_rate=0.05",  # so high that it soon gets worse
        "tune.decay='constant'",
        "tune.warmup_share=0",
        "tune.spike_sigmas=false",
        "tune.keep_checkpoints=1",
    )
    counts = tune(small_model_folder, tmp_path / "chat", recipe, dialogues, *settings).counts
    rows = read_metrics(tmp_path / "chat/metrics.jsonl")
    losses = {row["step"]: row["loss"] for row in rows if row["kind"] == "validation"}
    best = min(losses, key=losses.__getitem__)
    assert counts["steps"] == best + 2 < 12
    assert counts["best_step"] == best
    assert counts["held_out_loss"] == round(losses[best], 4)
    short = (*settings, f"tune.max_tokens={best * 256}")  # the same run to that step alone
    tune(small_model_folder, tmp_path / "short", recipe, dialogues, *short)
    weights = [tmp_path / name / "model/model.safetensors" for name in ("chat", "short")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize("kind", ["int8", "int4", "folder"])
def test_adapters_on_rounded_weights_learn_and_are_merged_with_those(
    small_model_folder: Path, tmp_path: Path, recipe: Path, dialogues: Path, kind: str
) -> None:
    base, settings = small_model_folder, ["tune.peak_learning_rate=1e-2"]
    model, _ = load_model_folder(small_model_folder)
    if kind == "folder":
        base = tmp_path / "rounded"
        save_quantized_folder(base, model, small_model_folder, quantize_model(model, 4))
    else:
        settings.append(f"tune.base_weights={kind}")
    tune(base, tmp_path / "chat", recipe, dialogues, *settings)
    rows = read_metrics(tmp_path / "chat/metrics.jsonl")
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert losses[-1] < 0.6 * losses[0]
    merged = load_model_folder(tmp_path / "chat/model")[0].state_dict()
    adapter = load_file(tmp_path / "chat/adapter/adapter_model.safetensors")
    name = "model.layers.1.mlp.down_proj"
    low, high = (adapter[f"base_model.model.{name}.lora_{matrix}.weight"] for matrix in "AB")
    module = model.get_submodule(name)
    if not isinstance(module, QuantizedLinear):
        module = QuantizedLinear.of(module, 8 if kind == "int8" else 4)  # type: ignore[arg-type]
    assert torch.equal(merged[f"{name}.weight"], module.dequantize() + high @ low * 2)
    if kind == "folder":
        with pytest.raises(RecipeError, match="quantized already"):
            tune(base, tmp_path / "no", recipe, dialogues, "tune.base_weights=int8")
        with pytest.raises(RecipeError, match="cannot be trained"):
            tune(base, tmp_path / "no", recipe, dialogues, "tune.lora=false")


def test_a_biased_projection_keeps_its_bias_when_it_is_rounded(
    small_tokenizer_folder: Path, tmp_path: Path
) -> None:
    config = ModelConfig(
        hidden_size=32, intermediate_size=40, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=64, rope_theta=10_000.0,
        vocabulary_size=400, attention_bias=True, output_bias=True, tie_word_embeddings=True,
    )  # fmt: skip
    model = Llama(config)
    model.initialize(0)
    for name, item in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(item)
    save_model_folder(tmp_path / "base", model, small_tokenizer_folder, torch.float32)
    adapters = Adapters(tmp_path / "base", LoraSettings(), "int8", "base")
    arithmetic = Arithmetic(torch.device("cpu"), torch.float32)
    config = read_config(tmp_path / "base")
    adapted, _ = adapters.build(config, TuneSettings(max_tokens=1), arithmetic)
    close = adapted.logits(adapted(IDS)) - model.logits(model(IDS))
    assert close.abs().max() < 0.02
    adapters.write(tmp_path, adapted, small_tokenizer_folder)
    written = load_model_folder(tmp_path / "model")[0]
    assert torch.allclose(written.logits(written(IDS)), adapted.logits(adapted(IDS)), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora": LoraSettings(), "early_stop": 0}, "early_stop is 0"),
        ({"early_stop": 2, "held_out_share": 0.0}, "needs held-out dialogues"),
        ({"base_weights": "bf16"}, "all weights are trained"),
        ({"replay_share": 1.0}, "replay_share is 1.0"),
        ({"weights": {"a": 0.0}}, r"weights\.a is 0\.0"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        TuneSettings(max_tokens=1, **settings)  # type: ignore[arg-type]
    for wrong in ({"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"targets": ("lm_head",)}):
        with pytest.raises(RecipeError):
            LoraSettings(**wrong)  # type: ignore[arg-type]


def test_the_learning_rate_follows_the_method_unless_it_is_given() -> None:
    assert TuneSettings(max_tokens=1).peak_learning_rate == 2e-5
    assert TuneSettings(max_tokens=1, lora=LoraSettings()).peak_learning_rate == 2e-4
    given = TuneSettings(max_tokens=1, lora=LoraSettings(), peak_learning_rate=1e-3)
    assert given.peak_learning_rate == 1e-3


def test_adapters_are_exported_alone_with_their_tokenizer_and_a_card(
    small_model_folder: Path, tmp_path: Path, recipe: Path, dialogues: Path
) -> None:
    tune(small_model_folder, tmp_path / "chat", recipe, dialogues)

    def export(model: Path) -> Manifest | None:
        return run_alone(
            "export",
            inputs={"model": model, "tokenizer": model},
            out=tmp_path / "exported",
            recipe="sample",
            overrides=("export.adapter=true",),
        )

    manifest = export(tmp_path / "chat/model")
    assert manifest is not None
    folder = tmp_path / "exported/model"
    name = "adapter_model.safetensors"
    assert (folder / name).read_bytes() == (tmp_path / "chat/adapter" / name).read_bytes()
    assert (folder / "tokenizer.json").is_file()
    assert not (folder / "config.json").exists()
    card = (folder / "README.md").read_text()
    assert f"base_model: {json.dumps(str(small_model_folder))}" in card
    assert "PeftModel.from_pretrained(base" in card
    assert manifest.counts["parameters"] < 20_000
    with pytest.raises(InputError, match="there are no adapters for the model"):
        export(small_model_folder)


def test_adapters_of_several_processes_are_refused_before_any_work() -> None:
    settings = TuneSettings(max_tokens=1, lora=LoraSettings(), parallel=ParallelSettings(shard=2))
    with pytest.raises(RecipeError, match=r"\[tune\.lora\] runs in one process, .* has 2"):
        check_files(settings)


def test_muon_moves_adapters_alone(small_model_folder: Path) -> None:
    model, config = load_model_folder(small_model_folder)
    add_adapters(model, LoraSettings(), seed=0)
    optimizer = build_optimizer(model, config, TuneSettings(max_tokens=1, optimizer="muon"))
    assert len(optimizer.state()) == 2 * len(adapters_of(model))
