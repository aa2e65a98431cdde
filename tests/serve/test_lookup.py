"""Guessed tokens save steps and change no answer."""

import queue
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch

from tongwen.model.llama import Llama
from tongwen.model.quantized import paths
from tongwen.model.quantized.folder import load_any_model, quantize_model
from tongwen.model.sampler import Sampling
from tongwen.serve.engine import Engine
from tongwen.serve.generation import Delta, GenerationRequest
from tongwen.serve.lookup import ROWS_AT_ONCE, PromptLookup
from tongwen.tokenizer.text import Tokenizer

needs_kernels = pytest.mark.skipif(
    paths.available() == (paths.TORCH,), reason="this machine has torch alone"
)


@pytest.fixture
def model(small_model_folder: Path) -> Iterator[Llama]:
    model, _ = load_any_model(small_model_folder, torch.float32)
    quantize_model(model, 4)
    return model.requires_grad_(False)


def answers(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    biases: Mapping[int, float],
    temperature: float = 0.0,
) -> list[tuple[str, int]]:
    """Texts of requests that run at once, with their tokens."""
    waiting = []
    for number, prompt in enumerate(prompts):
        deltas: queue.SimpleQueue[Delta] = queue.SimpleQueue()
        request = GenerationRequest(
            prompt_ids=tuple(prompt),
            max_tokens=40 + number,
            ignores_eos=True,
            sampling=Sampling(temperature=temperature, seed=number, logit_bias=biases),
        )
        waiting.append((engine.submit(request, deltas.put), deltas))
    found = []
    for generation, deltas in waiting:
        text, finish = "", None
        while finish is None:
            delta = deltas.get(timeout=60)
            assert delta.error is None
            text, finish = text + delta.text, delta.finish
        found.append((text, generation.completion_tokens))
    return found


@needs_kernels
@pytest.mark.parametrize("streams", [1, 2, 3, 6])
@pytest.mark.parametrize("temperature", [0.0, 0.3])
@pytest.mark.parametrize("biases", [{20: 1e3}, dict.fromkeys((20, 21, 22), 50.0)])
def test_answers_are_the_same_with_and_without_guesses(
    model: Llama,
    small_model_folder: Path,
    streams: int,
    temperature: float,
    biases: dict[int, float],
) -> None:
    tokenizer = Tokenizer.load(small_model_folder)
    prompts = [tokenizer.encode(f"第{number}条路。The road." * 3) for number in range(streams)]
    found = {}
    for looks_up in (False, True):
        engine = Engine(model, tokenizer, (2, 7), looks_up=looks_up)
        try:
            found[looks_up] = answers(engine, prompts, biases, temperature)
        finally:
            engine.close()
        if not looks_up:
            assert engine.guessed_tokens == 0
        elif streams < ROWS_AT_ONCE:
            right, guessed = engine.right_tokens, engine.guessed_tokens
            assert right > 20 if len(biases) == 1 else right < guessed
    assert found[True] == found[False]
    assert [tokens for _, tokens in found[True]] == [40 + number for number in range(streams)]


@needs_kernels
def test_right_guesses_save_steps(
    model: Llama, small_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(model, Tokenizer.load(small_model_folder), (2, 7))
    steps = []
    batch = engine._batch
    for name in ("step", "try_tokens"):
        plain = getattr(batch, name)
        monkeypatch.setattr(batch, name, lambda ids, plain=plain: steps.append(1) or plain(ids))
    try:
        [(_, tokens)] = answers(engine, [[20, 30, 40] * 5], {20: 1e3})
    finally:
        engine.close()
    assert engine.right_tokens > 0
    assert len(steps) + engine.right_tokens == tokens - 1  # the prompt's end gave the first


def test_a_guess_is_what_followed_the_last_three_tokens_the_last_time() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 1, 2, 3, 5, 6])
    assert lookup.guess(4) == []
    for token in (1, 2, 3):
        lookup.add(token)
    assert lookup.guess(2) == [5, 6]
    assert lookup.guess(9) == [5, 6, 1, 2, 3, 5, 6, 1, 2]  # and so on
    assert lookup.guess(0) == []


def test_guessing_rests_while_too_few_guesses_are_right() -> None:
    lookup = PromptLookup([1, 2, 3] * 2)
    assert lookup.guess(3) == [1, 2, 3]
    for _ in range(3):
        lookup.judge(3, 0)
    assert lookup.guess(3) == []
    assert (lookup.guessed, lookup.right) == (9, 0)
    for _ in range(70):
        lookup.add(1)
    assert lookup.guess(3) == [1, 1, 1]  # tried again
