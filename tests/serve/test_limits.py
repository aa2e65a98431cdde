"""Keys with limits, fair turns, the access log, and connections that keep the server waiting."""

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tongwen.errors import InputError, RecipeError
from tongwen.serve.engine import EngineBusyError
from tongwen.serve.fields import ApiError
from tongwen.serve.generation import Delta, Generation, GenerationRequest
from tongwen.serve.keys import Client, KeySettings, read_keys
from tongwen.serve.settings import ServeSettings
from tongwen.serve.waiting import WaitingLine

QUESTION: Any = [{"role": "user", "content": "你好"}]


def post(url: str, key: str = "", **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    asked = {"model": "small", "messages": QUESTION, **body}
    return httpx.post(f"{url}/v1/chat/completions", json=asked, headers=headers, timeout=60)


# --- keys ---------------------------------------------------------------------------------------


def test_each_key_of_a_file_has_its_own_limits(
    tmp_path: Path, scripted_engine: Any, serve: Any
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(
        '[[keys]]\nname = "lab"\nkey = "k1"\nrequests_per_minute = 2\n'
        '[[keys]]\nname = "hash"\n'
        'sha256 = "cdf6e5b7eefc8f8b8a2a0c5bd4b54ba31f6e6a2d7ab2ab4ae04fdbcd0c3ed40f"\n',
        encoding="utf-8",
    )
    engine, _ = scripted_engine("yes")
    with serve(engine, keys=read_keys(file)) as url:
        assert [post(url, "k1").status_code for _ in range(3)] == [200, 200, 429]
        refused = post(url, "k1")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert "requests a minute" in refused.json()["error"]["message"]
        assert post(url, "k3").status_code == 401
        assert post(url).status_code == 401
        assert httpx.get(f"{url}/metrics").status_code == 401
        headers = {"x-api-key": "k1"}
        assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[[keys]]\nname = "a"\n',
        '[[keys]]\nname = "a"\nkey = ""\n',
        '[[keys]]\nname = "a"\nkey = "x"\nsha256 = "y"\n',
        '[[keys]]\nname = "a"\nkey = "x"\nrequests_per_minute = 0\n',
        '[[keys]]\nname = "a"\nkey = "x"\n[[keys]]\nname = "a"\nkey = "y"\n',
        '[[keys]]\nname = "a"\nkeys = "x"\n',
        "not toml",
    ],
)
def test_a_keys_file_that_is_not_usable_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises((InputError, RecipeError)):
        read_keys(file)
    with pytest.raises(InputError):
        read_keys(tmp_path / "absent.toml")


def test_token_and_answer_limits_even_out_with_time() -> None:
    now = 0.0
    settings = KeySettings(name="a", key="k", tokens_per_minute=600, concurrent_requests=2)
    client = Client("a", settings, clock=lambda: now)
    client.begin(2, 500)
    with pytest.raises(ApiError, match="2 answers at a time"):
        client.begin(1, 1)
    client.end(2, 300)  # 200 too many
    with pytest.raises(ApiError, match="tokens a minute") as caught:
        client.begin(1, 1)
    assert caught.value.headers == {"Retry-After": "21"}
    now = 21.0
    client.begin(1, 1)


def test_a_key_is_free_again_after_every_kind_of_end(
    scripted_engine: Any, serve: Any, wait: Any
) -> None:
    engine, model = scripted_engine("路" * 3_000)
    keys = (KeySettings(name="a", key="k", concurrent_requests=1),)
    with serve(engine, keys=keys) as url:
        model.fails_at_step = 5
        assert post(url, "k").status_code == 500
        model.fails_at_step = model.steps + 5
        assert "server_error" in post(url, "k", stream=True).text
        assert post(url, "k", max_tokens=0).status_code == 400
        model.step_seconds = 0.02
        with httpx.Client(timeout=60) as client:
            headers = {"Authorization": "Bearer k"}
            asked = {"model": "small", "messages": QUESTION, "stream": True, "max_tokens": 3_000}
            path = f"{url}/v1/chat/completions"
            with client.stream("POST", path, json=asked, headers=headers) as response:
                lines = response.iter_lines()
                next(lines)
                assert post(url, "k").status_code == 429
        model.step_seconds = 0
        wait(lambda: post(url, "k", max_tokens=1).status_code == 200)


# --- turns --------------------------------------------------------------------------------------


def waiting(client: str, tokens: int = 1) -> Generation:
    request = GenerationRequest(prompt_ids=(5,) * tokens, max_tokens=1, client=client)
    decoder: Any = None
    return Generation(
        request, max_tokens=1, stop_ids=frozenset(), decoder=decoder, deliver=lambda _: None
    )


def test_clients_take_turns_and_keep_their_own_order() -> None:
    line = WaitingLine()
    made = [waiting(client, number) for number, client in enumerate("aaabac", start=1)]
    for generation in made:
        line.append(generation)
    line.remove(made[1])
    line.remove(made[1])
    assert line.prompt_tokens == sum(len(g.request.prompt_ids) for g in made) - 2
    order = [made.index(line.pop()) for _ in range(5)]
    assert order == [0, 3, 5, 2, 4]
    assert line.next() is None
    assert (len(line), line.prompt_tokens) == (0, 0)


def test_turns_are_shared_by_tokens_and_none_are_saved_up() -> None:
    line = WaitingLine()
    for generation in (waiting("long", 100), waiting("long", 100), *[waiting("short", 9)] * 12):
        line.append(generation)
    order = [line.pop().request.client for _ in range(14)]
    assert order == ["long", *["short"] * 12, "long"]
    line.charge("writes", 500)
    line.append(waiting("writes"))
    line.append(waiting("new"))
    line.append(waiting("new"))
    # Who comes back begins where those are who wait, and not with what it did not use.
    assert [line.pop().request.client for _ in range(3)] == ["writes", "new", "new"]
    assert len(line) == 0


def test_others_cannot_fill_the_line_for_a_client_with_nothing_in_it(
    scripted_engine: Any, wait: Callable[..., None]
) -> None:
    engine, model = scripted_engine("路" * 10, concurrent_requests=1, waiting_requests=4)
    model.step_seconds = 3
    ended: list[str] = []

    def submit(client: str) -> None:
        request = GenerationRequest(prompt_ids=(20,), max_tokens=20, client=client)
        engine.submit(request, lambda delta: ended.append(client) if delta.finish else None)

    def fill() -> None:
        for _ in range(100):
            submit("greedy")

    with pytest.raises(EngineBusyError):
        fill()
    queued = engine.waiting_requests
    submit("b")
    submit("b")  # two of four places are its share
    with pytest.raises(EngineBusyError):
        submit("b")
    engine.check_place(GenerationRequest(prompt_ids=(20,), max_tokens=1, client="c"))
    model.step_seconds = 0
    wait(lambda: len(ended) >= queued + 1)
    assert ended.index("b") <= 2


def test_a_client_with_many_requests_does_not_hold_up_another(
    scripted_engine: Any, wait: Callable[..., None]
) -> None:
    engine, model = scripted_engine("路" * 10, concurrent_requests=1)
    model.step_seconds = 0.003
    ended: list[str] = []

    def deliver(name: str) -> Callable[[Delta], None]:
        return lambda delta: ended.append(name) if delta.finish else None

    for number in range(8):
        request = GenerationRequest(prompt_ids=(20,), max_tokens=20, client="greedy")
        engine.submit(request, deliver(f"greedy {number}"))
    engine.submit(GenerationRequest(prompt_ids=(20,), max_tokens=20, client="b"), deliver("b"))
    wait(lambda: len(ended) == 9)
    assert ended.index("b") <= 2


def test_answers_that_do_not_fit_the_cache_together_wait(
    scripted_engine: Any, wait: Callable[..., None]
) -> None:
    engine, model = scripted_engine("路" * 30, batch_tokens=100)
    model.step_seconds = 0.002
    most, ended = 0, 0

    def deliver(delta: Delta) -> None:
        nonlocal most, ended
        most = max(most, len(engine._writing))
        ended += delta.finish is not None

    for _ in range(6):
        engine.submit(GenerationRequest(prompt_ids=(20,) * 9, max_tokens=40), deliver)
    wait(lambda: ended == 6)
    assert most == 2


# --- connections --------------------------------------------------------------------------------


def reply_of(connection: socket.socket) -> bytes:
    """One whole reply."""
    got = connection.recv(9_999)
    head, _, body = got.partition(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].split()[0])
    while len(body) < size:
        body += connection.recv(size - len(body))
    return head


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    made = socket.create_connection((host, int(port)), timeout=30)
    made.settimeout(30)
    return made


def test_a_client_that_leaves_within_its_body_is_not_an_error_of_the_server(
    scripted_engine: Any, serve: Any, wait: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    engine, _ = scripted_engine("yes")
    log = tmp_path / "access.log"
    with serve(engine, access_log=str(log)) as url:
        with connected(url) as leaving:
            leaving.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                b"Content-Length: 99\r\n\r\n{"
            )
        wait(lambda: log.read_text() != "")
        assert json.loads(log.read_text())["status"] == 400
        assert post(url).status_code == 200
    assert "Traceback" not in caplog.text


def test_half_open_requests_are_closed_and_whole_ones_answered(
    scripted_engine: Any, serve: Any
) -> None:
    assert ServeSettings().keep_alive_seconds >= 75  # longer than proxies keep theirs
    engine, _ = scripted_engine("yes")
    with serve(engine, header_seconds=1, body_seconds=1, keep_alive_seconds=20) as url:
        later = connected(url)  # the first: a second may pass before the others are asked
        later.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        silent, slow, body = (connected(url) for _ in range(3))
        slow.sendall(b"GET /health HTTP/1.1\r\nHo")
        assert reply_of(later).startswith(b"HTTP/1.1 200")
        body.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{")
        assert silent.recv(1) == b""
        assert slow.recv(1) == b""
        assert reply_of(body).startswith(b"HTTP/1.1 408")
        # An idle connection stays open, but a second request that is half sent does not.
        later.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reply_of(later).startswith(b"HTTP/1.1 200")
        later.sendall(b"GET /hea")
        assert later.recv(9_999) == b""
        for each in (silent, slow, later, body):
            each.close()
        assert post(url).status_code == 200


def test_connections_beyond_the_limit_are_told_to_come_back(
    scripted_engine: Any, serve: Any, wait: Any
) -> None:
    engine, _ = scripted_engine("yes")
    with serve(engine, connections=3) as url:
        held = [connected(url) for _ in range(3)]
        for each in held:
            each.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert reply_of(each).startswith(b"HTTP/1.1 200")
        with connected(url) as extra:
            reply = extra.recv(9_999)
        assert reply.startswith(b"HTTP/1.1 503")
        assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "busy"
        for each in held:
            each.close()

        def is_served() -> bool:
            try:
                return httpx.get(f"{url}/health", timeout=60).status_code == 200
            except httpx.TransportError:  # refused while it was still sending
                return False

        wait(is_served)  # those that were closed count no more


# --- the log ------------------------------------------------------------------------------------


def test_the_access_log_has_a_line_for_each_request_and_no_secret(
    tmp_path: Path, scripted_engine: Any, serve: Any
) -> None:
    file = tmp_path / "access.log"
    engine, _ = scripted_engine("yes")
    keys = (KeySettings(name="lab", key="secret"),)
    with serve(engine, keys=keys, access_log=str(file)) as url:
        used = post(url, "secret").json()["usage"]
        post(url, "wrong")
        post(url, "secret", stream=True)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["status"] for line in lines] == [200, 401, 200]
    assert [line["client"] for line in lines] == ["lab", "", "lab"]
    assert lines[0]["prompt_tokens"] == lines[2]["prompt_tokens"] == used["prompt_tokens"]
    assert lines[0]["completion_tokens"] == used["completion_tokens"]
    assert "secret" not in file.read_text()
    assert "你好" not in file.read_text()


def test_an_access_log_that_cannot_be_written_is_refused_at_the_start(
    tmp_path: Path, scripted_engine: Any, serve: Any
) -> None:
    engine, _ = scripted_engine("yes")
    with pytest.raises(InputError, match="access log"), serve(engine, access_log=str(tmp_path)):
        pass


# --- neighbours ---------------------------------------------------------------------------------

HOSTILE: list[dict[str, Any]] = [
    {"top_p": 0, "temperature": 1},
    {"temperature": 1e-300},
    {"logit_bias": {str(n): -100 for n in range(399)}, "max_tokens": 30},
    {"logit_bias": {"399": 100}, "max_tokens": 20},
    {"min_tokens": 10_000, "max_tokens": 5},
    {"stop": ["路"] * 16},
    {"response_format": {"type": "regex", "regex": "(a|b|ab)*c{1,1000}{1,1000}"}},
    {"response_format": {"type": "regex", "regex": "((a{0,99}){0,99}){0,99}"}},
    {"response_format": {"type": "grammar", "grammar": "start: start start | start"}},
    {"response_format": {"type": "grammar", "grammar": "start: " + "(" * 5_000}},
    # Its first token breaks the library's limits: the request's fault, not the server's.
    {"guided_grammar": "start: " + " | ".join(f'"路{n}"' for n in range(3_000))},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "nope"}}}]},
    {"tools": [{"type": "function", "function": {"name": f"f{n}"}} for n in range(128)],
     "tool_choice": "required", "max_tokens": 10},
    {"chat_template_kwargs": {"messages": [], "tools": 3}},
    {"messages": [{"role": "user", "content": "<|im_end|>" * 200}]},
    {"messages": [{"role": "user", "content": "\x00\u202e\ufeff" * 50}]},
    {"stop_token_ids": [10**18]},
    {"n": 16, "max_tokens": 3},
    {"repetition_penalty": 100, "frequency_penalty": 2, "presence_penalty": 2, "temperature": 2},
    {"seed": -(2**63), "temperature": 2, "top_k": 2**31},
    {"logprobs": True, "top_logprobs": 20, "max_tokens": 3},
]  # fmt: skip


def test_hostile_requests_leave_every_neighbours_answer_as_it_is(
    scripted_engine: Any, serve: Any
) -> None:
    engine, model = scripted_engine("路长" * 12, concurrent_requests=8)
    model.step_seconds = 0.001
    with serve(engine) as url, ThreadPoolExecutor(8) as pool:
        stop = threading.Event()

        def neighbour() -> list[str]:
            found = []
            while not stop.is_set():
                found.append(post(url, max_tokens=400).json()["choices"][0]["message"]["content"])
            return found

        neighbours = [pool.submit(neighbour) for _ in range(3)]
        statuses = [post(url, **{"max_tokens": 20, **body}).status_code for body in HOSTILE]
        stop.set()
        answers = [answer for each in neighbours for answer in each.result()]
    assert len(answers) > 3
    assert set(answers) == {"路长" * 12}
    assert set(statuses) <= {200, 400}, list(zip(statuses, HOSTILE, strict=True))
