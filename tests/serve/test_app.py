"""The HTTP interface as OpenAI's own client and a bare one see it."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import openai
import pytest

from tongwen.model.quantized.folder import load_any_model
from tongwen.serve.engine import Engine
from tongwen.tokenizer.text import Tokenizer

TEXT = "第1条路很长，老人说。👩‍👩‍👧 The road is long <|im_end|> 🇨🇳。"
QUESTION: Any = [{"role": "user", "content": "你好"}]


@pytest.fixture(scope="module")
def url(make_engine: Any, serve: Any) -> Iterator[str]:
    """A server whose model says TEXT, with a window of 300 tokens."""
    engine, _ = make_engine(TEXT, context_tokens=300)
    with serve(engine) as url:
        yield url
    engine.close()


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def post(url: str, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
    return httpx.post(url + path, json={"model": "small", **body})


def events(response: httpx.Response) -> list[Any]:
    lines = [line for line in response.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-1]]


def test_openais_client_gets_the_same_chat_answer_whole_and_streamed(client: Any) -> None:
    whole = client.chat.completions.create(model="small", messages=QUESTION)
    assert whole.choices[0].message.content == TEXT
    assert whole.choices[0].finish_reason == "stop"
    with client.chat.completions.stream(
        model="small", messages=QUESTION, stream_options={"include_usage": True}
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == TEXT
    assert not any("\ufffd" in delta for delta in deltas)
    assert final.choices[0].finish_reason == "stop"
    assert final.usage == whole.usage
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


def test_openais_client_gets_the_same_completion_whole_and_streamed(client: Any) -> None:
    whole = client.completions.create(model="small", prompt="路")
    parts = list(client.completions.create(model="small", prompt="路", stream=True))
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text == TEXT
    assert [part.choices[0].finish_reason for part in parts][-1] == "stop"


def test_a_greedy_answer_of_a_real_model_is_the_same_whole_and_streamed(
    small_model_folder: Path, serve: Any
) -> None:
    model, _ = load_any_model(small_model_folder)
    engine = Engine(model, Tokenizer.load(small_model_folder), (2, 7))
    try:
        with serve(engine) as url:
            whole = post(url, messages=QUESTION, max_tokens=40).json()["choices"][0]
            parts = events(post(url, messages=QUESTION, max_tokens=40, stream=True))
            text = "".join(part["choices"][0]["delta"].get("content", "") for part in parts)
            assert text == whole["message"]["content"]
            assert parts[-1]["choices"][0]["finish_reason"] == whole["finish_reason"]
    finally:
        engine.close()


def test_the_stream_opens_with_the_role_and_closes_with_the_counts(url: str) -> None:
    response = post(url, messages=QUESTION, stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "no-transform" in response.headers["cache-control"]
    first, *_, last = events(response)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] > 10
    without = events(post(url, messages=QUESTION, stream=True))
    assert all("usage" not in event for event in without)
    assert len({event["id"] for event in without}) == 1


def test_stop_strings_and_limits_end_the_answer_and_say_so(url: str) -> None:
    def choice(**options: Any) -> tuple[str, str]:
        whole = post(url, messages=QUESTION, **options).json()["choices"][0]
        parts = events(post(url, messages=QUESTION, stream=True, **options))
        streamed = "".join(part["choices"][0]["delta"].get("content", "") for part in parts)
        assert streamed == whole["message"]["content"]
        assert parts[-1]["choices"][0]["finish_reason"] == whole["finish_reason"]
        return whole["message"]["content"], whole["finish_reason"]

    assert choice(stop="老人说。👩") == ("第1条路很长，", "stop")
    assert choice(stop=["never", "The"]) == (TEXT.partition("The")[0], "stop")
    short, finish = choice(max_tokens=5)
    assert TEXT.startswith(short)
    assert finish == "length"
    assert choice(max_completion_tokens=5) == (short, "length")
    assert choice(max_tokens=100_000) == (TEXT, "stop")


def test_several_prompts_and_answers_are_numbered(url: str) -> None:
    body = {"prompt": ["a", "b"], "n": 2}
    whole = post(url, "/v1/completions", **body).json()
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2, 3]
    assert {choice["text"] for choice in whole["choices"]} == {TEXT}
    texts = [""] * 4
    for event in events(post(url, "/v1/completions", stream=True, **body)):
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert texts == [TEXT] * 4


def test_a_prompt_beyond_the_window_is_refused_with_both_numbers(client: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="small", prompt=[20] * 300)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "prompt"
    assert "301" in caught.value.message
    assert "300" in caught.value.message
    with pytest.raises(openai.BadRequestError, match="context window"):
        client.chat.completions.create(
            model="small", messages=[{"role": "user", "content": "龘" * 300}], stream=True
        )
    fits = client.completions.create(model="small", prompt=[20] * 298, max_tokens=50)
    assert fits.choices[0].finish_reason == "length"
    assert fits.usage.total_tokens == 300


def test_an_unknown_model_is_answered_with_the_known_one(client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="this server has: small"):
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")
    assert client.models.retrieve("small").id == "small"
    (model,) = client.models.list().data
    assert model.id == "small"
    assert model.context_length == 300


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 3),
        ("temperature", "warm"),
        ("temperature", float("nan")),
        ("top_p", -0.1),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("seed", 2**70),
        ("n", 0),
        ("stop", [""]),
        ("stop", 5),
        ("stream", "yes"),
        ("stream_options", {"surprise": 1}),
        ("logprobs", 3),
        ("top_logprobs", 21),
        ("top_logprobs", 2),
        ("echo", True),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "absent"}}),
        ("continue_final_message", True),
        ("tools", [{"type": "function"}]),
        ("tools", [{"type": "custom", "name": "f"}]),
        ("tools", [{"type": "function", "function": {"name": "a b"}}]),
        ("response_format", {"type": "xml"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a"}}),
        ("response_format", {"type": "regex", "regex": "(a+"}),
        ("response_format", {"type": "grammar", "grammar": "start: foo"}),
        (
            "response_format",
            {"type": "json_schema", "json_schema": {"schema": {"type": "strin"}}},
        ),
        ("functions", [{"name": "f"}]),
        ("messages", []),
        ("messages", "hello"),
        ("messages", [{"role": "king", "content": "x"}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url"}]}]),
        ("messages", [{"role": "user", "content": None}]),
        ("messages", [{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]),
        ("messages", [{"role": "user", "content": "\ud800"}]),
        ("min_p", 2),
        ("repetition_penalty", 0),
        ("logit_bias", {"dog": 1}),
        ("logit_bias", {"3": "much"}),
        ("stop_token_ids", ["a"]),
        ("max_tokens", -2),
    ],
)
def test_a_wrong_or_unsupported_field_is_refused_by_name(url: str, field: str, value: Any) -> None:
    body = {"model": "small", "messages": QUESTION, field: value}
    response = httpx.post(f"{url}/v1/chat/completions", content=json.dumps(body))
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert field[0] in error["param"]
    assert error["message"]


def test_fields_that_ask_for_nothing_are_accepted(url: str) -> None:
    response = post(
        url,
        messages=[
            {"role": "developer", "content": "Be brief.", "name": "x"},
            {"role": "assistant", "content": "好", "refusal": None, "tool_calls": None},
            {"role": "user", "content": [{"type": "text", "text": "你"}]},
        ],
        user="someone",
        metadata={"a": "b"},
        store=False,
        logprobs=False,
        tools=None,
        response_format={"type": "text"},
        logit_bias={},
        temperature=None,
    )
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b"1" * 5_000])
def test_a_body_that_is_no_request_is_refused(url: str, body: bytes) -> None:
    response = httpx.post(f"{url}/v1/chat/completions", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_a_huge_body_is_refused_before_it_is_read(scripted_engine: Any, serve: Any) -> None:
    engine, _ = scripted_engine("yes")
    with serve(engine, body_mib=1) as url:
        response = httpx.post(f"{url}/v1/chat/completions", content=b"x" * (2 << 20))
    assert response.status_code == 413
    assert "1 MiB" in response.json()["error"]["message"]


def test_the_paths_work_without_v1_and_unknown_ones_are_refused_in_json(url: str) -> None:
    assert httpx.get(f"{url}/models").json()["data"][0]["id"] == "small"
    assert post(url, "/chat/completions", messages=QUESTION).status_code == 200
    assert post(url, "/completions", prompt="a").status_code == 200
    missing = httpx.get(f"{url}/v1/nothing")
    assert missing.status_code == 404
    assert "/v1/nothing" in missing.json()["error"]["message"]
    assert httpx.get(f"{url}/health").json()["status"] == "ok"
    assert httpx.get(f"{url}/docs").status_code == 404


def test_the_page_is_served_and_may_ask_nobody_else(url: str) -> None:
    page = httpx.get(url)
    assert page.status_code == 200
    assert "Tongwen" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    script = httpx.get(f"{url}/main.js")
    assert "javascript" in script.headers["content-type"]
    assert httpx.get(f"{url}/../app.py").status_code == 404


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_client_that_leaves_stops_the_generation(
    scripted_engine: Any, serve: Any, wait: Callable[..., None], is_stream: bool
) -> None:
    engine, model = scripted_engine("路" * 4_000, context_tokens=40_000)
    model.step_seconds = 0.002
    with (
        serve(engine) as url,
        httpx.Client(timeout=httpx.Timeout(60, read=60 if is_stream else 0.3)) as client,
    ):
        body = {"model": "small", "messages": QUESTION, "max_tokens": 30_000, "stream": is_stream}
        path = f"{url}/v1/chat/completions"
        if is_stream:
            with client.stream("POST", path, json=body) as response:
                next(response.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(path, json=body)
        wait(lambda: engine.active_requests == 0)
        steps = model.steps
        assert steps < 4_000
        assert post(url, messages=QUESTION, max_tokens=2).status_code == 200
        assert model.steps <= steps + 3


def test_many_clients_at_once_get_their_own_answers(scripted_engine: Any, serve: Any) -> None:
    texts = [f"{number}路长" * (1 + number) for number in range(12)]
    engine, _ = scripted_engine(*texts, concurrent_requests=3)

    def ask(url: str, number: int) -> str:
        response = post(url, "/v1/completions", prompt=[24 + number], stream=number % 2 == 0)
        if number % 2:
            return str(response.json()["choices"][0]["text"])
        return "".join(event["choices"][0]["text"] for event in events(response))

    with serve(engine) as url, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: ask(url, number), range(12)))
    assert answers == texts


def test_a_full_queue_says_when_to_come_back(scripted_engine: Any, serve: Any) -> None:
    engine, model = scripted_engine("路" * 4_000, concurrent_requests=1, waiting_requests=1)
    model.step_seconds = 0.005
    with (
        serve(engine, concurrent_requests=1, waiting_requests=1) as url,
        ThreadPoolExecutor(6) as pool,
    ):
        barrier = threading.Barrier(6)

        def ask(number: int) -> httpx.Response:
            barrier.wait()
            return post(url, messages=QUESTION, max_tokens=40, stream=number % 2 == 0)

        answers = list(pool.map(ask, range(6)))
    refused = [a for a in answers if a.status_code == 429]
    assert all(answer.headers["retry-after"] for answer in refused)
    busy_streams = [a for a in answers if a.status_code == 200 and '"code": "busy"' in a.text]
    assert 2 <= len(refused) + len(busy_streams) <= 5


def test_a_failure_in_the_middle_is_told_in_the_stream(scripted_engine: Any, serve: Any) -> None:
    engine, model = scripted_engine("路" * 50)
    with serve(engine) as url:
        model.fails_at_step = 10
        response = post(url, messages=QUESTION, stream=True)
        assert '"type": "server_error"' in response.text
        assert "[DONE]" not in response.text
        model.fails_at_step = model.steps + 10
        assert post(url, messages=QUESTION).status_code == 500
        assert post(url, messages=QUESTION).status_code == 200


def test_the_key_guards_the_whole_interface_but_not_the_page(
    scripted_engine: Any, serve: Any
) -> None:
    engine, _ = scripted_engine(TEXT)
    with serve(engine, api_key="钥匙key") as url:
        for path in ("/v1/models", "/models", "/v1/models/small", "/v1", "/chat/completions"):
            assert httpx.get(url + path).status_code == 401, path
        for key in ("wrong", "钥匙"):
            headers = {"Authorization": f"Bearer {key}".encode()}
            assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 401
        headers = {"Authorization": "Bearer 钥匙key".encode()}
        assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 200
        assert httpx.get(url).status_code == 200
        assert httpx.get(f"{url}/health").status_code == 200


def test_a_keyless_server_answers_to_its_own_names_only(scripted_engine: Any, serve: Any) -> None:
    engine, _ = scripted_engine(TEXT)
    with serve(engine, hosts=("127.0.0.1", "localhost", "::1")) as url:
        port = url.rpartition(":")[2]
        for host in ("127.0.0.1", f"127.0.0.1:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
            headers = {"Host": host}
            assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 200, host
        for host in ("evil.example", f"127.0.0.1.evil.example:{port}", ""):
            headers = {"Host": host}
            assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 403, host


@pytest.mark.parametrize("name", ["temprature", "mirostat", "字\ud800段"])
def test_a_field_nobody_knows_is_left_out_and_named(url: str, name: str) -> None:
    body = json.dumps({"model": "small", "messages": QUESTION, name: 0.5})
    response = httpx.post(f"{url}/v1/chat/completions", content=body)
    assert response.status_code == 200
    shown = name.encode("utf-8", "replace").decode()
    assert unquote(response.headers["x-ignored-fields"]) == shown
    assert "x-ignored-fields" not in post(url, messages=QUESTION).headers


def test_a_strict_server_refuses_a_field_nobody_knows(scripted_engine: Any, serve: Any) -> None:
    engine, _ = scripted_engine("yes")
    with serve(engine, refuse_unknown_fields=True) as url:
        response = post(url, messages=QUESTION, temprature=0.5)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "temprature"


@pytest.mark.parametrize(
    "fields",
    [
        {"top_p": 0, "temperature": 1}, {"top_k": 0}, {"top_k": -1, "temperature": 1},
        {"min_p": 0.05, "temperature": 1}, {"repetition_penalty": 1.1}, {"repeat_penalty": 1.1},
        {"logit_bias": {"70": -100}}, {"max_tokens": -1}, {"max_completion_tokens": 900},
        {"min_tokens": 1}, {"ignore_eos": False}, {"stop_token_ids": [399]},
    ],
)  # fmt: skip
def test_what_other_servers_take_is_honoured(url: str, fields: dict[str, Any]) -> None:
    response = post(url, messages=QUESTION, **fields)
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["finish_reason"] == "stop"
    assert "x-ignored-fields" not in response.headers


def test_a_history_with_tools_is_read(url: str) -> None:
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "w", "arguments": '{"city": "Oslo"}'},
    }
    history = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "rain"},
    ]
    response = post(url, messages=history)
    assert response.status_code == 200, response.text
    longer = response.json()["usage"]["prompt_tokens"]
    assert longer > post(url, messages=QUESTION).json()["usage"]["prompt_tokens"] + 20


def test_markers_in_a_raw_prompt_are_their_ids_unless_told_otherwise(url: str) -> None:
    prompt = "<|im_start|>user\nhi<|im_end|>\n"
    tokens = [
        post(url, "/v1/completions", prompt=prompt, **more).json()["usage"]["prompt_tokens"]
        for more in ({}, {"parse_special": False})
    ]
    assert tokens[0] < tokens[1]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/audio/speech", "/v1/rerank", "/nowhere"])
def test_a_place_that_is_not_there_is_not_found(url: str, path: str) -> None:
    response = httpx.post(url + path, json={"model": "small"})
    assert response.status_code == 404
    assert path in response.json()["error"]["message"]


def test_a_slash_at_the_end_reaches_the_place_and_another_method_is_refused(url: str) -> None:
    assert post(url, "/v1/chat/completions/", messages=QUESTION).status_code == 200
    response = httpx.get(f"{url}/v1/chat/completions")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.fixture
def shared_url(scripted_engine: Any, serve: Any) -> Iterator[str]:
    """A server that pages of https://ours.example may use."""
    engine, _ = scripted_engine("yes")
    with serve(engine, allowed_origins=("https://ours.example",)) as url:
        yield url


def test_pages_of_other_sites_are_refused_but_those_that_are_allowed(shared_url: str) -> None:
    url = shared_url
    body = {"model": "small", "messages": QUESTION}
    place = f"{url}/v1/chat/completions"
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    ):
        assert httpx.post(place, json=body, headers=headers).status_code == 403
        assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 403
    assert httpx.post(place, json=body, headers={"origin": url}).status_code == 200
    ours = {"origin": "https://ours.example"}
    assert httpx.options(place, headers=ours).status_code == 204
    response = httpx.post(place, json=body, headers=ours)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://ours.example"


def test_a_form_is_refused(url: str) -> None:
    response = httpx.post(f"{url}/v1/chat/completions", data={"model": "small"})
    assert response.status_code == 415
    assert "application/json" in response.json()["error"]["message"]


def test_more_prompts_than_the_queue_takes_are_all_answered(
    scripted_engine: Any, serve: Any
) -> None:
    said = ["one", "two", "three"]
    engine, _ = scripted_engine(*said, concurrent_requests=2, waiting_requests=3)
    with serve(engine, concurrent_requests=2, waiting_requests=3) as url:
        prompts = [[number, 70] for number in range(68)]
        response = post(url, "/v1/completions", prompt=prompts)
    assert response.status_code == 200, response.text
    texts = [choice["text"] for choice in response.json()["choices"]]
    assert texts == [said[number % 3] for number in range(68)]
