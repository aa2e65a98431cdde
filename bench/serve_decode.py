"""What a server adds to a token: streams over HTTP beside the bare loop, on the same weights.

    python bench/serve_decode.py                      a random model of 1.1 B weights, int4
    python bench/serve_decode.py --shape small
    python bench/serve_decode.py --record bench/serve_decode.jsonl

The bare loop is `DecodingBatch.step` and the largest logit of each row. The server is the one of
`tongwen serve`, asked by clients in another process, each reading a stream of completions; CPU
seconds are those of the server's process alone, from the first token that all streams wait for to
the last. Both write as many tokens after prompts of 16; they take turns, and the overhead is the
median of the ratios. Guesses from the prompt are off: they would save steps.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import uvicorn
from decode import SHAPES, plain_int4
from record import machine

from tongwen.model.decoding import DecodingBatch, Prefill
from tongwen.model.llama import Llama
from tongwen.serve.app import Server
from tongwen.serve.connections import protocol_with
from tongwen.serve.engine import Engine
from tongwen.serve.settings import ServeSettings
from tongwen.tokenizer.text import StreamingDecoder, Tokenizer
from tongwen.tokenizer.train import train_model

PROMPT_TOKENS = 16
CLIENT = """
import asyncio, json, sys, httpx
url, streams, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
async def stream(client, number):
    body = {"model": "bench", "prompt": [number + 20] * 16, "max_tokens": tokens, "stream": True,
            "temperature": 0, "ignore_eos": True}
    async with client.stream("POST", "/v1/completions", json=body, timeout=None) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {") and "error" in json.loads(line[6:]):
                raise SystemExit(line)
async def main():
    limits = httpx.Limits(max_connections=streams)
    async with httpx.AsyncClient(base_url=url, limits=limits, trust_env=False) as client:
        await asyncio.gather(*(stream(client, number) for number in range(streams)))
asyncio.run(main())
"""


class WideDecoder(StreamingDecoder):
    """The decoder of `WideTokenizer`; ids that are control tokens are never reached."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        self._size = tokenizer.vocabulary_size

    def push(self, number: int) -> str:
        return super().push(300 + number % (self._size - 300))


class WideTokenizer(Tokenizer):
    """Decodes the ids of a vocabulary larger than its own, modulo its size."""

    def streaming_decoder(self) -> StreamingDecoder:
        return WideDecoder(self)


class Counted(DecodingBatch):
    """A batch that notes the process's CPU time at each step."""

    marks: list[tuple[int, float]]

    def step(self, token_ids: Any) -> Any:
        self.marks.append((len(token_ids), time.process_time()))
        return super().step(token_ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="1.1b")
    parser.add_argument("--model", type=Path, help="folder or run with plain weights")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--record", type=Path, metavar="FILE", help="add the lines to a file")
    arguments = parser.parse_args()
    model = plain_int4(arguments)
    with serving(model, max(arguments.streams)) as (url, batch):
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            for streams in arguments.streams:
                line = {"shape": arguments.shape, "threads": threads, "streams": streams}
                line |= overhead(model, url, batch, streams, arguments)
                print(json.dumps(line), flush=True)
                if arguments.record:
                    line |= {"date": time.strftime("%Y-%m-%d"), "machine": machine()}
                    with arguments.record.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")


def overhead(
    model: Llama, url: str, batch: Counted, streams: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """CPU milliseconds of a token in the loop and in the server, and the ratio."""
    loop, served = [], []
    for _ in range(arguments.turns):
        loop.append(loop_seconds(model, streams, arguments.tokens))
        served.append(served_seconds(url, batch, streams, arguments.tokens))
    ratios = [b / a for a, b in zip(loop, served, strict=True)]
    return {
        "overhead": round(statistics.median(ratios) - 1, 3),
        "loop_cpu_ms_per_token": round(1e3 * statistics.median(loop), 3),
        "server_cpu_ms_per_token": round(1e3 * statistics.median(served), 3),
    }


def loop_seconds(model: Llama, rows: int, tokens: int) -> float:
    """CPU seconds of a token of the bare loop."""
    batch = DecodingBatch(model)
    for row in range(rows):
        prompt = Prefill(model, [row + 20] * PROMPT_TOKENS)
        prompt.advance()
        batch.append(prompt)
    ids = batch.step([5] * rows).argmax(-1).tolist()
    started = time.process_time()
    for _ in range(tokens):
        ids = batch.step(ids).argmax(-1).tolist()
    return (time.process_time() - started) / tokens / rows


def served_seconds(url: str, batch: Counted, streams: int, tokens: int) -> float:
    """CPU seconds of a token of the server, while all streams are written."""
    batch.marks.clear()
    command = [sys.executable, "-c", CLIENT, url, str(streams), str(tokens + streams + 8)]
    subprocess.run(command, check=True)
    times = [at for rows, at in batch.marks if rows == streams]
    if len(times) < tokens // 2:
        raise SystemExit(f"only {len(times)} steps had all {streams} streams")
    return (times[-1] - times[0]) / (len(times) - 1) / streams


@contextmanager
def serving(model: Llama, streams: int) -> Iterator[tuple[str, Counted]]:
    """A server of the model in a thread, and the batch its engine decodes with."""
    text = "".join(chr(20_000 + number) + f" road {number} " for number in range(500))
    tokenizer = WideTokenizer(train_model([text], vocabulary_size=1_000))
    engine = Engine(model, tokenizer, (), concurrent_requests=streams, looks_up=False)
    batch = engine._batch
    batch.__class__ = Counted
    batch.marks = []
    settings = ServeSettings(concurrent_requests=streams)
    application = Server(engine, "bench", settings, has_chat=False).application(hosts=None)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            application,
            http=protocol_with(settings.header_seconds, settings.connections),
            log_level="critical",
            lifespan="off",
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", batch
        finally:
            server.should_exit = True
            thread.join()
            engine.close()


if __name__ == "__main__":
    main()
