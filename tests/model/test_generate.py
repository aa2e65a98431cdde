"""Batched generation gives what one prompt alone would get."""

from dataclasses import replace

import pytest
import torch

from tongwen.errors import InputError
from tongwen.model import decoding
from tongwen.model.config import ModelConfig
from tongwen.model.generate import generate
from tongwen.model.llama import KeyValueCache, Llama
from tongwen.model.sampler import Sampler, Sampling

CONFIG = ModelConfig(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=64,
    rope_theta=10_000.0,
    initializer_range=0.4,
    vocabulary_size=50,
)


@pytest.fixture(scope="module")
def model() -> Llama:
    model = Llama(CONFIG)
    model.initialize(3)
    return model


def prompts_of_many_lengths() -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    lengths = [1, 7, 30, 2, 63, 5, 1, 12, 40, 3]
    return [torch.randint(0, 50, (n,), generator=generator).tolist() for n in lengths]


def without_cache(model: Llama, prompt: list[int], max_new_tokens: int, stops: set[int]) -> list:
    ids = list(prompt)
    while len(ids) < min(len(prompt) + max_new_tokens, 64):
        with torch.no_grad():
            next_id = int(model.logits(model(torch.tensor([ids]))[0, -1]).argmax())
        if next_id in stops:
            break
        ids.append(next_id)
    return ids[len(prompt) :]


@pytest.mark.parametrize("rows", [1, 3, 32])
def test_greedy_answers_equal_those_without_cache_or_batch(model: Llama, rows: int) -> None:
    prompts = prompts_of_many_lengths()
    expected = [without_cache(model, prompt, 20, {7, 11}) for prompt in prompts]
    assert len({len(answer) for answer in expected}) > 3, "answers must end at different steps"
    answers = generate(model, prompts, max_new_tokens=20, stop_ids=(7, 11), rows=rows)
    assert answers == expected


def test_drawn_answers_do_not_depend_on_the_batch(model: Llama) -> None:
    prompts = prompts_of_many_lengths()
    options = {"max_new_tokens": 15, "stop_ids": (7,), "temperature": 1.0, "seed": 5}
    together = generate(model, prompts, **options)
    assert together == generate(model, prompts, rows=2, **options)
    assert together != generate(model, prompts, **{**options, "seed": 6})


def test_a_prompt_read_in_pieces_gives_the_same_logits(
    model: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = prompts_of_many_lengths()[8]
    whole = decoding.Prefill(model, prompt).advance()
    monkeypatch.setattr(decoding, "PREFILL_TOKENS", 7)
    prefill, logits, pieces = decoding.Prefill(model, prompt), None, 0
    while logits is None:
        logits, pieces = prefill.advance(), pieces + 1
    assert pieces == 6
    torch.testing.assert_close(logits, whole)


def test_an_answer_ends_where_the_window_is_full(model: Llama) -> None:
    (answer,) = generate(model, [[1] * 60], max_new_tokens=20, stop_ids=())
    assert len(answer) == 4


@pytest.mark.parametrize(("prompt", "text"), [([], "empty"), ([1] * 64, "64 tokens")])
def test_a_prompt_without_place_for_an_answer_is_refused(
    model: Llama, prompt: list[int], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        generate(model, [[1], prompt], max_new_tokens=3, stop_ids=())


def test_no_prompts_or_no_new_tokens_give_no_text(model: Llama) -> None:
    assert generate(model, [], max_new_tokens=3, stop_ids=()) == []
    assert generate(model, [[1], [2]], max_new_tokens=0, stop_ids=()) == [[], []]


def draws(sampling: Sampling, logits: torch.Tensor, count: int = 2_000) -> torch.Tensor:
    sampler = Sampler(sampling)
    return torch.bincount(
        torch.tensor([sampler.choose(logits) for _ in range(count)]), minlength=len(logits)
    )


def test_draws_follow_the_softmax_at_their_temperature() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    counts = draws(Sampling(temperature=0.7, seed=1), logits)
    torch.testing.assert_close(counts / 2_000, (logits / 0.7).softmax(0), atol=0.04, rtol=0)


def test_top_p_and_top_k_keep_only_the_likeliest_tokens() -> None:
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
    assert draws(Sampling(temperature=1, top_k=2, seed=1), logits)[[0, 2]].sum() == 0
    assert draws(Sampling(temperature=1, top_p=0.6, seed=1), logits)[[0, 2]].sum() == 0
    assert (draws(Sampling(temperature=1, top_p=0.75, seed=1), logits) > 0).sum() == 3
    assert draws(Sampling(temperature=1, top_p=1e-9, seed=1), logits)[1] == 2_000
    assert draws(Sampling(temperature=1e-9, seed=1), logits)[1] == 2_000


def test_penalties_grow_with_repetition() -> None:
    sampler = Sampler(Sampling(frequency_penalty=0.4, presence_penalty=0.3))
    logits = torch.tensor([1.0, 0.0, -5.0])
    # Token 0 loses 0.7 at its first use and 0.4 at the second: 1.0, 0.3, -0.1 against 0.0.
    assert [sampler.choose(logits) for _ in range(4)] == [0, 0, 1, 0]
    assert logits.tolist() == [1.0, 0.0, -5.0]


@pytest.mark.parametrize("window", [None, 40])
def test_a_prompt_read_in_pieces_gets_the_logits_of_a_plain_pass(window: int | None) -> None:
    layers = () if window is None else (1,)
    model = Llama(
        replace(CONFIG, max_position_embeddings=300, sliding_window=window, windowed_layers=layers)
    )
    model.initialize(3)
    ids = torch.randint(50, (300,), generator=torch.Generator().manual_seed(1)).tolist()
    cache = KeyValueCache(model.config, 1, 300, torch.float32)
    with torch.inference_mode():
        whole_TV = model.logits(model(torch.tensor([ids]))[0])
        for start, end in ((0, 128), (128, 256), (256, 299), (299, 300)):
            piece = torch.tensor([ids[start:end]])
            hidden = model(piece, positions_BT=torch.arange(start, end)[None], keys=cache)
            torch.testing.assert_close(
                model.logits(hidden[0]), whole_TV[start:end], atol=1e-4, rtol=1e-4
            )
