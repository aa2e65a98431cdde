"""What a server does under load: mixed streams, clients that leave, a kill, a thousand requests.

    python bench/serve_load.py MODEL_FOLDER [--requests 1000] [--long-tokens 64000] [--only long]

It starts `tongwen serve` on a free port, again after the kill, and prints a table:

- 64 streams of mixed lengths at once: each must be what the same request gives alone
- every third client leaves in the middle; the others must not notice
- gaps between new texts of one stream (50th and 99th percentile) alone and while a long prompt is
  read, the time the long prompt takes, and how often a gap exceeds a second. A model whose window
  is shorter is served from a copy of its folder with a longer one: its answers make no sense, their
  times do
- kill -9 in the middle of streams, a start on the same port, and the same answers again
- twenty hostile requests while eight neighbours stream: each answer of these must be what it is
  alone, and no status may be 500
- so many requests one after another, with the memory of the server after a tenth of them and at the
  end

The exit status is 1 when an answer was not what it should be or memory grew by more than 5 %.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from tongwen.stages import find_model_folder

STREAMS = 64
PARTS = ("mixed", "long", "hostile", "requests", "kill")


class Served:
    """A server in a process of its own."""

    def __init__(self, folder: Path, port: int, keys: Path) -> None:
        self._command = [
            sys.executable, "-m", "tongwen", "serve", str(folder), "--port", str(port),
            "--name", "tested", "--keys", str(keys),
        ]  # fmt: skip
        self.start()

    def start(self) -> float:
        """Seconds until it listens."""
        started = time.monotonic()
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            raise SystemExit("the server did not start")
        self.url = line.rstrip("/")
        self._command[self._command.index("--port") + 1] = self.url.rpartition(":")[2]
        return time.monotonic() - started

    def resident_mib(self) -> float:
        """Its memory."""
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()


def bodies(count: int) -> list[dict[str, Any]]:
    """Requests of mixed lengths, each with its own draws."""
    draw = random.Random(7)
    return [
        {
            "model": "tested",
            "prompt": f"{number} 北京 " + "The road is long. 路很长。" * draw.randint(0, 12),
            "max_tokens": draw.choice([4, 16, 40, 90]),
            "temperature": 0.8,
            "seed": number,
            "stream": True,
            "ignore_eos": True,
        }
        for number in range(count)
    ]


async def stream(
    client: httpx.AsyncClient, body: dict[str, Any], *, leaves_after: int | None = None
) -> tuple[str, list[float]]:
    """The text of a stream, and the seconds between its events after the first."""
    text, gaps, last = "", [], None
    async with client.stream("POST", "/v1/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            value = json.loads(line[6:])
            if "error" in value:
                raise RuntimeError(value["error"]["message"])
            now = time.monotonic()
            if last is not None:
                gaps.append(now - last)
            last = now
            text += value["choices"][0]["text"]
            if leaves_after is not None and len(gaps) >= leaves_after:
                break
    return text, gaps


def percentiles(gaps: list[float]) -> str:
    """50th and 99th percentile in milliseconds."""
    cuts = statistics.quantiles(gaps, n=100)
    return (
        f"50th {cuts[49] * 1e3:.0f} ms, 99th {cuts[98] * 1e3:.0f} ms, most {max(gaps) * 1e3:.0f} ms"
    )


async def mixed(served: Served, alone: dict[int, str]) -> Iterator[tuple[str, str, bool]]:
    """All streams at once, and again with clients that leave."""
    asked = bodies(STREAMS)
    rows = []
    async with client_of(served) as client:
        started = time.monotonic()
        got = await asyncio.gather(*(stream(client, body) for body in asked))
        seconds = time.monotonic() - started
        gaps = [gap for _, found in got for gap in found]
        wrong = sum(text != alone[number] for number, (text, _) in enumerate(got))
        rows.append(
            (f"{STREAMS} streams at once",
             f"{wrong} differ from alone; {seconds:.1f} s; gaps {percentiles(gaps)}", wrong == 0)
        )  # fmt: skip
        got = await asyncio.gather(
            *(
                stream(client, body, leaves_after=2 if number % 3 == 0 else None)
                for number, body in enumerate(asked)
            )
        )
        wrong = sum(
            text != alone[number] for number, (text, _) in enumerate(got) if number % 3 != 0
        )
        active = 1
        for _ in range(300):
            active = (await client.get("/health")).json()["active_requests"]
            if not active:
                break
            await asyncio.sleep(0.05)
        rows.append(
            ("every third client leaves", f"{wrong} of the others differ; {active} still running",
             wrong == active == 0)
        )  # fmt: skip
    return iter(rows)


async def long_prompt(served: Served, tokens: int) -> tuple[str, str, bool]:
    """Gaps of a stream while a long prompt is read."""
    asked = bodies(1)[0] | {"max_tokens": 60}
    long = {"model": "tested", "prompt": [20 + n % 50 for n in range(tokens)], "max_tokens": 1}
    async with client_of(served) as client:
        _, quiet = await stream(client, asked)
        started = time.monotonic()
        reading = asyncio.ensure_future(client.post("/v1/completions", json=long))
        busy: list[float] = []
        while not reading.done():
            busy += (await stream(client, asked))[1]
        reply = reading.result()
        if reply.status_code != 200:
            return "long prompt", reply.json()["error"]["message"][:120], False
        seconds = time.monotonic() - started
    over = sum(gap > 1 for gap in busy)
    return (
        f"a prompt of {tokens:,} tokens is read",
        f"in {seconds:.1f} s; gaps of another stream: alone {percentiles(quiet)}; meanwhile "
        f"{percentiles(busy)}; {over} of {len(busy)} over 1 s",
        True,
    )


def hostile(tokens: int) -> list[tuple[str, dict[str, str], bytes]]:
    """Path, headers and body of requests that mean harm, or know no better.

    Args:
        tokens: of the model's window.
    """
    chat: dict[str, Any] = {"messages": [{"role": "user", "content": "北京"}], "max_tokens": 8}
    loop = {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    function = {"name": "f", "parameters": {"type": "object", "properties": {"x": loop}}}
    deep: Any = {"type": "integer"}
    for _ in range(150):
        deep = {"type": "array", "items": deep, "minItems": 1}
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("chat/completions", chat | {"top_p": 0, "temperature": 1}),
        ("chat/completions", chat | {"logit_bias": {"999999999": 100}}),
        ("chat/completions", chat | {"logit_bias": {str(n): -100 for n in range(400)}}),
        ("chat/completions", chat | {"guided_regex": "(a|aa|aaa|.*)*{1000}"}),
        ("chat/completions", chat | {"guided_grammar": "start: start start"}),
        ("chat/completions", chat | {"guided_json": deep}),
        ("chat/completions", chat | {"tools": [{"type": "function", "function": function}]}),
        ("chat/completions", chat | {"chat_template_kwargs": {"messages": [], "x": "<|im_end|>"}}),
        ("chat/completions", chat | {"messages": [{"role": "user", "content": "\ud800 half"}]}),
        ("chat/completions", chat | {"messages": [{"role": "system\n", "content": {}}]}),
        ("chat/completions", chat | {"stop": ["a" * 1_000_000] * 16}),
        ("chat/completions", chat | {"n": 16, "seed": 2**63 - 1, "temperature": 2, "min_p": 1}),
        ("completions", {"prompt": [-1, 10**12], "max_tokens": 4}),
        ("completions", {"prompt": [20] * (tokens + 1), "max_tokens": 1}),
        ("completions", {"prompt": "", "max_tokens": 4}),
        ("completions", {"prompt": ["x"] * 300, "max_tokens": 1}),
        ("completions", {"prompt": "x", "logprobs": 20, "echo": True, "max_tokens": 0}),
    ]
    kind = {"Content-Type": "application/json"}
    made = [
        (f"/v1/{path}", kind, json.dumps({"model": "tested", **body}).encode())
        for path, body in bodies
    ]
    return [
        *made,
        ("/v1/completions", kind, b"[" * 200_000),
        ("/v1/completions", kind, b'{"model": "tested", "prompt": "\xff\xfe"}'),
        ("/v1/completions", kind | {"Origin": "https://elsewhere.example"}, made[-1][2]),
    ]


async def attacked(served: Served, alone: dict[int, str]) -> tuple[str, str, bool]:
    """Hostile requests while neighbours stream."""
    statuses: list[int] = []
    async with client_of(served) as client:
        # The stranger's key is another, as in a server that many use.
        tokens = (await client.get("/v1/models")).json()["data"][0]["context_length"]
        rounds = 0
        wrong = 0

        async def neighbours() -> None:
            nonlocal rounds, wrong
            while len(statuses) < len(attacks):
                got = await asyncio.gather(*(stream(client, body) for body in bodies(8)))
                wrong += sum(text != alone[number] for number, (text, _) in enumerate(got))
                rounds += 1

        attacks = hostile(tokens)
        streaming = asyncio.ensure_future(neighbours())
        for path, headers, content in attacks:
            headers = headers | {"Authorization": "Bearer stranger"}
            reply = await client.post(path, headers=headers, content=content)
            statuses.append(reply.status_code)
        await streaming
    shown = ", ".join(f"{statuses.count(s)} times {s}" for s in sorted(set(statuses)))
    return (
        f"{len(attacks)} hostile requests",
        f"{shown}; {wrong} of {8 * rounds} answers of neighbours differ",
        wrong == 0 and max(statuses) < 500,
    )


async def killed(served: Served, alone: dict[int, str]) -> tuple[str, str, bool]:
    """Kill it in the middle of streams, start it again, ask again."""
    async with client_of(served) as client:
        running = [asyncio.ensure_future(stream(client, body)) for body in bodies(8)]
        await asyncio.sleep(0.3)
        served.kill()
        ends = await asyncio.gather(*running, return_exceptions=True)
    broken = sum(isinstance(end, Exception) for end in ends)
    seconds = served.start()
    async with client_of(served) as client:
        got = [await stream(client, body) for body in bodies(4)]
    wrong = sum(text != alone[number] for number, (text, _) in enumerate(got))
    return (
        "kill -9 and start again",
        f"{broken} of 8 streams broke off with an error; listening after {seconds:.1f} s; "
        f"{wrong} answers differ",
        wrong == 0,
    )


async def many(served: Served, requests: int) -> tuple[str, str, bool]:
    """Requests of every kind one after another; memory at a tenth and at the end."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    early, failed = 0.0, 0
    started = time.monotonic()
    async with client_of(served) as client:
        for number in range(requests):
            body = bodies(1)[0] | {"max_tokens": 4, "seed": number, "stream": number % 2 == 0}
            if number % 5 == 0:
                body["guided_json"] = schema | {"title": str(number)}
                body["max_tokens"] = 24
            if number % 7 == 0:
                body["top_p"] = 2  # refused
            reply = await client.post("/v1/completions", json=body)
            failed += reply.status_code != (400 if number % 7 == 0 else 200)
            if number == requests // 10:
                early = served.resident_mib()
    late = served.resident_mib()
    rate = requests / (time.monotonic() - started)
    return (
        f"{requests:,} requests",
        f"{failed} unexpected statuses; {rate:.0f} a second; memory {early:.0f} MiB after a tenth, "
        f"{late:.0f} MiB at the end",
        failed == 0 and late < early * 1.05,
    )


def client_of(served: Served) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=200)
    key = {"Authorization": "Bearer client"}
    return httpx.AsyncClient(base_url=served.url, timeout=600, limits=limits, headers=key)


def with_window(folder: Path, tokens: int, place: Path) -> Path:
    """The folder, or a copy of it whose configuration has so long a window."""
    folder = find_model_folder(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["max_position_embeddings"] >= tokens:
        return folder
    copy = place / "model"
    shutil.copytree(folder, copy)
    config["max_position_embeddings"] = tokens
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return copy


async def run(folder: Path, requests: int, long_tokens: int, only: frozenset[str]) -> bool:
    """Print the table; whether all was as it should be."""
    keys = Path(tempfile.mkdtemp()) / "keys.toml"
    names = ("client", "stranger")
    lines = [f'[[keys]]\nname = "{name}"\nkey = "{name}"\n' for name in names]
    keys.write_text("".join(lines), encoding="utf-8")
    if "long" in only:
        folder = with_window(folder, long_tokens + 100, keys.parent)
    served = Served(folder, 0, keys)
    is_good = True

    def row(what: str, found: str, good: bool) -> None:
        nonlocal is_good
        is_good &= good
        print(f"| {what} | {found} | {'ok' if good else 'NOT OK'} |", flush=True)

    print("| load | what happened | |\n|---|---|---|")
    try:
        alone = {}
        if only & {"mixed", "hostile", "kill"}:
            async with client_of(served) as client:
                for number, body in enumerate(bodies(STREAMS)):
                    alone[number], _ = await stream(client, body)
        if "mixed" in only:
            for found in await mixed(served, alone):
                row(*found)
        if "long" in only:
            row(*await long_prompt(served, long_tokens))
        if "hostile" in only:
            row(*await attacked(served, alone))
        if "requests" in only:
            row(*await many(served, requests))
        if "kill" in only:
            row(*await killed(served, alone))
    finally:
        with contextlib.suppress(ProcessLookupError):
            served.kill()
        shutil.rmtree(keys.parent)
    return is_good


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="model folder or run directory")
    parser.add_argument("--requests", type=int, default=1_000, help="one after another")
    parser.add_argument("--long-tokens", type=int, default=64_000, help="of the long prompt")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="rows to make")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    is_good = asyncio.run(
        run(given.folder, given.requests, given.long_tokens, frozenset(given.only))
    )
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
