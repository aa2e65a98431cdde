"""Prompts that begin like an earlier one: read from where they differ, with the same bits."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch

from tests.serve.conftest import running_server
from tongwen.errors import InputError
from tongwen.model.cache import CacheKind, new_cache
from tongwen.model.config import ModelConfig
from tongwen.model.decoding import Prefill
from tongwen.model.huggingface import RopeScaling
from tongwen.model.llama import Llama
from tongwen.model.prefix_cache import PrefixCache
from tongwen.model.quantized.folder import quantize_model
from tongwen.serve.engine import Engine
from tongwen.serve.generation import Delta, GenerationRequest
from tongwen.tokenizer.text import Tokenizer

BLOCK = 128


def make_model(**changes: Any) -> Llama:
    config = ModelConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=2_048,
        initializer_range=0.3,
        vocabulary_size=400,
        **changes,
    )
    model = Llama(config)
    model.initialize(0)
    return model.eval().requires_grad_(False)


def text_of(tokens: int, seed: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(20, 400, (tokens,), generator=generator).tolist())


@pytest.fixture
def engines(small_tokenizer: Tokenizer) -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(model: Llama, **options: Any) -> Engine:
        made.append(Engine(model, small_tokenizer, (2, 7), **{"prefix_bytes": 1 << 26} | options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def asked(engine: Engine, ids: tuple[int, ...], tokens: int = 6) -> tuple[list[Any], int]:
    """The answer's scored tokens, and how many of the prompt were known."""
    deltas: list[Delta] = []
    finished = threading.Event()

    def deliver(delta: Delta) -> None:
        deltas.append(delta)
        if delta.finish is not None:
            finished.set()

    request = GenerationRequest(prompt_ids=ids, max_tokens=tokens, ignores_eos=True, logprobs=2)
    generation = engine.submit(request, deliver)
    assert finished.wait(60)
    assert deltas[-1].error is None
    return [score for delta in deltas for score in delta.scores], generation.cached_tokens


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("bits", [None, 8])
def test_an_answer_has_the_same_bits_with_and_without_known_prefixes(
    engines: Callable[..., Engine], kind: CacheKind, bits: Any
) -> None:
    model = make_model()
    if bits is not None:
        quantize_model(model, bits)
    document = text_of(700, 0)
    with_cache, without = engines(model, cache=kind), engines(model, cache=kind, prefix_bytes=0)
    known = []
    for question in (text_of(9, 1), text_of(200, 2), text_of(9, 1), ()):
        found, cached = asked(with_cache, document + question)
        expected, none = asked(without, document + question)
        assert found == expected
        assert none == 0
        known.append(cached)
    assert known == [0, 640, 640, 640]


def test_at_least_the_last_token_is_read_and_a_changed_token_ends_what_is_known(
    engines: Callable[..., Engine],
) -> None:
    engine = engines(make_model())
    document = text_of(4 * BLOCK, 0)
    asked(engine, document)
    assert asked(engine, document)[1] == 3 * BLOCK
    assert asked(engine, (*document, 30))[1] == 4 * BLOCK
    changed = (*document[:BLOCK], document[BLOCK] ^ 1, *document[BLOCK + 1 :], 30)
    assert asked(engine, changed)[1] == BLOCK
    moved = (30, *document)  # the same tokens at other places are other keys
    assert asked(engine, moved)[1] == 0


def test_texts_that_turn_by_their_length_are_not_shared(engines: Callable[..., Engine]) -> None:
    scaling = RopeScaling(kind="dynamic", factor=4.0, original_tokens=512)
    engine = engines(make_model(rope_scaling=scaling))
    long, short = text_of(600, 0), text_of(300, 1)
    assert [asked(engine, ids)[1] for ids in (long, long, short, short)] == [0, 0, 0, 256]


def filled(model: Llama, ids: tuple[int, ...]) -> Any:
    cache = new_cache(model, 1, len(ids))
    prefill = Prefill(model, ids, cache=cache, piece_tokens=BLOCK)
    while prefill.advance() is None:
        pass
    return cache


def test_the_least_recently_used_text_goes_first_and_never_the_beginning_of_one_that_stays() -> (
    None
):
    model = make_model()
    block_bytes = sum(tensor.nbytes for tensor in new_cache(model, 1, BLOCK).tensors())
    prefixes = PrefixCache(4 * block_bytes, BLOCK)
    first, second, third = (text_of(2 * BLOCK + 1, seed) for seed in range(3))

    def known(ids: tuple[int, ...]) -> int:
        return prefixes.restore(ids, new_cache(model, 1, len(ids)))

    for ids in (first, second):
        prefixes.keep(ids, filled(model, ids))
    assert known(first) == 2 * BLOCK  # now `second` was used least recently
    prefixes.keep(third[: BLOCK + 1], filled(model, third))
    assert (known(first), known(second), known(third)) == (2 * BLOCK, BLOCK, BLOCK)
    longest = text_of(9 * BLOCK, 3)
    prefixes.keep(longest, filled(model, longest))
    assert prefixes.size == 4 * block_bytes  # of a text beyond the budget the beginning is kept
    assert (known(longest), known(first)) == (4 * BLOCK, 0)


def test_prefixes_are_known_after_a_restart_and_refused_for_another_model(
    engines: Callable[..., Engine], tmp_path: Path
) -> None:
    model, file = make_model(), tmp_path / "prefixes"
    document = text_of(700, 0)
    first = engines(model)
    asked(first, document)
    first.close()
    assert first.save_prefixes(file, "digest") == 640
    assert file.stat().st_mode & 0o077 == 0
    second = engines(model)
    assert second.load_prefixes(file, "digest") == 640
    question = (*document, 33, 44)
    found, cached = asked(second, question)
    assert cached == 640
    assert found == asked(engines(model, prefix_bytes=0), question)[0]
    for engine, digest in (
        (engines(model), "another"),
        (engines(model, cache="int8"), "digest"),
    ):
        with pytest.raises(InputError, match="prefixes of another setting"):
            engine.load_prefixes(file, digest)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot read the saved prefixes"):
        engines(model).load_prefixes(file, "digest")


def test_a_smaller_budget_takes_the_most_recently_used_of_a_file(tmp_path: Path) -> None:
    model = make_model()
    like = new_cache(model, 1, 1)
    old, new = text_of(2 * BLOCK + 1, 0), text_of(2 * BLOCK + 1, 1)
    prefixes = PrefixCache(1 << 26, BLOCK)
    for ids in (old, new):
        prefixes.keep(ids, filled(model, ids))
    prefixes.save(tmp_path / "saved", {})
    smaller = PrefixCache(prefixes.size // 2, BLOCK)
    smaller.load(tmp_path / "saved", {}, like)
    assert smaller.restore(new, new_cache(model, 1, len(new))) == 2 * BLOCK
    assert smaller.restore(old, new_cache(model, 1, len(old))) == 0


def test_every_interface_says_how_many_tokens_were_cached(engines: Callable[..., Engine]) -> None:
    engine = engines(make_model())
    document = "第1条路很长，老人说。" * 40
    messages = [{"role": "user", "content": document}]
    with running_server(engine) as url:

        def usage(path: str, **body: Any) -> dict[str, Any]:
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
            text = json.dumps({"model": "small", **body})
            connection.request("POST", path, text, {"Content-Type": "application/json"})
            reply = json.loads(connection.getresponse().read())
            connection.close()
            found: dict[str, Any] = reply["usage"]
            return found

        first = usage("/v1/chat/completions", messages=messages, max_tokens=2)
        assert first["prompt_tokens_details"] == {"cached_tokens": 0}
        whole = (first["prompt_tokens"] - 1) // BLOCK * BLOCK
        assert whole > 0
        again = usage("/v1/chat/completions", messages=messages, max_tokens=2, n=2)
        assert again["prompt_tokens_details"] == {"cached_tokens": whole}
        answered = usage("/v1/responses", input=messages, max_output_tokens=2)
        assert answered["input_tokens_details"] == {
            "cached_tokens": whole, "cache_write_tokens": 0
        }  # fmt: skip
        message = usage("/v1/messages", messages=messages, max_tokens=2)
        assert message["cache_read_input_tokens"] == whole
        assert message["input_tokens"] == first["prompt_tokens"] - whole


def test_a_window_that_memory_cannot_hold_is_smaller_and_one_beyond_the_model_is_refused(
    engines: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    token_bytes = sum(tensor.nbytes for tensor in new_cache(model, 1, 1).tensors())
    monkeypatch.setattr("tongwen.serve.engine.free_memory_bytes", lambda _: 400 * token_bytes)
    assert engines(model).context_tokens == 100
    assert engines(model, context_tokens=300).context_tokens == 300
    with pytest.raises(InputError, match=r"serve\.context_tokens is 4,096"):
        engines(model, context_tokens=4_096)
