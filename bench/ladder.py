"""A ladder of small runs on one's own texts: prepare the data, climb, print what was forecast.

    python bench/ladder.py --out DIR [--minutes 10] [--record] TEXTS [-- options of the ladder]

TEXTS is a folder of `en-*.jsonl.zst` and `zh-*.jsonl.zst` with a `text` in each line. The first
call trains a tokenizer of 4,000 pieces and encodes as much English as Chinese; every further call
goes on with the ladder until all of it is there.
"""

import argparse
import io
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import zstandard

from tongwen.files import write_json
from tongwen.formats.shards import shard_writer
from tongwen.plan.ladder_text import result_lines
from tongwen.tokenizer.export import write_tokenizer_folder
from tongwen.tokenizer.special import EOS_ID
from tongwen.tokenizer.text import Tokenizer
from tongwen.tokenizer.train import train_model

RECIPE = """
[run]
name = "ladder"
[tokenizer]
vocabulary_size = 4_000
[model]
hidden_size = 64
intermediate_size = 192
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
head_dim = 16
max_position_embeddings = 256
rope_theta = 10_000.0
tie_word_embeddings = true
[pretrain]
max_tokens = 1_000_000  # the ladder sets its own
sequence_tokens = 256
batch_tokens = 4_096
peak_learning_rate = 1.2e-2
decay = "wsd"
decay_share = 0.2
final_learning_rate_share = 0.0
checkpoint_every_steps = 200
validation_tokens = 30_000
"""
RECORDED = Path(__file__).with_name("ladder.json")
VOCABULARY = 4_000
COVERAGE = 0.985
"""Of characters; the rarer ones are spelt in bytes, or they would take all 4,000 pieces."""
LANGUAGES = {"en": "en", "zh": "zh-Hans"}
VALIDATION_EVERY = 25
"""Of so many documents one is held out."""


def texts_of(path: Path) -> Iterator[str]:
    """The texts of a `*.jsonl.zst`, in order."""
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        for line in io.TextIOWrapper(reader, "utf-8"):
            yield json.loads(line)["text"]


def shortened(texts: Iterable[str], size: float) -> Iterator[str]:
    """The first texts that hold `size` bytes together, at most 4,000 characters of each."""
    taken = 0
    for text in texts:
        text = text[:4_000]
        taken += len(text.encode())
        yield text
        if taken >= size:
            return


def texts(folder: Path, language: str, size: int) -> Iterator[str]:
    """Texts of a language up to `size` bytes, as much of each of its files; long ones are cut."""
    paths = sorted(folder.glob(f"{language}-*.jsonl.zst"))
    for path in paths:
        yield from shortened(texts_of(path), size / len(paths))


def write_part(path: Path, texts: Sequence[str], language: str, tokenizer: Tokenizer) -> int:
    """Encode documents into one shard; its tokens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with shard_writer(
        path, vocabulary_size=tokenizer.vocabulary_size, tokenizer_digest=tokenizer.digest
    ) as writer:
        for text in texts:
            ids = [*tokenizer.encode(text), EOS_ID]
            writer.append(ids, language=language, utf8_bytes=len(text.encode()))
        return writer.tokens


def prepare(folder: Path, out: Path, megabytes: float) -> None:
    """Tokenizer and shards below `out`."""
    size = int(megabytes * 2**20)
    samples = [text for name in LANGUAGES for text in texts(folder, name, size // 8)]
    model = train_model(samples, vocabulary_size=VOCABULARY, character_coverage=COVERAGE)
    write_tokenizer_folder(model, out / "tokenizer")
    tokenizer = Tokenizer.load(out / "tokenizer")
    counts = {}
    for number, (name, language) in enumerate(LANGUAGES.items()):
        found = list(texts(folder, name, size))
        parts = {
            f"train-{number:05}": [t for n, t in enumerate(found) if n % VALIDATION_EVERY],
            f"valid-{name}-00000": found[::VALIDATION_EVERY],
        }
        for part, documents in parts.items():
            path = out / "shards" / f"{part}.shard"
            counts[part] = write_part(path, documents, language, tokenizer)
    write_json(out / "data.json", counts)
    (out / "recipe.toml").write_text(RECIPE)
    print(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=16, help="of text in each language")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("options", nargs="*", help="of `tongwen plan ladder`")
    arguments = parser.parse_args()
    out = arguments.out
    if not (out / "data.json").exists():
        prepare(arguments.texts, out, arguments.megabytes)
    command = [sys.executable, "-m", "tongwen", "plan", "ladder", str(out / "recipe.toml")]
    data = ["--shards", str(out / "shards"), "--tokenizer", str(out / "tokenizer")]
    rest = ["--out", str(out / "ladder"), "--minutes", str(arguments.minutes)]
    called = [*command, *data, *rest, *arguments.options]
    if not arguments.record:
        sys.exit(subprocess.call(called))
    said = subprocess.run([*called, "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout
    if not said.startswith("{"):
        sys.exit(said)
    found = json.loads(said)
    del found["file"]
    written = f"python bench/ladder.py --out DIR --megabytes {arguments.megabytes:g} TEXTS -- "
    write_json(RECORDED, {"command": written + " ".join(arguments.options), **found})
    print("\n".join(result_lines(found)))


if __name__ == "__main__":
    main()
