"""The engine: every request gets its own text, whole, whatever else runs."""

import itertools
import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tongwen.errors import InputError, TongwenError
from tongwen.model.generate import generate
from tongwen.model.quantized.folder import load_any_model
from tongwen.model.sampler import Sampling
from tongwen.serve.engine import ContextLengthError, Engine, EngineBusyError
from tongwen.serve.generation import Delta, GenerationRequest
from tongwen.serve.stop import StopText
from tongwen.tokenizer.text import Tokenizer

TEXTS = st.text(st.sampled_from("ab 　路长。，《》👩‍👩‍👧🇨🇳é\n𠮷▁<|"), max_size=40)


def request(*ids: int, **options: Any) -> GenerationRequest:
    return GenerationRequest(prompt_ids=ids, **{"max_tokens": 1_000, **options})


def answer(engine: Engine, asked: GenerationRequest) -> tuple[str, str | None, list[str]]:
    deltas = list(engine.stream(asked))
    texts = [delta.text for delta in deltas]
    return "".join(texts), deltas[-1].finish, texts


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=TEXTS, stops=st.lists(TEXTS.filter(bool).map(lambda t: t[:3]), max_size=3))
def test_streams_join_to_the_text_before_the_stop_string_and_hold_no_half_character(
    scripted_engine: Any, text: str, stops: list[str]
) -> None:
    engine, _ = scripted_engine(text)
    found, finish, pieces = answer(engine, request(20, stop=tuple(stops)))
    ends = [(text.find(s) + len(s), text.find(s)) for s in stops if s in text]
    assert found == (text[: min(ends)[1]] if ends else text)
    assert finish == "stop"
    assert not any("\ufffd" in piece for piece in pieces)
    engine.close()


@given(text=TEXTS, stops=st.lists(TEXTS.filter(bool), min_size=1, max_size=3), data=st.data())
def test_stop_strings_are_found_however_the_text_is_cut(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    def run(pieces: list[str]) -> tuple[str, bool]:
        filter_, shown = StopText(stops), ""
        for piece in pieces:
            new, is_stopped = filter_.push(piece)
            shown += new
            assert text.startswith(shown)
            if is_stopped:
                return shown, True
        return shown + filter_.flush(), False

    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    places = [0, *cuts, len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    assert run(pieces) == run(list(text)) == run([text])
    assert run([text])[1] == any(stop in text for stop in stops)


def test_every_one_of_many_concurrent_requests_gets_its_own_text(
    scripted_engine: Any, wait: Callable[..., None]
) -> None:
    texts = [f"{number}路" * (1 + 7 * number % 23) for number in range(30)]
    engine, _ = scripted_engine(*texts, concurrent_requests=4)
    deliveries: list[queue.SimpleQueue[Delta]] = [queue.SimpleQueue() for _ in texts]
    for number, deltas in enumerate(deliveries):
        # Prompts of different lengths, so that rows stand at different places.
        engine.submit(request(*[30 + number] * (1 + number % 5)), deltas.put)
    for number, deltas in enumerate(deliveries):
        text, finish = "", None
        while finish is None:
            delta = deltas.get(timeout=60)
            text, finish = text + delta.text, delta.finish
        assert text == texts[(30 + number) % 30]
        assert finish == "stop"
    wait(lambda: engine.active_requests == 0)


def test_greedy_answers_of_a_real_model_equal_batched_generation(small_model_folder: Path) -> None:
    model, _ = load_any_model(small_model_folder)
    tokenizer = Tokenizer.load(small_model_folder)
    prompts = [tokenizer.encode(text) for text in ("The road", "第一条路", "a", "老人说。" * 5)]
    expected = generate(model, prompts, max_new_tokens=30, stop_ids=(2, 7))
    engine = Engine(model, tokenizer, (2, 7))
    try:
        for prompt, ids in zip(prompts, expected, strict=True):
            assert answer(engine, request(*prompt, max_tokens=30))[0] == tokenizer.decode(ids)
    finally:
        engine.close()


def test_a_seed_gives_the_same_answer_under_any_load(small_model_folder: Path) -> None:
    model, _ = load_any_model(small_model_folder)
    engine = Engine(model, Tokenizer.load(small_model_folder), (2, 7))
    sampling = Sampling(temperature=1.0, top_p=0.95, seed=11)
    asked = request(20, 30, max_tokens=40, sampling=sampling)
    try:
        alone = answer(engine, asked)[0]
        others = [
            engine.submit(request(number, 40, max_tokens=60), lambda _: None)
            for number in range(20, 25)
        ]
        assert answer(engine, asked)[0] == alone
        for other in others:
            engine.abort(other)
    finally:
        engine.close()


def test_an_aborted_answer_costs_no_further_step(
    scripted_engine: Any, wait: Callable[..., None]
) -> None:
    engine, model = scripted_engine("路" * 3_000)
    model.step_seconds = 0.001
    stream = engine.stream(request(20, max_tokens=4_000))
    next(stream)
    stream.close()
    wait(lambda: engine.active_requests == 0)
    steps = model.steps
    assert steps < 3_000
    assert answer(engine, request(20, max_tokens=2))[1] == "length"
    assert model.steps <= steps + 3


def test_a_prompt_whose_pieces_are_slow_leaves_room_for_every_answer(scripted_engine: Any) -> None:
    """Pieces far into a long prompt cost so much that their number alone is no limit."""
    engine, model = scripted_engine("路" * 200)
    texts: queue.SimpleQueue[Delta] = queue.SimpleQueue()
    engine.submit(request(20, max_tokens=200), texts.put)
    texts.get(timeout=60)
    model.step_seconds = 0.06
    long = request(*[20] * 1_100, max_tokens=1, reports_progress=True)
    read_tokens = [d.read_tokens for d in engine.stream(long) if d.read_tokens is not None]
    model.step_seconds = 0.0
    most = max(after - before for before, after in itertools.pairwise(read_tokens))
    assert 128 <= most <= 2 * 128


def test_limits_are_kept_and_named(scripted_engine: Any) -> None:
    engine, _ = scripted_engine("ab" * 100, context_tokens=16)
    assert answer(engine, request(20, max_tokens=3))[1] == "length"
    _, finish, _ = answer(engine, request(*[20] * 10, max_tokens=100))
    assert finish == "length"
    with pytest.raises(ContextLengthError, match=r"17 tokens.* 16"):
        engine.check(request(*[20] * 16))
    with pytest.raises(InputError, match="empty"):
        engine.check(request())
    with pytest.raises(InputError, match="400"):
        engine.check(request(400))


def test_too_many_waiting_requests_are_refused(scripted_engine: Any) -> None:
    engine, model = scripted_engine("a" * 500, concurrent_requests=1, waiting_requests=2)
    model.step_seconds = 0.002

    def submit_five() -> None:
        for _ in range(5):
            engine.submit(request(20), lambda _: None)

    with pytest.raises(EngineBusyError, match="2 requests with prompts"):
        submit_five()


def test_a_failing_round_ends_its_answers_and_the_engine_goes_on(scripted_engine: Any) -> None:
    engine, model = scripted_engine("The road is long")
    model.fails_at_step = 3
    with pytest.raises(TongwenError, match="broke off"):
        answer(engine, request(20))
    assert answer(engine, request(20))[0] == "The road is long"


def test_closing_ends_every_answer(scripted_engine: Any) -> None:
    engine, model = scripted_engine("路" * 1_000, concurrent_requests=1)
    model.step_seconds = 0.002
    deltas: queue.SimpleQueue[Delta] = queue.SimpleQueue()
    for _ in range(3):
        engine.submit(request(20), deltas.put)
    engine.close()
    ended = 0
    while ended < 3:
        ended += deltas.get(timeout=60).finish == "error"
    with pytest.raises(EngineBusyError):
        engine.submit(request(20), deltas.put)


def test_a_token_that_cannot_be_chosen_ends_its_own_answer_alone(scripted_engine: Any) -> None:
    engine, _ = scripted_engine("a long answer " * 20)
    broken = GenerationRequest(
        prompt_ids=(5,), max_tokens=50, sampling=Sampling(temperature=float("nan"))
    )
    answers: queue.SimpleQueue[Delta] = queue.SimpleQueue()
    good = GenerationRequest(prompt_ids=(5,), max_tokens=40)
    engine.submit(good, answers.put)
    with pytest.raises(TongwenError, match="the next token could not be chosen"):
        list(engine.stream(broken))
    text = ""
    while (delta := answers.get(timeout=60)).finish is None:
        text += delta.text
    assert delta.finish == "length"
    assert (text + delta.text).startswith("a long answer")
    assert list(engine.stream(good))[-1].finish == "length"
