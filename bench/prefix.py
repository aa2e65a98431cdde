"""What the second question on a long document costs, and one after a restart.

    python bench/prefix.py                          4,096 tokens, a random model of 0.1 B weights
    python bench/prefix.py --tokens 30000
    python bench/prefix.py --tokens 30000 --shape tiny --cache int8 --record bench/prefix.jsonl
    python bench/prefix.py --model FOLDER           a model of yours, plain, int8 or int4

Seconds are CPU seconds of the process from the request to its first token. Tokens are drawn: what
they mean does not change the cost. Every answer is written once more by an engine that keeps no
prefixes, unless `--no-check`, and has to be the same.
"""

import argparse
import json
import queue
import tempfile
import time
from pathlib import Path

import torch
from decode import SHAPES
from record import machine

from tongwen.model.cache import new_cache
from tongwen.model.config import ModelConfig
from tongwen.model.llama import Llama
from tongwen.model.quantized.folder import load_any_model
from tongwen.serve.engine import Engine
from tongwen.serve.generation import Delta, GenerationRequest
from tongwen.stages import find_model_folder
from tongwen.tokenizer.text import Tokenizer

QUESTION_TOKENS = 30


class Silent(Tokenizer):
    """Engines turn ids into text; this bench compares ids and has no vocabulary."""

    def __init__(self) -> None:
        pass

    def streaming_decoder(self) -> "Silent":  # type: ignore[override]
        return self

    def push(self, token_id: int) -> str:
        return f"{token_id} "

    def flush(self) -> str:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--cache", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--answer", type=int, default=16)
    parser.add_argument("--no-check", action="store_true")
    parser.add_argument("--record", type=Path, metavar="FILE", help="add the figures to a file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load(arguments)
    size = model.config.vocabulary_size
    generator = torch.Generator().manual_seed(0)
    draw = lambda tokens: tuple(torch.randint(20, size, (tokens,), generator=generator).tolist())  # noqa: E731
    document, questions = draw(arguments.tokens), [draw(QUESTION_TOKENS) for _ in range(3)]
    engine = Engine(model, Silent(), (), cache=arguments.cache, prefix_bytes=1 << 36)
    ask(engine, draw(300), 2)  # compiles what has to be compiled
    rows = [ask(engine, document + question, arguments.answer) for question in questions[:2]]
    engine.close()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefixes"
        started = time.process_time()
        engine.save_prefixes(file, "bench")
        saved = time.process_time() - started
        megabytes = file.stat().st_size / 1e6
        engine = Engine(model, Silent(), (), cache=arguments.cache, prefix_bytes=1 << 36)
        started = time.process_time()
        engine.load_prefixes(file, "bench")
        loaded = time.process_time() - started
    rows.append(ask(engine, document + questions[2], arguments.answer))
    engine.close()
    held = new_cache(model, 1, arguments.tokens, arguments.cache).tensors()
    line = {
        "tokens": arguments.tokens,
        "parameters": model.config.parameters,
        "cache": str(held[0].dtype).removeprefix("torch."),
        "cache_mb": round(sum(tensor.nbytes for tensor in held) / 1e6, 1),
        "file_mb": round(megabytes, 1),
        "save_cpu_s": round(saved, 3),
        "load_cpu_s": round(loaded, 3),
        "questions": {},
    }
    for name, row in zip(("first", "second", "restart"), rows, strict=True):
        shown = {key: value for key, value in row.items() if key != "text"}
        line["questions"][name] = shown
        print(json.dumps({"question": name, **shown, "of_first": row["cpu_s"] / rows[0]["cpu_s"]}))
    print(json.dumps(line))
    if not arguments.no_check:
        plain = Engine(model, Silent(), (), cache=arguments.cache, prefix_bytes=0)
        for row, question in zip(rows[1:], questions[1:], strict=True):
            expected = ask(plain, document + question, arguments.answer)
            if expected["text"] != row["text"]:
                raise SystemExit("another answer than without known prefixes")
        plain.close()
        print("the answers equal those of an engine that keeps no prefixes")
    if arguments.record:
        line |= {"date": time.strftime("%Y-%m-%d"), "machine": machine()}
        with arguments.record.open("a", encoding="utf-8") as output:
            output.write(json.dumps(line) + "\n")


def load(arguments: argparse.Namespace) -> Llama:
    if arguments.model:
        return load_any_model(find_model_folder(arguments.model))[0]
    shape = SHAPES[arguments.shape]
    window = arguments.tokens + 2 * QUESTION_TOKENS + arguments.answer
    model = Llama(ModelConfig(**shape, max_position_embeddings=window, rope_theta=10_000.0))
    model.initialize(0)
    return model.eval().requires_grad_(False)


def ask(engine: Engine, ids: tuple[int, ...], tokens: int) -> dict[str, object]:
    """CPU seconds until the first token, and the whole answer."""
    deltas: queue.SimpleQueue[tuple[Delta, float]] = queue.SimpleQueue()
    request = GenerationRequest(prompt_ids=ids, max_tokens=tokens, ignores_eos=True)
    started = time.process_time()
    generation = engine.submit(request, lambda delta: deltas.put((delta, time.process_time())))
    first, text = None, ""
    while True:
        delta, ended = deltas.get(timeout=3_600)
        if delta.error:
            raise SystemExit(delta.error)
        first, text = first or ended, text + delta.text
        if delta.finish is not None:
            break
    return {
        "prompt_tokens": len(ids),
        "cached_tokens": generation.cached_tokens,
        "cpu_s": round(first - started, 4),
        "text": text,
    }


if __name__ == "__main__":
    main()
