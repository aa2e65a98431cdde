"""What clients of OpenAI's and Anthropic's interfaces do with a running server.

    tongwen serve runs/sample --port 8000 &
    python -m venv peers && peers/bin/pip install openai anthropic langchain-openai \
        langchain-anthropic litellm instructor llama-index-llms-openai-like llm "lm-eval[api]" \
        schemathesis transformers
    peers/bin/python bench/clients.py http://127.0.0.1:8000 --model sample \
        --tokenizer runs/sample/model

Each line of the table is one use of one client: what it did, and how long it took. A client that is
not installed is said to be absent. Answers of a small model make no sense; what counts is that they
arrive in the shape that the client asks for. The exit status is 1 when a use failed.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

QUESTION: Any = [{"role": "user", "content": "北京的天气怎么样？"}]
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"enum": ["Beijing", "Oslo"]}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "of a city", "parameters": PARAMETERS},
}

Use = Callable[["Server"], str]


class Server:
    """Where the server is and what it serves."""

    def __init__(self, url: str, model: str, tokenizer: str | None) -> None:
        self.url = url.rstrip("/")
        self.model = model
        self.tokenizer = tokenizer


def _days() -> type:
    import pydantic

    class Weather(pydantic.BaseModel):
        """The weather."""

        days: int
        is_fine: bool

    return Weather


def _openai(server: Server) -> Any:
    import openai

    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def openai_chat(server: Server) -> str:
    client = _openai(server)
    whole = client.chat.completions.create(
        model=server.model, messages=QUESTION, max_tokens=12, logprobs=True, top_logprobs=2
    )
    parts = client.chat.completions.create(
        model=server.model, messages=QUESTION, max_tokens=12, stream=True
    )
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert text == whole.choices[0].message.content
    tokens = len(whole.choices[0].logprobs.content)
    assert tokens == whole.usage.completion_tokens
    return f"{tokens} tokens, the same whole and streamed, all scored"


def openai_parse(server: Server) -> str:
    got = _openai(server).chat.completions.parse(
        model=server.model, messages=QUESTION, response_format=_days(), max_tokens=120
    )
    return repr(got.choices[0].message.parsed)


def openai_tools(server: Server) -> str:
    with _openai(server).chat.completions.stream(
        model=server.model,
        messages=QUESTION,
        tools=[TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=120,
    ) as stream:
        deltas = sum("arguments.delta" in event.type for event in stream)
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    json.loads(call.function.arguments)
    return f"{call.function.name}({call.function.arguments}) in {deltas} deltas"


def openai_responses(server: Server) -> str:
    client = _openai(server)
    got = client.responses.parse(
        model=server.model, input="北京", text_format=_days(), max_output_tokens=120
    )
    with client.responses.stream(model=server.model, input="北京", max_output_tokens=8) as stream:
        kinds = [event.type for event in stream]
    assert kinds[0] == "response.created"
    return f"{got.output_parsed!r}; stream ends with {kinds[-1]}"


def openai_scoring(server: Server) -> str:
    got = _openai(server).completions.create(
        model=server.model, prompt="北京 is a city", max_tokens=0, echo=True, logprobs=1
    )
    scores = got.choices[0].logprobs.token_logprobs
    return f"{len(scores)} tokens, log-likelihood {sum(scores[1:]):.2f}"


def _anthropic(server: Server) -> Any:
    import anthropic

    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)


def anthropic_text(server: Server) -> str:
    client = _anthropic(server)
    wanted = {"model": server.model, "messages": QUESTION, "max_tokens": 12}
    whole = client.messages.create(**wanted)
    with client.messages.stream(**wanted) as stream:
        text = "".join(stream.text_stream)
    assert text == "".join(block.text for block in whole.content)
    counted = client.messages.count_tokens(model=server.model, messages=QUESTION)
    assert counted.input_tokens == whole.usage.input_tokens
    return f"{whole.usage.output_tokens} tokens, the same whole and streamed; count right"


def anthropic_tools(server: Server) -> str:
    tool = {"name": "weather", "description": "of a city", "input_schema": PARAMETERS}
    got = _anthropic(server).messages.create(
        model=server.model,
        messages=QUESTION,
        tools=[tool],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        max_tokens=120,
    )
    (block,) = got.content
    return f"{block.name}({block.input})"


def _langchain(server: Server, **more: Any) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        base_url=f"{server.url}/v1", api_key="none", model=server.model, max_tokens=120, **more
    )


def _unless_too_long(ask: Callable[[], Any]) -> Any:
    """The answer; or that the limit ended it, which a small model's free JSON often runs into.

    It is closed so that it can be parsed, but says `length`, and clients then refuse it.
    """
    try:
        return ask()
    except Exception as error:
        if type(error).__name__ in ("LengthFinishReasonError", "IncompleteOutputException"):
            return "(reports the limit)"
        raise


def langchain_structured(server: Server) -> str:
    found = []
    for method in ("json_schema", "function_calling", "json_mode"):
        chain = _langchain(server).with_structured_output(
            PARAMETERS | {"title": "weather", "description": "of a city"}, method=method
        )
        found.append(f"{method} {_unless_too_long(partial(chain.invoke, '北京'))}")
    return "; ".join(found)


def langchain_tools(server: Server) -> str:
    model = _langchain(server).bind_tools([TOOL], tool_choice="weather")
    whole = model.invoke("北京")
    streamed = None
    for part in model.stream("北京"):
        streamed = part if streamed is None else streamed + part
    assert streamed.tool_calls[0]["args"] == whole.tool_calls[0]["args"]
    return f"{whole.tool_calls[0]['args']}, the same whole and streamed"


def langchain_anthropic(server: Server) -> str:
    from langchain_anthropic import ChatAnthropic

    model = ChatAnthropic(base_url=server.url, api_key="none", model=server.model, max_tokens=120)
    got = model.bind_tools([TOOL], tool_choice="any").invoke("北京")
    return str(got.tool_calls[0]["args"])


def litellm_chat(server: Server) -> str:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # asks nobody outside
    import litellm

    got = litellm.completion(
        model=f"openai/{server.model}",
        api_base=f"{server.url}/v1",
        api_key="none",
        messages=QUESTION,
        max_tokens=120,
        tools=[TOOL],
        tool_choice="required",
    )
    parts = litellm.completion(
        model=f"openai/{server.model}", api_base=f"{server.url}/v1", api_key="none",
        messages=QUESTION, max_tokens=8, stream=True,
    )  # fmt: skip
    text = "".join(part.choices[0].delta.content or "" for part in parts)
    call = got.choices[0].message.tool_calls[0].function
    return f"{call.name}({call.arguments}); streamed {len(text)} characters"


def instructor_model(server: Server) -> str:
    import instructor
    from instructor.core import InstructorRetryException

    found = []
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA, instructor.Mode.JSON):
        client = instructor.from_openai(_openai(server), mode=mode)
        wanted = {"response_model": _days(), "max_retries": 0, "max_tokens": 120}
        ask = partial(client.chat.completions.create, model=server.model, messages=QUESTION)
        try:
            got = _unless_too_long(partial(ask, **wanted))
        except InstructorRetryException as error:
            # JSON mode asks for the fields in words alone: here it only has to be JSON.
            if mode != instructor.Mode.JSON:
                raise
            got = json.loads(error.last_completion.choices[0].message.content)
        found.append(f"{mode.name} {got!r}")
    return "; ".join(found)


def llama_index(server: Server) -> str:
    from llama_index.core.llms import ChatMessage
    from llama_index.core.prompts import PromptTemplate
    from llama_index.llms.openai_like import OpenAILike

    model = OpenAILike(
        model=server.model, api_base=f"{server.url}/v1", api_key="none", is_chat_model=True,
        is_function_calling_model=True, max_tokens=120, context_window=2_048,
    )  # fmt: skip
    text = model.chat([ChatMessage(role="user", content="北京")]).message.content
    parsed = model.structured_predict(_days(), PromptTemplate("北京"))
    return f"{len(text or '')} characters; {parsed!r}"


def llm_command(server: Server) -> str:
    with tempfile.TemporaryDirectory() as folder:
        models = [
            {
                "model_id": "tested",
                "model_name": server.model,
                "api_base": f"{server.url}/v1",
                "supports_schema": True,
            }
        ]
        Path(folder, "extra-openai-models.yaml").write_text(json.dumps(models), encoding="utf-8")
        environment = {**os.environ, "LLM_USER_PATH": folder, "OPENAI_API_KEY": "none"}
        command = [str(Path(sys.executable).parent / "llm"), "-m", "tested", "-o", "max_tokens"]
        plain = _run([*command, "12", "北京"], environment)
        schema = _run([*command, "120", "--schema", json.dumps(PARAMETERS), "北京"], environment)
    json.loads(schema)
    return f"{len(plain.strip())} characters; {schema.strip()}"


def lm_eval_tasks(server: Server) -> str:
    if server.tokenizer is None:
        raise RuntimeError("name the model's folder with --tokenizer")
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            {"q": f"{number} 加 1 是", "a": [str(number + 1), str(number + 2)], "label": 0}
            for number in range(6)
        ]
        data = Path(folder, "rows.jsonl")
        data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        shared = {
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
            "doc_to_text": "{{q}}",
            "metadata": {"version": 1},
        }
        choice = {
            "task": "choice", "output_type": "multiple_choice", "doc_to_choice": "{{a}}",
            "doc_to_target": "{{label}}", "metric_list": [{"metric": "acc"}],
        }  # fmt: skip
        written = {
            "task": "written", "output_type": "generate_until", "doc_to_target": "{{a[0]}}",
            "metric_list": [{"metric": "exact_match"}],
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
        }  # fmt: skip
        for task in (choice, written):
            Path(folder, f"{task['task']}.yaml").write_text(json.dumps({**shared, **task}))
        found = []
        for kind, path, tasks, more in (
            ("local-completions", "completions", "choice,written", []),
            ("local-completions", "completions", "choice", ["--apply_chat_template"]),
            ("local-chat-completions", "chat/completions", "written", ["--apply_chat_template"]),
        ):
            arguments = (
                f"model={server.model},base_url={server.url}/v1/{path},"
                f"tokenizer={server.tokenizer},num_concurrent=2,max_retries=1"
            )
            output = _run(
                [str(Path(sys.executable).parent / "lm_eval"), "run", "--model", kind,
                 "--model_args", arguments, "--tasks", tasks, "--include_path", folder, *more],
                {**os.environ, "OPENAI_API_KEY": "none", "HF_HUB_OFFLINE": "1",
                 "HF_DATASETS_OFFLINE": "1", "HF_HOME": folder},
            )  # fmt: skip
            rows_shown = [
                line for line in output.splitlines() if "|acc" in line or "|exact" in line
            ]
            assert rows_shown, output[-500:]
            found.append(f"{kind}: {len(rows_shown)} scores")
    return "; ".join(found)


RESPONSE_KEYS = frozenset(
    ("id", "object", "created_at", "completed_at", "status", "incomplete_details", "model",
     "previous_response_id", "instructions", "output", "error", "tools", "tool_choice",
     "truncation", "parallel_tool_calls", "text", "top_p", "presence_penalty",
     "frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage",
     "max_output_tokens", "max_tool_calls", "store", "background", "service_tier", "metadata",
     "safety_identifier", "prompt_cache_key")
)  # fmt: skip
"""What a response of Open Responses has to have (openresponses.org, its ResponseResource)."""


def open_responses(server: Server) -> str:
    """The text tests of its compliance suite, without its browser page: basic, system prompt,
    several turns, a tool, and a stream.
    """
    import httpx
    from openai.types.responses import Response

    def turn(role: str, content: str) -> dict[str, Any]:
        return {"type": "message", "role": role, "content": content}

    def ask(client: httpx.Client, *turns: dict[str, Any], **more: Any) -> dict[str, Any]:
        body = {"model": server.model, "input": list(turns), "max_output_tokens": 60, **more}
        value = client.post("/v1/responses", json=body).raise_for_status().json()
        check(value)
        return dict(value)

    def check(value: dict[str, Any]) -> None:
        assert not RESPONSE_KEYS - value.keys(), RESPONSE_KEYS - value.keys()
        assert value["object"] == "response"
        assert value["status"] in ("completed", "incomplete")
        assert value["output"]
        Response.model_validate(value)

    tool = {"type": "function", **TOOL["function"]}
    with httpx.Client(base_url=server.url, timeout=120) as client:
        ask(client, turn("user", "Say hello in exactly 3 words."))
        ask(client, turn("system", "You are a pirate."), turn("user", "Say hello."))
        ask(client, turn("user", "I am 李."), turn("assistant", "Hello 李!"), turn("user", "Who?"))
        called = ask(
            client, turn("user", "Oslo?"), tools=[tool], tool_choice="required",
            max_output_tokens=200,
        )  # fmt: skip
        assert called["output"][0]["type"] == "function_call"
        body = {"model": server.model, "input": "Count", "stream": True, "max_output_tokens": 20}
        lines = client.post("/v1/responses", json=body).text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    check(events[-1]["response"])
    assert lines[-2] == "data: [DONE]"
    return f"5 of its 6 tests (the sixth sends a picture); {len(events)} events in the stream"


def open_webui(server: Server) -> str:
    """The requests that its server sends for one turn of a chat, replayed."""
    import httpx

    headers = {"X-OpenWebUI-User-Id": "1", "X-OpenWebUI-User-Role": "admin", "Authorization": ""}
    say = {"role": "user", "content": [{"type": "text", "text": "北京的天气？"}]}
    shared: dict[str, Any] = {"model": server.model, "messages": [say]}
    asked = [
        shared | {"stream": True, "temperature": 0.8, "top_k": 40, "repeat_penalty": 1.1,
                  "num_ctx": 2048, "mirostat": 0, "tfs_z": 1, "max_tokens": 12},
        shared | {"stream": True, "stream_options": {"include_usage": True}, "tools": [TOOL],
                  "max_tokens": 12},
        shared | {"stream": False, "max_completion_tokens": 12},
        shared | {"stream": False, "max_tokens": 12, "reasoning_effort": "low",
                  "response_format": {"type": "json_object"}},
        {"model": server.model, "stream": True, "max_tokens": 12, "messages": [
            {"role": "system", "content": "You name chats."}, say,
            {"role": "assistant", "content": "", "tool_calls": [
                {"index": 0, "id": "c", "type": "function",
                 "function": {"name": "weather", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "rain"}]},
    ]  # fmt: skip
    ignored = set()
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=120) as client:
        names = [model["id"] for model in client.get("/models").raise_for_status().json()["data"]]
        assert server.model in names
        for body in asked:
            reply = client.post("/chat/completions", json=body).raise_for_status()
            if body["stream"]:
                assert reply.text.rstrip().endswith("data: [DONE]")
            else:
                assert reply.json()["choices"][0]["message"]["content"]
            ignored |= set(filter(None, reply.headers.get("x-ignored-fields", "").split(", ")))
    return f"{len(asked)} requests answered; left out and named: {', '.join(sorted(ignored))}"


def schemathesis_attack(server: Server) -> str:
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "run", f"{server.url}/openapi.json",
        "--max-examples", "8", "--phases", "examples,coverage,fuzzing", "--request-timeout", "300",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,"
        "response_schema_conformance,unsupported_method",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:  # it keeps what it found where it is started
        output = _run(command, dict(os.environ), seconds=1_800, folder=folder)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next(
        (line for line in reversed(lines) if "generated" in line or "passed" in line), lines[-1]
    )


def _run(
    command: list[str], environment: dict[str, str], seconds: int = 600, folder: str | None = None
) -> str:
    """What a command prints; an error with the end of it when it fails."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        timeout=seconds,
        check=False,
        cwd=folder,
    )
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-2_000:])
    return done.stdout


USES: list[tuple[str, str, Use]] = [
    ("openai", "chat, streams, scores", openai_chat),
    ("openai", "chat.completions.parse", openai_parse),
    ("openai", "streamed tool call", openai_tools),
    ("openai", "responses", openai_responses),
    ("openai", "scoring with echo", openai_scoring),
    ("anthropic", "messages, stream, count", anthropic_text),
    ("anthropic", "tool use", anthropic_tools),
    ("langchain-openai", "with_structured_output", langchain_structured),
    ("langchain-openai", "bind_tools", langchain_tools),
    ("langchain-anthropic", "bind_tools", langchain_anthropic),
    ("openai", "Open Responses' text tests", open_responses),
    ("httpx", "Open WebUI's requests replayed", open_webui),
    ("litellm", "tools and stream", litellm_chat),
    ("instructor", "tools, JSON schema, JSON", instructor_model),
    ("llama-index-llms-openai-like", "chat, structured_predict", llama_index),
    ("llm", "prompt, --schema", llm_command),
    ("lm-eval", "local-completions, -chat-", lm_eval_tasks),
    ("schemathesis", "attack by /openapi.json", schemathesis_attack),
]


def results(server: Server, only: str) -> Iterator[tuple[str, str, str, float]]:
    """Client with its version, use, outcome, seconds."""
    for package, what, use in USES:
        if only and only != package:
            continue
        try:
            name = f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            yield package, what, "absent", 0.0
            continue
        started = time.monotonic()
        try:
            outcome = "ok: " + use(server)
        except Exception as error:
            outcome = f"FAILED: {type(error).__name__}: {error}"
        yield name, what, outcome, time.monotonic() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="of the server, as http://127.0.0.1:8000")
    parser.add_argument("--model", required=True, help="name that the server gives it")
    parser.add_argument("--tokenizer", help="its folder, which lm-eval counts tokens with")
    parser.add_argument("--only", default="", help="the name of one client")
    parser.add_argument("--width", type=int, default=160, help="of an outcome, in characters")
    given = parser.parse_args()
    server = Server(given.url, given.model, given.tokenizer)
    failures = 0
    print("| client | use | outcome | s |\n|---|---|---|---|")
    for name, what, outcome, seconds in results(server, given.only):
        failures += outcome.startswith("FAILED")
        shown = " ".join(outcome.split())[: given.width].replace("|", "¦")
        print(f"| {name} | {what} | {shown} | {seconds:.1f} |", flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
