"""Validation at 4,096 tokens before and after an extension to 16,384, in both languages.

    python bench/long_validation.py --record          # about two CPU minutes
    python bench/long_validation.py --runs runs       # keeps the run; the same command continues

A small model is pretrained at 4,096 tokens on this project's documents and extended by one stage
with the default mix of long and short documents. The held-out documents are packed into sequences
of 4,096 and scored by the model of either stage.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROWS = Path(__file__).with_suffix(".jsonl")
WINDOW = 4_096
LONGER = 16_384

RECIPE = f"""tune = false
evaluate = false
quantize = false

[run]
name = "validation"

[[crawl.sources]]
name = "documents"
path = "{ROOT / "docs"}"
license = "Apache-2.0"
trusted = true

[tokenizer]
vocabulary_size = 2_000

[encode]
validation_share = 0.15

[model]
hidden_size = 128
intermediate_size = 256
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
head_dim = 64
max_position_embeddings = {WINDOW}
rope_theta = 10_000.0
tie_word_embeddings = true
initializer_range = 0.04

[train]
optimizer = "muon"
peak_learning_rate = 8e-3
checkpoint_every_steps = 20
evaluate_every_steps = 20
validation_tokens = 40_960

[pretrain]
max_tokens = 393_216
sequence_tokens = {WINDOW}
batch_tokens = 8_192
micro_batch_tokens = {WINDOW}

[extend]
max_tokens = 131_072
batch_tokens = {LONGER}
peak_learning_rate = 1e-3

[[extend.stages]]
sequence_tokens = {LONGER}
max_tokens = 131_072
mix = {{ long_tokens = 4_096 }}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, help="folder of the run; a temporary one by default")
    parser.add_argument("--record", action="store_true", help=f"add rows to {ROWS.name}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.runs or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        started = time.process_time()
        stages = _run(folder)
        print(f"{time.process_time() - started:.0f} CPU s here, without the run's own")
        before = _bits(stages["pretrain"], stages)
        after = _bits(stages["extend"], stages)
    for language in before:
        row = {
            "language": language, "window": WINDOW, "extended_to": LONGER,
            "before": before[language], "after": after[language],
            "change": after[language] / before[language] - 1,
        }  # fmt: skip
        print(json.dumps(row))
        if arguments.record:
            with ROWS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def _run(folder: Path) -> dict[str, Path]:
    """Name -> folder of the stages after `tongwen run`."""
    recipe = folder / "validation.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    command = [sys.executable, "-m", "tongwen", "run", recipe, "--runs", folder]
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True)
    names = ("pretrain", "extend", "encode", "tokenizer")
    return {name: folder / "validation" / "stages" / name for name in names}


def _bits(stage: Path, stages: dict[str, Path]) -> dict[str, float]:
    """Bits per byte of the held-out documents of each language at `WINDOW` tokens."""
    import numpy as np
    import torch

    from tongwen.model.folder import load_model_folder
    from tongwen.train.data.sources import ShardData
    from tongwen.train.data.validation import ValidationSet
    from tongwen.train.passes import loss_sum

    torch.set_num_threads(1)
    model, _ = load_model_folder(stage / "model", torch.float32)
    shards = ShardData.open(stages["encode"], stages["tokenizer"])
    found: dict[str, float] = {}
    for language, documents in shards.validation.items():
        scored = ValidationSet.of(documents, WINDOW, max_tokens=10**9)
        total, targets = 0.0, 0
        with torch.inference_mode():
            for number in range(scored.sequences):
                batch: Any = scored.rows(np.array([number]))
                total += float(loss_sum(model, batch, torch.float32))
                targets += batch.targets
        found[language] = total / targets * scored.bits_per_byte_of_a_nat
        assert math.isfinite(found[language])
    return found


if __name__ == "__main__":
    main()
