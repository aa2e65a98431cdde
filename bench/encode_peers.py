"""Runs in the peers' own environment: encode the texts of a JSON file with every peer.

    python encode_peers.py TEXTS.json TOKENIZER PASSES RESULT.json

`bench/encode.py` calls it, and times ours with the same `timed`. Imports nothing of ours.
"""

import hashlib
import json
import multiprocessing
import os
import statistics
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Encoder = Callable[[Sequence[str]], Any]
"""Gives the ids of texts in the peer's own form; the clock runs only while it works."""
PROCESSES = (1, 2)


def digest(ids: Any) -> str:
    """A name of one text's ids."""
    return hashlib.md5(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()


def timed(
    make: Callable[[Path], tuple[Encoder, Callable[[Any], list[Any]]]],
    tokenizer: Path,
    texts: list[str],
    passes: int,
) -> dict[str, Any]:
    """Seconds of the median pass with one process and with two, each with its share of the texts.

    Args:
        make: gives an encoder of the tokenizer folder, and what turns its answer into lists.
        tokenizer: folder.
        texts: to encode.
        passes: after one that warms up; the median counts.
    """
    result: dict[str, Any] = {"wall": {}, "processor": {}}
    spawn = multiprocessing.get_context("spawn")
    for processes in PROCESSES:
        barrier, answers = spawn.Barrier(processes), spawn.SimpleQueue()
        workers = [
            spawn.Process(
                target=_work,
                args=(make, tokenizer, texts[number::processes], passes, barrier, answers),
                daemon=True,
            )
            for number in range(processes)
        ]
        for worker in workers:
            worker.start()
        found = []
        for _ in workers:
            found.append(answers.get())
            if "error" in found[-1]:
                for worker in workers:
                    worker.terminate()
                return found[-1]
        result["wall"][str(processes)] = max(answer["wall"] for answer in found)
        result["processor"][str(processes)] = sum(answer["processor"] for answer in found)
        if processes == 1:
            result["digests"] = found[0]["digests"]
    return result


def _work(
    make: Any, tokenizer: Path, texts: list[str], passes: int, barrier: Any, answers: Any
) -> None:
    """One process's share."""
    try:
        encode, lists = make(tokenizer)
        encoded = encode(texts)
        wall, processor = [], []
        for _ in range(passes):
            barrier.wait()
            before, started = time.process_time(), time.perf_counter()
            encoded = encode(texts)
            wall.append(time.perf_counter() - started)
            processor.append(time.process_time() - before)
        answers.put(
            {
                "wall": statistics.median(wall),
                "processor": statistics.median(processor),
                "digests": [digest(ids) for ids in lists(encoded)],
            }
        )
    except BaseException as error:  # some peers panic, which is no Exception
        answers.put({"error": f"{type(error).__name__}: {str(error)[:200]}"})


def sentencepiece_encoder(folder: Path) -> Any:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return lambda texts: processor.encode(texts, num_threads=1), list


def tokenizers_encoder(folder: Path) -> Any:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import tokenizers

    fast = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return (
        lambda texts: fast.encode_batch_fast(texts, add_special_tokens=False),
        lambda found: [item.ids for item in found],
    )


def gigatoken_encoder(folder: Path) -> Any:
    import gigatoken

    encoder = gigatoken.Tokenizer.from_sentencepiece(str(folder / "tokenizer.model"))
    return (
        lambda texts: encoder.encode_batch(texts, parallel=False),
        lambda found: [list(ids) for ids in found],
    )


def kitoken_encoder(folder: Path) -> Any:
    import kitoken

    encoder = kitoken.Kitoken.from_sentencepiece_file(str(folder / "tokenizer.model"))
    return lambda texts: [encoder.encode(text, False) for text in texts], list


def tokie_encoder(folder: Path) -> Any:
    os.environ["RAYON_NUM_THREADS"] = "1"
    import tokie

    encoder = tokie.Tokenizer.from_json(str(folder / "tokenizer.json"))
    return (
        lambda texts: encoder.encode_batch(texts, add_special_tokens=False),
        lambda found: [item.ids for item in found],
    )


def tiktoken_encoder(folder: Path) -> Any:
    """Our pieces as ranks over bytes, unfinished characters added: the ids are others."""
    import sentencepiece
    import tiktoken

    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    numbers = range(processor.get_piece_size())
    pieces = [
        processor.id_to_piece(number).replace("\u2581", " ")
        for number in numbers
        if not (processor.is_control(number) or processor.is_unknown(number))
        and not processor.is_byte(number)
    ]
    ranks = {bytes([byte]): byte for byte in range(256)}
    characters = sorted({character for piece in pieces for character in piece})
    parts = [character.encode()[:size] for size in (2, 3, 4) for character in characters]
    for part in (*parts, *(piece.encode() for piece in pieces)):
        ranks.setdefault(part, len(ranks))
    encoder = tiktoken.Encoding(
        "bench",
        pat_str=r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+",
        mergeable_ranks=ranks,
        special_tokens={},
    )
    return lambda texts: [encoder.encode_ordinary(text) for text in texts], list


PEERS = {
    "sentencepiece": sentencepiece_encoder,
    "tokenizers": tokenizers_encoder,
    "gigatoken": gigatoken_encoder,
    "kitoken": kitoken_encoder,
    "tokie": tokie_encoder,
    "tiktoken": tiktoken_encoder,
}


def main() -> None:
    texts = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    folder, passes = Path(sys.argv[2]), int(sys.argv[3])
    results = {name: timed(make, folder, texts, passes) for name, make in PEERS.items()}
    Path(sys.argv[4]).write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
