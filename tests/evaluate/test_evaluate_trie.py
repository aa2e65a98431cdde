import copy
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tongwen.errors import RecipeError
from tongwen.evaluate.choices import Score, score
from tongwen.evaluate.free import answer_prompts
from tongwen.evaluate.journal import Journal, plan_of
from tongwen.evaluate.trie import (
    ReadingLimits,
    Request,
    Requests,
    Trie,
    _OnTheWay,
    _PathKeys,
    read_trie,
)
from tongwen.model.attention import Visibility
from tongwen.model.config import ModelConfig
from tongwen.model.generate import generate
from tongwen.model.llama import Llama
from tongwen.tokenizer.text import Tokenizer


@contextmanager
def counted(model: Llama) -> Iterator[list[int]]:
    """Tokens of every forward pass."""
    passes: list[int] = []

    def count(module: Any, arguments: tuple[torch.Tensor, ...]) -> None:
        passes.append(arguments[0].numel())

    handle = model.register_forward_pre_hook(count)
    try:
        yield passes
    finally:
        handle.remove()


def alone(model: Llama, request: Request) -> Score:
    """The whole softmax of one sequence."""
    with torch.inference_mode():
        logits_TV = model.logits(model(torch.tensor([request.token_ids])))[0]
    table = torch.log_softmax(logits_TV.double(), dim=-1)
    places = range(request.context_tokens, len(request.token_ids))
    return Score(
        math.fsum(table[place - 1, request.token_ids[place]].item() for place in places),
        all(int(table[place - 1].argmax()) == request.token_ids[place] for place in places),
    )


@st.composite
def requests_strategy(draw: st.DrawFn) -> list[Request]:
    """Sequences that branch at many places, some of which begin others or are equal."""
    ids = st.lists(st.integers(300, 302), min_size=2, max_size=12)
    found = [
        Request(tuple(token_ids), draw(st.integers(1, len(token_ids) - 1)))
        for token_ids in draw(st.lists(ids, min_size=1, max_size=12))
    ]
    for index in draw(st.lists(st.integers(0, len(found) - 1), max_size=3)):
        whole = found[index].token_ids
        end = draw(st.integers(2, len(whole)))
        found.append(Request(whole[:end], draw(st.integers(1, end - 1))))
    return found


@hypothesis_settings(deadline=None, max_examples=30)
@given(requests=requests_strategy(), batch_tokens=st.integers(1, 40), seed=st.integers(0, 99))
def test_scores_are_those_of_each_request_alone_in_any_order_and_batch(
    model: Llama, requests: list[Request], batch_tokens: int, seed: int
) -> None:
    with counted(model) as passes:
        scores = score(model, requests, batch_tokens=batch_tokens)
    beginnings = {
        request.token_ids[:end] for request in requests for end in range(1, len(request.token_ids))
    }
    assert sum(passes) == len(beginnings)  # each token once, and no padding
    assert max(passes) <= batch_tokens
    for request, found in zip(requests, scores, strict=True):
        expected = alone(model, request)
        assert found.log_probability == pytest.approx(expected.log_probability, abs=1e-4)
        assert found.is_greedy == expected.is_greedy
    order = random.Random(seed).sample(range(len(requests)), len(requests))
    again = score(model, [requests[index] for index in order], batch_tokens=batch_tokens)
    assert again == [scores[index] for index in order]


def questions(*, subjects: int = 3, each: int = 4) -> list[Request]:
    """Examples, question and choices, as the tasks have them."""
    draw = random.Random(5)

    def ids(count: int) -> list[int]:
        return [draw.randrange(8, 420) for _ in range(count)]

    found = []
    for _ in range(subjects):
        shots = ids(30)
        for _ in range(each):
            question = shots + ids(draw.randrange(3, 12))
            found += [Request(tuple(question + ids(n)), len(question)) for n in (1, 3, 6)]
    return found


def test_a_window_of_positions_leaves_out_far_keys_and_no_other_branch_counts() -> None:
    model_dimensions: dict[str, Any] = {
        "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "head_dim": 4,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocabulary_size": 420,
    }  # fmt: skip
    model = Llama(ModelConfig(**model_dimensions))
    seen: list[list[list[int]]] = []
    true_begin = _PathKeys.begin

    def begin(self: _PathKeys, positions_BT: torch.Tensor) -> Visibility:
        visibility = true_begin(self, positions_BT)
        assert isinstance(visibility, _OnTheWay)
        near = visibility.within(2, positions_BT.shape[1], positions_BT.device).mask
        assert near is not None
        seen.append(near[0, 0].int().tolist())
        return visibility

    requests = [Request((10, 11, 12, 9), 3), Request((10, 11, 13, 14, 9), 4)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_PathKeys, "begin", begin)
        score(model, requests, batch_tokens=3)
    assert seen == [
        [[1, 0, 0], [1, 1, 0], [0, 1, 1]],  # 10, 11, 12
        [[0, 1, 1, 0], [0, 0, 1, 1]],  # 13 and 14 after 10 and 11
    ]


@pytest.mark.parametrize("shape", [{"qk_norm": True}, {"num_key_value_heads": 1}])
def test_other_shapes_of_attention_are_read_as_well(model: Llama, shape: dict[str, Any]) -> None:
    other = Llama(replace(model.config, **shape))
    other.initialize(seed=3)
    requests = questions(subjects=1)
    for request, found in zip(requests, score(other, requests, batch_tokens=16), strict=True):
        expected = alone(other, request)
        assert found.log_probability == pytest.approx(expected.log_probability, abs=1e-4)


def test_a_reading_stopped_after_any_piece_goes_on_and_finds_the_same_bits(
    model: Llama, tmp_path: Path
) -> None:
    trie, limits = Trie.of(Requests(questions())), ReadingLimits(11)
    whole = read_trie(model, trie, limits)
    pieces = math.ceil(len(trie) / 11)
    assert pieces > 20
    path = tmp_path / "journal"
    for stop in range(0, pieces, 2):
        done: list[int] = []

        def report(tokens: int, total: int, done: list[int] = done, stop: int = stop) -> None:
            done.append(tokens)
            if len(done) == stop:
                raise KeyboardInterrupt

        path.unlink(missing_ok=True)
        if stop:
            with pytest.raises(KeyboardInterrupt), Journal(path, ["plan"]) as journal:
                read_trie(model, trie, limits, report=report, journal=journal)
            with path.open("ab") as file:
                file.write(b'[[-1.5],"')  # cut short by the kill
        with counted(model) as passes, Journal(path, ["plan"]) as journal:
            assert read_trie(model, trie, limits, journal=journal) == whole
        # What was on the way to the next piece is read again, and no more.
        assert len(passes) <= pieces - stop + math.ceil(trie.path_tokens / 11) + 1


def test_a_branch_of_nan_breaks_no_other_in_its_piece(model: Llama) -> None:
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.model.embed_tokens.weight[7] = math.nan
    sound = questions(subjects=1, each=2)
    shots = sound[0].token_ids[:30]
    bad = [Request((*shots, 7, 50, 51, 52), 31), Request((*shots, 60, 7, 61), 31)]
    for batch_tokens in (8, 500):
        *scores, first, second = score(broken, [*sound, *bad], batch_tokens=batch_tokens)
        assert math.isnan(first.log_probability)
        assert math.isnan(second.log_probability)
        expected = score(model, sound, batch_tokens=batch_tokens)
        for one, other in zip(scores, expected, strict=True):
            assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)


def test_memory_too_small_for_a_prompt_is_an_error_and_otherwise_bounds_the_batch(
    model: Llama,
) -> None:
    requests = questions(subjects=1)
    longest = max(len(request.token_ids) for request in requests) - 1
    with pytest.raises(RecipeError, match=rf"{longest} tokens.*evaluate\.cache_gib allows"):
        score(model, requests, batch_tokens=64, cache_tokens=longest)
    with counted(model) as passes:
        small = score(model, requests, batch_tokens=64, cache_tokens=longest + 5)
    assert max(passes) == 5
    for one, other in zip(small, score(model, requests, batch_tokens=64), strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)
    with pytest.raises(RecipeError, match=r"evaluate\.cache_gib"):
        answer_prompts(
            model, Tokenizer.__new__(Tokenizer), [list(range(8, 40))], stops=(), max_new_tokens=8,
            batch_tokens=4, cache_tokens=39,
        )  # fmt: skip


def test_the_output_head_sees_scored_positions_only(
    model: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    true_logits = Llama.logits

    def logits(self: Llama, hidden: torch.Tensor) -> torch.Tensor:
        seen.append(len(hidden))
        return true_logits(self, hidden)

    monkeypatch.setattr(Llama, "logits", logits)
    requests = questions()
    score(model, requests, batch_tokens=50)
    assert sum(seen) == len(
        {
            request.token_ids[:place]
            for request in requests
            for place in range(request.context_tokens, len(request.token_ids))
        }
    )


def test_prompts_that_share_their_beginning_read_it_once_and_are_answered_as_alone(
    model: Llama,
) -> None:
    prompts = [list(request.token_ids) for request in questions(subjects=1)]
    prompts += [prompts[0], prompts[0][:20]]
    options: dict[str, Any] = {"max_new_tokens": 5, "stop_ids": {2}}
    expected = [generate(model, [prompt], **options)[0] for prompt in prompts]
    in_order = sorted(range(len(prompts)), key=lambda index: prompts[index])
    with counted(model) as passes:
        answers = generate(model, [prompts[index] for index in in_order], rows=3, **options)
    assert answers == [expected[index] for index in in_order]
    beginnings = {tuple(prompt[:end]) for prompt in prompts for end in range(1, len(prompt) + 1)}
    steps = [tokens for tokens in passes if tokens <= 3]
    # The last token of an equal prompt is read again: its logits are wanted.
    assert sum(passes) - sum(steps) <= len(beginnings) + 1
    assert sum(steps) <= 5 * len(prompts) + len(prompts)


def test_a_journal_of_another_plan_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "parts" / "journal"
    with Journal(path, ["a", "b"]) as journal:
        journal.add([1.5, math.inf])
        journal.add("second")
    with Journal(path, ["a", "b"]) as journal:
        assert journal.entries == [[1.5, math.inf], "second"]
    assert plan_of(path) == ["a", "b"]
    with Journal(path, ["a"]) as journal:
        assert journal.entries == []
        journal.remove()
    assert plan_of(path) is None
