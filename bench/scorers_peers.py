"""Runs in the peers' environment: fastText and KenLM on what `scorers.py` wrote.

python scorers_peers.py GIVEN.json RESULT.json
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import fasttext
import kenlm


def spaced(text: str, language: str) -> str:
    """One line, lower case; Chinese with a space after every character, as fastText needs it."""
    line = " ".join(text.lower().split())
    return " ".join(line.replace(" ", "")) if language == "zh" else line


def classify(given: dict[str, object], language: str) -> dict[str, object]:
    """Train on the same texts; scores of the test texts and CPU seconds for them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.txt"
        path.write_text(
            "".join(
                f"__label__{label} {spaced(text, language)}\n" for label, text in given["train"]
            ),
            encoding="utf-8",
        )
        started = time.process_time()
        model = fasttext.train_supervised(
            str(path), dim=64, epoch=25, lr=0.5, wordNgrams=3 if language == "zh" else 2,
            bucket=1 << 18, thread=1, verbose=0, seed=1,
        )  # fmt: skip
        training = time.process_time() - started
    texts = [text for _, text in given["test"]]
    model.predict(spaced(texts[0], language), k=2)
    started = time.process_time()
    found = [model.predict(spaced(text, language), k=2) for text in texts]
    seconds = time.process_time() - started
    scores = [float(dict(zip(*pair, strict=True)).get("__label__1", 0.0)) for pair in found]
    return {"scores": scores, "seconds": seconds, "training_seconds": training}


def read_model(given: dict[str, object]) -> dict[str, object]:
    """KenLM with the same probabilities: log10 of every text and CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        # Its reader takes the trie or probing structure; probing is the faster one.
        model = kenlm.Model(str(given["arpa"]))
        del folder
    lines = given["lines"]
    model.score(lines[0], bos=True, eos=False)
    started = time.process_time()
    scores = [model.score(line, bos=True, eos=False) for line in lines]
    return {"scores": scores, "seconds": time.process_time() - started}


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    result = {
        language: {
            "fasttext": classify(part["quality"], language),
            "kenlm": read_model(part["perplexity"]),
        }
        for language, part in given.items()
    }
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
