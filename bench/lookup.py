"""What guessing tokens from the prompt brings: the same answers, with and without, in turns.

    python bench/lookup.py MODEL_FOLDER --pages runs/sample/stages/crawl/gold/pages.jsonl
    python bench/lookup.py MODEL_FOLDER --pages FILE --record bench/lookup.jsonl

FILE has an object with `text` on each line. Three requests for each text, answered greedily with
int4 weights, one after the other: `question` asks in ChatML about a sentence of it, and the message
holds the text; `copy` is the text and its beginning once more, to be continued; `plain` is a line
that does not repeat. Every answer has to be the same with guesses as without. CPU seconds are those
of the whole process while answers are written, the reading of the prompt apart.
"""

import argparse
import json
import queue
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from record import machine

from tongwen.model.quantized.folder import load_any_model, quantize_model
from tongwen.serve.engine import Engine
from tongwen.serve.generation import Delta, GenerationRequest
from tongwen.stages import find_model_folder
from tongwen.tokenizer.text import Tokenizer

KINDS = ("question", "copy", "plain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder or run with plain weights")
    parser.add_argument("--pages", type=Path, required=True, help="JSON Lines with `text`")
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", type=Path, metavar="FILE", help="add the lines to a file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    folder = find_model_folder(arguments.model)
    model, config = load_any_model(folder, torch.float32)
    quantize_model(model, 4)
    tokenizer = Tokenizer.load(folder)
    most = config.max_position_embeddings - arguments.tokens
    lines = arguments.pages.read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines[: 8 * arguments.limit]]
    for kind in KINDS:
        prompts = [prompt_of(kind, text, tokenizer) for text in texts]
        prompts = [prompt for prompt in prompts if len(prompt) <= most][: arguments.limit]
        line = {"kind": kind, **compared(model, tokenizer, prompts, arguments.tokens)}
        print(json.dumps(line), flush=True)
        if arguments.record:
            line |= {"model": arguments.model.name, "threads": arguments.threads}
            line |= {"date": time.strftime("%Y-%m-%d"), "machine": machine()}
            with arguments.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def prompt_of(kind: str, text: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids of one request."""
    if kind == "copy":
        return tuple(tokenizer.encode(f"{text}\n\n{text[: max(20, len(text) // 8)]}"))
    if kind == "plain":
        return tuple(tokenizer.encode(text.splitlines()[0]))
    first = text.replace("。", ".").split(".")[1].strip() or text[:40]
    question = f"{text}\n\n{first}?"
    messages = [{"role": "user", "content": question}]
    return tuple(tokenizer.encode_dialogue(messages, add_generation_prompt=True)[0])


def compared(
    model: Any, tokenizer: Tokenizer, prompts: list[tuple[int, ...]], tokens: int
) -> dict[str, Any]:
    """Figures of all prompts; ends the program where an answer is not the same."""
    engines = {
        looks_up: Engine(model, tokenizer, (), prefix_bytes=0, looks_up=looks_up)
        for looks_up in (False, True)
    }
    ratios, written = [], 0
    for number, prompt in enumerate([prompts[0], *prompts]):
        found = {looks_up: ask(engine, prompt, tokens) for looks_up, engine in engines.items()}
        if found[True][0] != found[False][0]:
            raise SystemExit(f"prompt {number} has another answer with guesses")
        if number:  # the first one warms up
            ratios.append(found[False][2] / found[True][2])
            written += found[True][1]
    for engine in engines.values():
        engine.close()
    with_guesses = engines[True]
    return {
        "prompts": len(prompts),
        "prompt_tokens": round(statistics.mean(map(len, prompts))),
        "tokens": written,
        "guessed": with_guesses.guessed_tokens,
        "right": with_guesses.right_tokens,
        "times_as_fast": round(statistics.median(ratios), 3),
    }


def ask(engine: Engine, prompt: tuple[int, ...], tokens: int) -> tuple[str, int, float]:
    """The answer, its tokens, and CPU seconds from the first token to the last."""
    deltas: queue.SimpleQueue[tuple[Delta, float]] = queue.SimpleQueue()
    request = GenerationRequest(prompt_ids=prompt, max_tokens=tokens, ignores_eos=True)
    generation = engine.submit(request, lambda delta: deltas.put((delta, time.process_time())))
    first, text = None, ""
    while True:
        delta, at = deltas.get(timeout=600)
        if delta.error:
            raise SystemExit(delta.error)
        first, text = first or at, text + delta.text
        if delta.finish is not None:
            return text, generation.completion_tokens, at - first


if __name__ == "__main__":
    main()
