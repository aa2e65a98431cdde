"""Decoding in one call: the same numbers as the model's own layers, alone and in any company."""

from collections.abc import Sequence

import pytest
import torch

from tongwen.model.cache import CacheKind
from tongwen.model.config import ModelConfig
from tongwen.model.decoding import DecodingBatch, Prefill
from tongwen.model.generate import generate
from tongwen.model.llama import Llama
from tongwen.model.quantized import paths
from tongwen.model.quantized.folder import quantize_model
from tongwen.model.quantized.fused import fused_decoder
from tongwen.model.quantized.grid import Bits

COMPILED = [path for path in paths.available() if path != paths.TORCH]
needs_kernels = pytest.mark.skipif(not COMPILED, reason="this machine has torch alone")
PROMPTS = [[(7 * place + number) % 390 + 5 for place in range(tokens)]
           for number, tokens in enumerate((5, 300, 40))]  # fmt: skip


def model_with(bits: Bits | None, *, seed: int = 0, qk_norm: bool = False, **sizes: int) -> Llama:
    shape = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
    } | sizes
    config = ModelConfig(
        **shape,
        vocabulary_size=405,  # the last block of 16 is not full
        max_position_embeddings=512,
        rope_theta=10_000.0,
        initializer_range=0.3,
        qk_norm=qk_norm,
    )
    model = Llama(config)
    model.initialize(seed)
    model.eval().requires_grad_(False)
    if bits is not None:
        quantize_model(model, bits)
    return model


def logits_of(
    model: Llama, prompts: Sequence[Sequence[int]], kind: CacheKind = "auto", steps: int = 3
) -> torch.Tensor:
    batch = DecodingBatch(model, kind)
    for prompt in prompts:
        prefill = Prefill(model, prompt, kind=kind)
        while prefill.advance() is None:
            pass
        batch.append(prefill)
    return torch.stack([batch.step([9 + step] * len(prompts)) for step in range(steps)])


@needs_kernels
@pytest.mark.parametrize("bits", [None, 4, 8])
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_one_call_computes_what_the_layers_compute(bits: Bits | None, kind: CacheKind) -> None:
    model = model_with(bits, qk_norm=kind == "float32")
    assert fused_decoder(model) is not None
    found = logits_of(model, PROMPTS, kind)
    with paths.forced(paths.TORCH):
        assert fused_decoder(model) is None
        expected = logits_of(model, PROMPTS, kind)
    # An activation next to the middle of two steps may be rounded to either.
    assert (found - expected).norm() / expected.norm() < (1e-5 if bits is None else 0.01)


@needs_kernels
@pytest.mark.parametrize("bits", [4, 8])
def test_all_compiled_paths_and_any_number_of_threads_give_the_same_bits(bits: Bits) -> None:
    model = model_with(bits, intermediate_size=4096, hidden_size=128)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for path in COMPILED:
                with paths.forced(path):
                    found.append(logits_of(model, PROMPTS, "int8"))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert torch.equal(other, found[0])


@needs_kernels
@pytest.mark.parametrize("bits", [None, 4])
def test_a_row_gets_the_same_bits_alone_as_among_others(bits: Bits | None) -> None:
    model = model_with(bits)
    together = logits_of(model, PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        assert torch.equal(logits_of(model, [prompt])[:, 0], together[:, row])


@needs_kernels
@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_tokens_tried_at_once_get_the_bits_of_one_after_the_other(kind: CacheKind) -> None:
    model = model_with(4)
    tried, one_by_one = DecodingBatch(model, kind), DecodingBatch(model, kind)
    for batch in (tried, one_by_one):
        for prompt in PROMPTS:
            prefill = Prefill(model, prompt, kind=kind)
            while prefill.advance() is None:
                pass
            batch.append(prefill)
    ids = [[9, 10, 11, 12], [13], [14, 15]]
    found = tried.try_tokens(ids)
    for row, kept in enumerate((2, 1, 1)):
        tried.keep(row, kept)
    expected = [one_by_one.step([9, 13, 14]), one_by_one.step([10, 20, 21])]
    assert torch.equal(torch.stack([logits[0] for logits in found]), expected[0])
    assert torch.equal(found[0][1], expected[1][0])
    # What was not kept is forgotten: the second and third row are a token behind the first.
    assert torch.equal(tried.step([30, 20, 21])[1:], expected[1][1:])


@pytest.mark.parametrize("bits", [4, 8])
def test_greedy_text_is_the_same_on_every_path_and_on_torch(bits: Bits) -> None:
    model = model_with(bits)
    texts = {}
    for path in paths.available():
        with paths.forced(path):
            texts[path] = generate(model, PROMPTS, max_new_tokens=20, stop_ids=())
    assert len(texts[paths.TORCH][0]) == 20
    for path, text in texts.items():
        assert text == texts[paths.TORCH], path


@needs_kernels
def test_what_the_kernels_do_not_know_the_layers_compute() -> None:
    assert fused_decoder(model_with(4, hidden_size=48)) is None  # half a group of inputs
    assert fused_decoder(model_with(4).bfloat16()) is None
    trained = model_with(None)
    trained.model.layers[0].mlp.up_proj.weight.requires_grad_(True)  # type: ignore[union-attr]
    assert fused_decoder(trained) is None
    generate(model_with(4, hidden_size=48), [[5, 6]], max_new_tokens=2, stop_ids=())


@needs_kernels
def test_weights_that_move_are_found_again() -> None:
    model = model_with(8)
    before = logits_of(model, PROMPTS[:1])
    other = model_with(8, seed=1)
    model.lm_head = other.lm_head
    moved = logits_of(model, PROMPTS[:1])
    assert not torch.equal(before, moved)
    with paths.forced(paths.TORCH):
        assert (logits_of(model, PROMPTS[:1]) - moved).norm() / moved.norm() < 0.01


@needs_kernels
@pytest.mark.parametrize("bits", [None, 4, 8])
def test_broken_weights_give_broken_logits(bits: Bits | None) -> None:
    model = model_with(bits)
    model.model.layers[1].input_layernorm.weight[3] = float("nan")  # type: ignore[union-attr, index, operator]
    assert logits_of(model, PROMPTS[:1], steps=1).isnan().all()


def test_an_int8_cache_holds_a_quarter_of_float32_and_scales() -> None:
    sizes = {}
    kinds: tuple[CacheKind, ...] = ("float32", "bfloat16", "int8")
    for kind in kinds:
        prefill = Prefill(model_with(None), PROMPTS[1], kind=kind)
        sizes[kind] = sum(tensor.nbytes for tensor in prefill.cache.tensors())
    assert sizes["bfloat16"] * 2 == sizes["float32"]
    assert sizes["int8"] == sizes["float32"] // 4 + sizes["float32"] // 16
