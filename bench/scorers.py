"""Our scorers beside fastText and KenLM: the same training and test text, in one run.

    python bench/scorers.py CORPUS

CORPUS holds `labels/web-quality.jsonl.zst` (English pages that people called good or bad),
`labels/zh-commoncrawl-sample.jsonl.zst` and `text/`. Quality: English by those labels, Chinese
articles against the crawl sample; AUC on the same held-out pieces. Perplexity: KenLM's wheel cannot
train, so it reads our model as an ARPA file, which also checks that our quantised table gives the
probabilities that KenLM gives. Its texts are split into symbols before its clock starts; our clock
includes that. Seconds are CPU time of one process; every scorer is run twice, the
second time counts. The peers are installed, pinned, in an environment below `--environment`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from peers import interpreter, result_of

from tongwen.curate.scorers.folder import open_folder
from tongwen.curate.scorers.hashing import scorer_units
from tongwen.curate.scorers.measuring import auc
from tongwen.curate.scorers.ngrams import (
    ORDER,
    START,
    SYMBOL_BITS,
    NgramOrder,
    estimate,
    train_ngrams,
)
from tongwen.curate.scorers.options import TrainingOptions
from tongwen.curate.scorers.perplexity import symbols_of
from tongwen.curate.scorers.samples import TEST, TRAIN, Source, pieces_of, read_samples
from tongwen.curate.scorers.scoring import Scorers, scorer_of
from tongwen.curate.scorers.training import TrainingFiles, train_scorer

PEERS = ("fasttext-wheel==0.9.2", "kenlm==0.3.0", "numpy==1.26.4")  # fastText reads numpy 1 only
KENLM_ORDER = 6  # the longest n-grams that its wheel is built for
SPEED_CHARACTERS = 3_000_000
MODEL_CHARACTERS = 4_000_000
LANGUAGES = {"en": "en", "zh": "zh-Hans"}


def training_files(corpus: Path) -> dict[str, TrainingFiles]:
    """What each scorer is trained on."""
    text, labels = corpus / "text", corpus / "labels"
    reference = [text / "en-misc.jsonl.zst", text / "zh-articles.jsonl.zst"]
    crawl = labels / "zh-commoncrawl-sample.jsonl.zst"
    return {
        "quality": TrainingFiles(
            labelled=[labels / "web-quality.jsonl.zst"], reference=reference[1:], against=[crawl]
        ),
        "perplexity": TrainingFiles(reference=reference, against=[crawl]),
        "coherence": TrainingFiles(reference=reference),
        "safety": TrainingFiles(
            labelled=[labels / "spam-sms.jsonl.zst", labels / "spam-email.jsonl.zst"]
        ),
        "topic": TrainingFiles(
            reference=[*reference, text / "en-docs-00.jsonl.zst", text / "zh-docs-00.jsonl.zst"]
        ),
        "clusters": TrainingFiles(reference=reference),
    }


def quality_texts(
    files: TrainingFiles, options: TrainingOptions, language: str
) -> dict[str, list[tuple[int, str]]]:
    """(label, text) of the pieces that quality is trained on, and tested on."""
    samples = read_samples(
        [Source(tuple(files.reference), "1"), Source(tuple(files.against), "0"),
         Source(tuple(files.labelled), None)],
        seed=options.seed, piece_characters=options.piece_characters,
        maximum_characters=options.characters,
    )  # fmt: skip
    return {
        name: [(int(piece.label), piece.text) for piece in samples.of(language, part)]
        for name, part in (("train", TRAIN), ("test", TEST))
    }


def speed_texts(corpus: Path, language: str) -> list[str]:
    """Pieces of articles and pages, of about 4,000 characters at most."""
    name = "en-misc" if language == "en" else "zh-articles"
    samples = read_samples(
        [Source((corpus / "text" / f"{name}.jsonl.zst",), "")],
        seed=7, piece_characters=4_000, maximum_characters=SPEED_CHARACTERS,
    )  # fmt: skip
    return [piece.text for piece in samples.of(language)]


def seconds_of(work: Callable[[str], object], texts: list[str]) -> float:
    """CPU seconds of the second of two rounds."""
    for _ in range(2):
        started = time.process_time()
        for text in texts:
            work(text)
        seconds = time.process_time() - started
    return seconds


def write_arpa(path: Path, orders: list[NgramOrder], bits: int) -> None:
    """A model before quantisation as KenLM reads it; a symbol's number is its word."""
    order = len(orders)
    unseen = np.log10(orders[0].unseen)
    with path.open("w", encoding="utf-8") as file:
        file.write("\\data\\\n")
        for length, part in enumerate(orders, 1):
            file.write(f"ngram {length}={int(part.kept.sum()) + 2 * (length == 1)}\n")
        for length, part in enumerate(orders, 1):
            file.write(f"\n\\{length}-grams:\n")
            if length == 1:
                file.write(f"{unseen:.6f}\t<unk>\t0\n-99\t</s>\n")
            keys, chances = part.keys[part.kept], part.chances[part.kept]
            backoffs = np.log10(np.maximum(part.backoffs[part.kept], 1e-30))
            rows = zip(keys.tolist(), chances.tolist(), backoffs.tolist(), strict=True)
            for key, chance, backoff in rows:
                numbers = [(key >> (bits * place)) & ((1 << bits) - 1) for place in range(length)]
                words = " ".join("<s>" if n == START else str(n) for n in reversed(numbers))
                log = np.log10(chance) if chance > 0 else -99
                tail = f"\t{backoff:.6f}" if length < order else ""
                file.write(f"{log:.6f}\t{words}{tail}\n")
        file.write("\n\\end\\\n")


def compare(
    language: str, corpus: Path, work: Path, options: TrainingOptions, files: TrainingFiles
) -> tuple[dict[str, object], dict[str, object]]:
    """What the peers are given, and our own figures."""
    quality = quality_texts(files, options, language)
    scorer = scorer_of(open_folder(work / "quality"))
    scores = [
        scorer.score(text, scorer_units(text), language)["quality"] for _, text in quality["test"]
    ]
    tested = [text for _, text in quality["test"]]
    seconds = seconds_of(lambda text: scorer.score(text, scorer_units(text), language), tested)
    symbols = np.array(open_folder(work / "perplexity").arrays[f"{language}_symbols"])
    name = "en-misc" if language == "en" else "zh-articles"
    samples = read_samples(
        [Source((corpus / "text" / f"{name}.jsonl.zst",), "positive")],
        seed=options.seed,
        piece_characters=options.piece_characters,
        maximum_characters=options.characters,
    )
    training = [piece.text for piece in samples.of(language, TRAIN)]
    stream = np.concatenate([symbols_of(text, symbols) for text in training])
    shape = {
        "number_of_symbols": len(np.unique(symbols)),
        "symbol_bits": SYMBOL_BITS[language],
        "order": min(ORDER[language], KENLM_ORDER),
    }
    arpa = work / f"{language}.arpa"
    write_arpa(arpa, estimate(stream, **shape), SYMBOL_BITS[language])
    model = train_ngrams(stream, **shape)
    texts = [part for text in tested for part in pieces_of(text, 4_000)]
    found = [symbols_of(text, symbols) for text in texts]
    bits = [model.bits(item) / (len(item) - 1) for item in found]
    lines = [" ".join(map(str, symbols_of(text, symbols)[1:].tolist())) for text in texts]
    own = {
        "auc": auc(np.array(scores), np.array([label == 1 for label, _ in quality["test"]])),
        "labels": [label for label, _ in quality["test"]],
        "characters": sum(map(len, tested)),
        "quality_seconds": seconds,
        "bits": bits,
        "lengths": [line.count(" ") + 1 for line in lines],
        "perplexity_seconds": seconds_of(lambda text: model.bits(symbols_of(text, symbols)), texts),
        "perplexity_characters": sum(map(len, texts)),
    }
    return {"quality": quality, "perplexity": {"arpa": str(arpa), "lines": lines}}, own


def print_peers(
    own: dict[str, dict[str, object]], peers: dict[str, dict[str, dict[str, object]]]
) -> None:
    """Ours beside the peers'."""
    print("| what | language | ours, million characters/s | peer's | ours is faster | agreement |")
    print("|" + " --- |" * 6)
    for language, ours in own.items():
        peer = peers[language]["fasttext"]
        speeds = [ours["characters"] / value / 1e6
                  for value in (ours["quality_seconds"], peer["seconds"])]  # fmt: skip
        labels = np.array(ours["labels"]) == 1
        other = auc(np.array(peer["scores"]), labels)
        print(
            f"| quality against fastText | {language} | {speeds[0]:.1f} | {speeds[1]:.1f} | "
            f"{speeds[0] / speeds[1]:.1f}× | AUC {ours['auc']:.4f} and {other:.4f}, "
            f"{len(labels)} texts |"
        )
        peer = peers[language]["kenlm"]
        speeds = [ours["perplexity_characters"] / value / 1e6
                  for value in (ours["perplexity_seconds"], peer["seconds"])]  # fmt: skip
        theirs = -np.array(peer["scores"]) / np.log10(2) / np.array(ours["lengths"])
        apart = np.nanmax(np.abs(theirs - np.array(ours["bits"])))
        print(
            f"| perplexity against KenLM | {language} | {speeds[0]:.1f} | {speeds[1]:.1f} | "
            f"{speeds[0] / speeds[1]:.1f}× | at most {apart:.4f} bits a character apart |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--environment", type=Path, default=Path("build/bench/scorers"))
    parser.add_argument("--characters", type=int, default=MODEL_CHARACTERS, help="of a class")
    options = parser.parse_args()
    # Not cross-fitted: the model that is compared must not have seen the test texts.
    training = TrainingOptions(characters=options.characters, clusters=32, crossed_below=0)
    every = training_files(options.corpus)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        print("| scorer | million characters/s, en | zh | training, CPU seconds |")
        print("|" + " --- |" * 4)
        texts = {language: speed_texts(options.corpus, language) for language in LANGUAGES}
        for kind, files in every.items():
            started = time.process_time()
            train_scorer(kind, files, work / kind, training)
            print_speeds(kind, Scorers([open_folder(work / kind)]), texts,
                         time.process_time() - started)  # fmt: skip
        together = Scorers([open_folder(work / kind) for kind in every])
        print_speeds("all six", together, texts, None)
        given, own = {}, {}
        for language in LANGUAGES:
            given[language], own[language] = compare(
                language, options.corpus, work, training, every["quality"]
            )
        print()
        python = interpreter(options.environment, PEERS)
        print_peers(own, result_of(python, "scorers_peers.py", given))


def print_speeds(
    name: str, scorers: Scorers, texts: dict[str, list[str]], training: float | None
) -> None:
    """A row of the table: whole scoring, from a text to its values."""
    cells = []
    for language, tag in LANGUAGES.items():
        seconds = seconds_of(lambda text, tag=tag: scorers.score(text, tag), texts[language])
        cells.append(f"{sum(map(len, texts[language])) / seconds / 1e6:.1f}")
    cells.append("" if training is None else f"{training:.0f}")
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
