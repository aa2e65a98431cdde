"""A model that says what a test tells it to, and a server around it."""

import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import uvicorn
from torch import Tensor

from tongwen.model.config import ModelConfig
from tongwen.model.llama import Llama
from tongwen.serve.app import Server
from tongwen.serve.connections import protocol_with
from tongwen.serve.engine import Engine
from tongwen.serve.settings import ServeSettings
from tongwen.tokenizer.text import Tokenizer


class ScriptedModel(Llama):
    """Answers prompt p with `scripts[p[0] % len(scripts)]`, then the stop id 2.

    What it must remember of a prompt, its length and its script, it keeps in the cache, as the
    real model does: a row that is mixed up with another shows at once.
    """

    def __init__(self, scripts: list[list[int]], context_tokens: int = 4_096) -> None:
        super().__init__(
            ModelConfig(
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=1,
                num_attention_heads=1,
                num_key_value_heads=1,
                head_dim=8,
                max_position_embeddings=context_tokens,
                vocabulary_size=400,
            )
        )
        self.scripts = scripts
        self.step_seconds = 0.0
        self.steps = 0
        self.fails_at_step: int | None = None
        self.takes_scripts_in_turn = False
        """Instead: prompt after prompt, where the prefix cache is off."""
        self.prompts = 0

    def forward(self, token_ids_BT: Tensor, *, positions_BT: Tensor, keys: Any, **_: Any) -> Tensor:
        time.sleep(self.step_seconds)
        self.steps += 1
        if self.steps == self.fails_at_step:
            raise RuntimeError("scripted failure")
        memory = keys.keys_BSKD[0]
        for row in range(len(token_ids_BT)):
            if positions_BT[row, 0] == 0:
                chosen = self.prompts if self.takes_scripts_in_turn else token_ids_BT[row, 0]
                memory[row, 0, 0, 0] = chosen % len(self.scripts)
                self.prompts += 1
            if positions_BT.shape[1] > 1 or positions_BT[row, 0] == 0:
                memory[row, 0, 0, 1] = positions_BT[row, -1] + 1
        place = positions_BT + 1 - memory[:, :1, 0, 1]
        return torch.stack([memory[:, :1, 0, 0].expand_as(place), place], dim=-1)

    def logits(self, hidden: Tensor) -> Tensor:
        script, place = hidden[..., 0].long(), hidden[..., 1].long()
        logits = torch.zeros(*hidden.shape[:-1], 400)
        flat = logits.view(-1, 400)
        for row, (number, at) in enumerate(zip(script.flatten(), place.flatten(), strict=True)):
            ids = self.scripts[int(number)]
            flat[row, ids[int(at)] if at < len(ids) else 2] = 100.0
        return logits


@pytest.fixture(scope="session", autouse=True)
def patient_clients() -> Iterator[None]:
    """Clients wait a minute for a busy machine, where httpx waits five seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("get", "post"):
            patch.setattr(httpx, name, functools.partial(getattr(httpx, name), timeout=60))
        yield


@pytest.fixture(scope="session")
def small_tokenizer(small_tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.load(small_tokenizer_folder)


EngineFactory = Callable[..., tuple[Engine, ScriptedModel]]


@pytest.fixture(scope="session")
def make_engine(small_tokenizer: Tokenizer) -> EngineFactory:
    """Makes an engine whose answers are the given texts; whoever calls it closes it."""

    def make(*texts: str, context_tokens: int = 4_096, **options: Any) -> tuple[Engine, Any]:
        model = ScriptedModel([small_tokenizer.encode(text) for text in texts], context_tokens)
        return Engine(model, small_tokenizer, (2, 7), **options), model

    return make


@pytest.fixture
def scripted_engine(make_engine: EngineFactory) -> Iterator[EngineFactory]:
    """`make_engine`, whose engines are closed after the test."""
    engines = []

    def make(*texts: str, **options: Any) -> tuple[Engine, ScriptedModel]:
        engine, model = make_engine(*texts, **options)
        engines.append(engine)
        return engine, model

    yield make
    for engine in engines:
        engine.close()


@contextmanager
def running_server(
    engine: Engine,
    *,
    api_key: str | None = None,
    hosts: Any = None,
    keys: Any = (),
    servers: Any = None,
    **settings: Any,
) -> Iterator[str]:
    """The URL of a server around the engine."""
    made = ServeSettings(**settings)
    server = Server(engine, "small", made, has_chat=True, servers=servers)
    application = server.application(api_key=api_key, hosts=hosts, keys=keys)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            application,
            http=protocol_with(made.header_seconds, made.connections),
            log_level="critical",
            lifespan="off",
            timeout_keep_alive=made.keep_alive_seconds,
        )
        uvicorn_server = uvicorn.Server(config)
        thread = threading.Thread(target=uvicorn_server.run, args=([listener],))
        thread.start()
        wait_until(lambda: uvicorn_server.started)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            uvicorn_server.should_exit = True
            thread.join(timeout=60)


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    return running_server


@pytest.fixture(scope="session")
def wait() -> Callable[..., None]:
    return wait_until
